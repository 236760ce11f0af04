"""The loop: frames in, `Tracked` out.  Each stage is a plain callable, so a test passes lambdas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.locate import Points
from tracker.types import Detection, Face, Frame, Tracked

Detect = Callable[[NDArray[np.uint8]], "Sequence[Detection] | None"]
"""BGR image -> the faces in it, or None when this frame was not looked at (then known faces are followed)."""


class Identify(Protocol):
    """Gives faces their identities and says where to look for each."""

    def __call__(self, frame: Frame, detect: Detect) -> tuple[Face, ...]: ...

    def settle(self, faces: tuple[Face, ...], points: Points) -> tuple[tuple[Face, ...], Points]:
        """Learn from the raw points where each face is, and hand on the faces that are really there."""
        ...


Locator = Callable[[NDArray[np.uint8], Sequence[Face]], Points]
Smooth = Callable[[Sequence[Face], Points, float], Points]
"""(faces, raw points, timestamp s) -> points to show, in the same shapes."""


def track(
    frames: Iterable[Frame], detect: Detect, identify: Identify, locate: Locator, smooth: Smooth
) -> Iterator[Tracked]:
    """Follow every face through `frames`, yielding one `Tracked` per frame in order."""
    for frame in frames:
        sought = identify(frame, detect)
        faces, points = identify.settle(sought, locate(frame.image, sought))  # one batch for all faces
        yield Tracked(frame, faces, *smooth(faces, points, frame.timestamp))
