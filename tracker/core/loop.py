"""The loop: frames in, `Tracked` out.  Each stage is a plain callable, so a test passes lambdas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.types import Detect, Face, Frame, Points, Tracked


class Identify(Protocol):
    """Gives faces their identities and says where to look for each."""

    def __call__(self, frame: Frame, detect: Detect) -> tuple[Face, ...]: ...

    def settle(self, faces: tuple[Face, ...], points: Points) -> tuple[tuple[Face, ...], Points]:
        """Learn from the raw points where each face is, and hand on the faces that are really there."""
        ...

    def overlooked(self) -> bool:
        """Whether that gave up a face in a frame that the detector was not asked about: then the frame is due again."""
        ...


Locator = Callable[[NDArray[np.uint8], Sequence[Face]], Points]
Smooth = Callable[[Sequence[Face], Points, float], Points]
"""(faces, raw points, timestamp s) -> points to show, in the same shapes."""


def track(
    frames: Iterable[Frame], detect: Detect, identify: Identify, locate: Locator, smooth: Smooth
) -> Iterator[Tracked]:
    """Follow every face through `frames`, yielding one `Tracked` per frame in order."""
    for frame in frames:
        faces, points = _find(frame, detect, identify, locate)
        if identify.overlooked():
            faces, points = _find(frame, detect, identify, locate)
        yield Tracked(frame, faces, *smooth(faces, points, frame.timestamp))


def _find(frame: Frame, detect: Detect, identify: Identify, locate: Locator) -> tuple[tuple[Face, ...], Points]:
    """The faces of one frame and their raw points."""
    sought = identify(frame, detect)
    return identify.settle(sought, locate(frame.image, sought))  # one batch for all faces
