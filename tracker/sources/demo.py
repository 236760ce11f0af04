"""A camera for people without one: the portrait that ships with the package, moving like a person who talks.

Out: 300 Frames, 640x480 BGR uint8, 30 per second by their timestamps, as fast as they are read.
"""

from fractions import Fraction

from tracker.sources.contract import Source, SourceInfo
from tracker.sources.synthetic import SyntheticCamera, astronaut, talking

RATE = 30
SECONDS = 10.0
NOISE = 2.0
"""Gray levels: a webcam in a lit room."""


def open_demo() -> Source:
    """Needs nothing but this package."""
    camera = SyntheticCamera(astronaut(), talking, rate=RATE, seconds=SECONDS, noise=NOISE)
    info = SourceInfo("demo", "demo", camera.width, camera.height, Fraction(RATE), len(camera))
    frames = (shot.frame for shot in camera)
    return Source(info, frames, frames.close)
