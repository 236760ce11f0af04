"""How long stages take: wrap a callable, call it as before, read its percentiles.

Durations are seconds of wall time on a monotonic clock; percentiles are milliseconds, warm-up excluded.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP = 10
"""The number of first calls that do not count: caches fill, buffers grow, the processor's clock rises."""

RECENT_S = 2.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """A latency, ms.  A mean would hide the frames that stutter."""

    p50: float
    p95: float
    p99: float


def percentiles_ms(durations_s: Sequence[float], *, warm_up: int = WARM_UP) -> Percentiles | None:
    """Percentiles in ms of durations in s without the first `warm_up`; None if nothing is left."""
    counted = durations_s[warm_up:]
    if len(counted) == 0:
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(counted, [50, 95, 99]) * 1e3)
    return Percentiles(p50, p95, p99)


class RecentRate:
    """Frames per second over the last `RECENT_S`, for display: (n - 1) / elapsed."""

    def __init__(self) -> None:
        self._instants_s: deque[float] = deque()

    def __call__(self, now: float) -> float | None:
        """Count a frame at `now`, s; None for the first one."""
        instants = self._instants_s
        instants.append(now)
        while len(instants) > 2 and now - instants[0] > RECENT_S:
            instants.popleft()
        elapsed_s = now - instants[0]
        return (len(instants) - 1) / elapsed_s if elapsed_s > 0 else None


class Timed(Generic[P, R]):
    """A stage that records the duration of each call, and otherwise behaves like the stage itself."""

    def __init__(self, name: str, stage: Callable[P, R], *, without: "Timed[..., Any] | None" = None) -> None:
        """Time spent in the timed stage `without` does not count."""
        self.name = name
        self.durations_s: list[float] = []
        self.total_s = 0.0
        self._stage = stage
        self._without = without

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        inner_before = self._inner_total_s()
        start = perf_counter()
        try:
            return self._stage(*args, **kwargs)
        finally:
            elapsed = perf_counter() - start
            self.total_s += elapsed
            self.durations_s.append(elapsed - (self._inner_total_s() - inner_before))

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stage, attribute)

    def percentiles_ms(self) -> Percentiles | None:
        """Percentiles of all calls so far without the warm-up; None if there are none."""
        return percentiles_ms(self.durations_s)

    def _inner_total_s(self) -> float:
        return 0.0 if self._without is None else self._without.total_s
