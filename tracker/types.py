"""What flows through the tracker: plain frozen records, each array with its shape, dtype and space.

They have no generated equality, because comparing arrays has no single truth value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A picture, (H, W, 3) BGR."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a film, camera or folder."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8 BGR, upright (rotation already applied)."""
    index: int
    """Counts from 0 over the frames delivered by the source."""
    timestamp: float
    """Seconds: presentation time of a film, capture time of a camera (since its first frame), 0 for images."""
    name: str = ""
    """The file name of a picture read from disk, else empty."""
    profile: bytes = b""
    """ICC profile of the image's colours, if its file has one."""
    aspect: float = 1.0
    """Width of a px as it is meant to be shown, in units of its height."""
    captured: float | None = None
    """Time of day of a live picture, Unix time in s, by this machine's clock."""
    stored: "Frame | None" = None
    """The frame as its source gave it, if this one was brought to square pixels."""


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned face rectangle, frame px."""

    left: float
    top: float
    right: float
    bottom: float

    def mapped(self, at: Callable[[float, float], tuple[float, float]]) -> "Box":
        """The box between its corners, each where `at` maps it to."""
        xs, ys = zip(at(self.left, self.top), at(self.right, self.bottom), strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, slots=True)
class Region:
    """The oriented square of the frame that becomes the 96x96 crop, frame px.

    `x`, `y` is its centre, `side` its edge length, `roll` the angle in radians of the subject's eye line, positive
    where the face is turned clockwise as seen in the image.
    """

    x: float
    y: float
    side: float
    roll: float


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face as a detector reports it."""

    box: Box
    score: float
    """0..1."""
    region: Region
    """The face in Kaggle's framing, estimated from the detector's points or box."""
    alternatives: tuple[Region, ...] = ()
    """Where the same face would be after other views of the picture, for example turned ones; the keypoints decide."""


EVERY_PART, EVERY_PART_TURNED = -1, -2


class Look(NamedTuple):
    """How a detector should look at a picture."""

    smallest: float | None = None
    """Smallest side of a region, frame px, that must be found (a glance); None for as small as possible."""
    turns: tuple[int, ...] = (0,)
    """Quarter turns by which faces may be rolled, clockwise as seen in the picture."""
    part: int | None = None
    """The number of one part of a large picture that is looked at in full resolution, at all `turns`; `EVERY_PART` for
    the whole picture and all of its parts, upright, `EVERY_PART_TURNED` for them at all `turns`, None for the whole."""


CLOSE = Look()
"""The whole picture, upright."""
ALL_TURNS = (0, 1, 2, 3)

Detect = Callable[..., Sequence[Detection] | None]
"""`detect(image)`: BGR image -> the faces in it, or None if the detector did not run (then known faces are followed).
A schedule that asks for other looks than `CLOSE` calls `detect(image, *look)`."""


class Seen(NamedTuple):
    """The result of a detector for one frame."""

    detections: Sequence[Detection]
    look: Look = CLOSE
    """How it looked."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face with an identity, in one frame."""

    id: int
    """Counts from 0, never reused within one run."""
    region: Region
    box: Box
    score: float
    """0..1, of the last detection that confirmed it."""
    fresh: bool = False
    """True if its region comes only from the detector: no keypoints have refined it yet."""


class _Pair(NamedTuple):
    keypoints: NDArray[np.float32]
    """(N, 15, 2)"""
    sigma: NDArray[np.float32]
    """(N, 15), standard deviation of either coordinate."""


class Points(_Pair):
    """Keypoints of N faces in one frame, frame px: `keypoints, sigma = points`, and `points.signals`."""

    signals: NDArray[np.float32] | None
    """(N, 6), the fields of `Signals`; None if the network has none."""

    def __new__(
        cls, keypoints: NDArray[np.float32], sigma: NDArray[np.float32], signals: NDArray[np.float32] | None = None
    ) -> "Points":
        points = super().__new__(cls, keypoints, sigma)
        points.signals = signals
        return points

    def only(self, rows: Sequence[int]) -> "Points":
        """Those of the faces with these numbers."""
        signals = None if self.signals is None else self.signals[rows]
        return Points(self.keypoints[rows], self.sigma[rows], signals)


class Settled(NamedTuple):
    """The result of one frame before smoothing."""

    faces: tuple["Face", ...]
    points: Points
    """Raw, of `faces`."""
    suspected: tuple[Detection, ...] = ()
    """Possible faces that are not believed to be faces."""
    shot: int = 0
    """Number of cuts before this frame."""
    needs_closer_look: bool = False
    """Whether a face was dropped or not found that a closer look at the same frame may find."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head is and where it faces, in camera space; see `tracker.core.head_pose` for the axes and signs."""

    yaw: float
    """Degrees, positive towards the subject's right."""
    pitch: float
    """Degrees, positive downwards."""
    roll: float
    """Degrees, positive clockwise in the picture."""
    x: float
    """mm to the right of the camera, of the point midway between the eyes."""
    y: float
    """mm below the camera."""
    z: float
    """mm away from the camera."""


class Signals(NamedTuple):
    """How far a face's eyes and mouth are open: 0 is closed, see `spec.SIGNALS`.  Left and right are the subject's."""

    eye_open_left: float
    eye_open_right: float
    mouth_open: float
    eye_open_left_sigma: float
    """Expected standard deviation."""
    eye_open_right_sigma: float
    mouth_open_sigma: float


Poses = tuple[Pose | None, ...]


class _WhenRead:
    """A field (a descriptor) of poses, or of a function that finds them and is called when they are first read."""

    def __get__(self, owner: Any, kind: type) -> Poses:
        if owner is None:
            return ()  # the default
        poses = vars(owner)["_poses"]
        if callable(poses):
            poses = vars(owner)["_poses"] = poses()
        return cast(Poses, poses)

    def __set__(self, owner: Any, value: Poses | Callable[[], Poses]) -> None:
        vars(owner)["_poses"] = value


@dataclass(frozen=True, eq=False)
class Tracked:
    """The tracker's answer for one frame.  N faces; none is an empty array, never None."""

    frame: Frame
    faces: tuple[Face, ...]
    keypoints: NDArray[np.float32]
    """(N, 15, 2) float32, frame px, in the order of `spec.KEYPOINTS`."""
    sigma: NDArray[np.float32]
    """(N, 15) float32, frame px: standard deviation expected of either coordinate."""
    poses: _WhenRead = _WhenRead()
    """One per face, None if no head fits its keypoints; empty if poses were not requested.  Found when first read."""
    signals: tuple[Signals, ...] = ()
    """One per face; empty if the network has none."""
    suspected: tuple[Detection, ...] = ()
    """Possible faces that are not believed to be faces: covered under privacy, and in no other output."""
    shot: int = 0
    """Number of cuts before this frame; ids do not continue across cuts."""
