"""Films at their own speed, for whoever watches."""

import time

from tracker.types import Tracked


class Pace:
    """Holds films back to their own speed."""

    def __init__(self) -> None:
        self._zero: float | None = None

    def wait_s(self, now: float, timestamp: float) -> float:
        """How long to show a frame so that the next one is not early; `now` and `timestamp` in seconds."""
        if self._zero is None or now - self._zero > timestamp:
            self._zero = now - timestamp  # the first frame, or too slow: do not hurry to catch up
        return self._zero + timestamp - now

    def skip(self, pause_s: float) -> None:
        """Let `pause_s` pass without a frame being due."""
        if self._zero is not None:
            self._zero += pause_s


class Paced:
    """Goes last where a film is watched elsewhere than in a window: holds the loop back, and writes nothing."""

    def __init__(self) -> None:
        self._pace = Pace()

    def write(self, tracked: Tracked) -> None:
        """Wait until the frame has been shown for as long as it should be."""
        time.sleep(max(0.0, self._pace.wait_s(time.perf_counter(), tracked.frame.timestamp)))

    def close(self) -> None:
        """Nothing to finish."""
