"""The loop: frames in, `Tracked` out.  Each stage is a plain callable, so a test passes lambdas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.core.association import Followed
from tracker.core.schedule import EveryFrame, Schedule
from tracker.types import CLOSE, Detect, Face, Frame, Look, Points, Seen, Settled, Signals, Tracked


class Identify(Protocol):
    """Gives faces their identities and their regions."""

    def expect(self, frame: Frame) -> Followed:
        """Start a new frame: what is known about its faces before detection."""
        ...

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        """The faces to read, given the detections (None: the detector did not run)."""
        ...

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        """Update each face from the raw points, and return those that are believed."""
        ...


Locator = Callable[[NDArray[np.uint8], Sequence[Face]], Points]
Smooth = Callable[[Sequence[Face], Points, float], Points]
"""(faces, raw points, timestamp s) -> points to show, in the same shapes."""


def track(
    frames: Iterable[Frame],
    detect: Detect,
    identify: Identify,
    locate: Locator,
    smooth: Smooth,
    schedule: Schedule | None = None,
) -> Iterator[Tracked]:
    """Follow every face through `frames`, yielding one `Tracked` per frame in order.

    `schedule` says how closely the detector looks at each frame; without one it looks closely at all of them.
    """
    schedule = EveryFrame() if schedule is None else schedule
    for frame in frames:
        look = schedule(frame, identify.expect(frame))
        found = _find(frame, look, detect, identify, locate)
        while found.needs_closer_look and (look := schedule.closer(look)) is not None:
            found = _find(frame, look, detect, identify, locate)
        points = smooth(found.faces, found.points, frame.timestamp)
        told = () if points.signals is None else tuple(map(Signals._make, points.signals.tolist()))
        yield Tracked(frame, found.faces, *points, signals=told, suspected=found.suspected, shot=found.shot)


def _find(frame: Frame, look: Look | None, detect: Detect, identify: Identify, locate: Locator) -> Settled:
    """The faces of one frame and their raw points."""
    sought = identify(frame, _look(frame, look, detect))
    return identify.settle(sought, locate(frame.image, sought))  # one batch for all faces


def _look(frame: Frame, look: Look | None, detect: Detect) -> Seen | None:
    if look is None:
        return None
    detections = detect(frame.image) if look == CLOSE else detect(frame.image, *look)
    return None if detections is None else Seen(detections, look)
