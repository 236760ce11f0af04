"""Films at their own speed, for viewers."""

import time

from tracker.types import Tracked


class Pace:
    """Slows films down to their own speed."""

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


class Paced(Pace):
    """The last sink when a film is watched outside a window: it slows the loop down and writes nothing."""

    def write(self, tracked: Tracked) -> None:
        """Wait until the frame has been shown for as long as it should be."""
        time.sleep(max(0.0, self.wait_s(time.perf_counter(), tracked.frame.timestamp)))

    def close(self) -> None:
        """Nothing to finish."""
