"""A camera for people without one: the portrait that ships with the package, moving like a person who talks.

Out: 300 Frames, 640x480 BGR uint8, 30 per second by their timestamps, as fast as they are read.
"""

from collections.abc import Iterator
from fractions import Fraction

from tracker.sources.contract import Source, SourceInfo
from tracker.sources.synthetic import SyntheticCamera, astronaut, talking
from tracker.types import Frame

RATE = 30
SECONDS = 10.0
NOISE = 2.0
"""Gray levels: a webcam in a lit room."""


class Demo(Source):
    """The synthetic camera as a source."""

    def __init__(self, info: SourceInfo, camera: SyntheticCamera) -> None:
        self.info = info
        self._frames = (shot.frame for shot in camera)

    @property
    def skipped(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        self._frames.close()


def open_demo() -> Demo:
    """Needs nothing but this package."""
    camera = SyntheticCamera(astronaut(), talking, rate=RATE, seconds=SECONDS, noise=NOISE)
    info = SourceInfo("demo", "demo", camera.width, camera.height, Fraction(RATE), len(camera))
    return Demo(info, camera)
