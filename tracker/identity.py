"""Who is who: detections in, faces with lasting ids out, each with the region to look at (frame px).

A face is born from a good detection or from two in a row, is carried along by its own keypoints while the detector
looks away or misses it for a moment, is lost after that, and gets its old id back when it returns soon and near.
Distances are measured in sides of the face's region, so that near and far faces are treated alike.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracker.crop import region_from_keypoints
from tracker.pipeline import Detect
from tracker.types import Box, Detection, Face, Frame, Region, Tracked

SAME_FACE_SIDES = 0.6
"""A detection further than this from where a face was is another face.  Fast heads move 0.2 a frame at 15 fps."""
SAME_FACE_RATIO = 1.6
"""... and so is one that is larger or smaller by this factor."""
RETURN_SIDES = 1.2
"""A lost face may have moved this far before it is seen again."""
ONE_FACE_SIDES = 0.35
"""Two followed faces whose centres come this close are one face followed twice."""

SLACK_SIDES = 0.06
SLACK_LOG_SIDE = 0.12
SLACK_ROLL = math.radians(60)
"""How far the region of the keypoints may stay from the detector's: two to three times the detector's own noise."""
SLACK_TURN = math.radians(15)
"""A detector that misjudges the roll by this much misjudges the place twice as far."""

STRAY_SIDES = 0.3
STRAY_RATIO = 1.4
STRAY_ROLL = math.radians(60)
"""Keypoints whose region lies further than this from the crop they were found in are no face's keypoints."""


@dataclass(slots=True, eq=False)
class _Known:
    """A face the tracker believes in, or (id None) is not yet sure of."""

    id: int | None
    region: Region
    """Where to look next, frame px."""
    box: Box
    box_region: Region
    """The region that the detector gave with `box`; without a detection the box moves and grows as the face does."""
    score: float
    detected_at: float
    """Timestamp of the last detection, s."""
    followed: bool = False
    """Shown in this frame without a detection."""


class Identity:
    """Lasting ids for the faces of one film or camera; implements `pipeline.Identify`.  A new run takes a new object.

    certain_score: a detection at least this good is shown at once, a weaker one when the next look confirms it.
        Lower shows more false faces for a moment, higher delays faint ones.
    patience_s: how long a face that the detector misses is carried on by its keypoints.
        Lower flickers, higher clings to faces that have gone.
    memory_s: how long a lost face keeps its id for a return to the same place.
    max_sigma_sides: expected error of the keypoints, in sides of the region, above which they are not followed.
    """

    def __init__(
        self,
        *,
        certain_score: float = 0.7,
        patience_s: float = 0.3,
        memory_s: float = 2.0,
        max_sigma_sides: float = 0.06,
    ) -> None:
        self._certain_score = certain_score
        self._patience_s = patience_s
        self._memory_s = memory_s
        self._max_sigma_sides = max_sigma_sides
        self._known: list[_Known] = []
        self._lost: list[_Known] = []
        self._next_id = 0
        self._looked_before = False

    def __call__(self, frame: Frame, detect: Detect) -> tuple[Face, ...]:
        """The faces of this frame in order of their ids."""
        detections = detect(frame.image)
        if detections is None:
            for known in self._known:
                known.followed = True
        else:
            self._look(detections, frame.timestamp)
        self._drop(_twins(self._known))
        shown = sorted((known.id, known) for known in self._known if known.id is not None)
        return tuple(Face(id, known.region, _box(known), known.score) for id, known in shown)

    def remember(self, tracked: Tracked) -> None:
        """Learn from the keypoints where each face is; stop following those whose keypoints make no sense."""
        known_by_id = {known.id: known for known in self._known}
        height, width = tracked.frame.image.shape[:2]
        stray = []
        for face, keypoints, sigma in zip(tracked.faces, tracked.keypoints, tracked.sigma, strict=True):
            known = known_by_id[face.id]
            region = region_from_keypoints(keypoints)
            sure = float(sigma.mean()) <= self._max_sigma_sides * region.side
            if sure and _is_near(region, face.region) and 0 <= region.x < width and 0 <= region.y < height:
                known.region = region
            elif known.followed:
                stray.append(known)
        self._drop(stray)

    def _look(self, detections: Sequence[Detection], now: float) -> None:
        """Bring what is known in line with what the detector sees at time `now`."""
        pairs, missed, fresh = _match(self._known, detections, SAME_FACE_SIDES)
        for known, detection in pairs:
            self._confirm(known, detection, now)
        for known in missed:
            known.followed = True
        self._drop([known for known in missed if known.id is None or now - known.detected_at > self._patience_s])
        self._lost = [known for known in self._lost if now - known.detected_at <= self._memory_s]
        returned, self._lost, new = _match(self._lost, fresh, RETURN_SIDES)
        for known, detection in returned:
            known.region = detection.region
            self._confirm(known, detection, now)
            self._known.append(known)
        self._known += [self._born(detection, now) for detection in new]
        self._looked_before = True

    def _confirm(self, known: _Known, detection: Detection, now: float) -> None:
        if known.id is None:
            known.id = self._new_id()
        known.region = _leashed(known.region, detection.region)
        known.box, known.box_region = detection.box, detection.region
        known.score, known.detected_at, known.followed = detection.score, now, False

    def _born(self, detection: Detection, now: float) -> _Known:
        """A face never seen before.  The very first look is trusted, so that a film starts with its faces."""
        certain = detection.score >= self._certain_score or not self._looked_before
        region = detection.region
        return _Known(self._new_id() if certain else None, region, detection.box, region, detection.score, now)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _drop(self, gone: Iterable[_Known]) -> None:
        """Stop showing these faces; those that had an id may come back."""
        for known in gone:
            self._known.remove(known)
            if known.id is not None:
                self._lost.append(known)


class EachAlone:
    """Identities for pictures that have nothing to do with one another: 0, 1, ... in each, best detection first."""

    def __call__(self, frame: Frame, detect: Detect) -> tuple[Face, ...]:
        """Every detection of this frame is a face."""
        detections = detect(frame.image) or ()
        return tuple(Face(id, seen.region, seen.box, seen.score) for id, seen in enumerate(detections))

    def remember(self, tracked: Tracked) -> None:
        """Nothing carries over to the next picture."""


def _match(
    known: Sequence[_Known], detections: Sequence[Detection], reach_sides: float
) -> tuple[list[tuple[_Known, Detection]], list[_Known], list[Detection]]:
    """Pair faces with detections, closest pair first: (pairs, faces without detection, detections without face)."""
    near = sorted(
        (distance, i, j)
        for i, face in enumerate(known)
        for j, seen in enumerate(detections)
        if (distance := _distance(face.region, seen.region, reach_sides)) is not None
    )
    partner: dict[int, int] = {}
    for _, i, j in near:
        if i not in partner and j not in partner.values():
            partner[i] = j
    pairs = [(known[i], detections[j]) for i, j in partner.items()]
    missed = [face for i, face in enumerate(known) if i not in partner]
    fresh = [seen for j, seen in enumerate(detections) if j not in partner.values()]
    return pairs, missed, fresh


def _distance(a: Region, b: Region, reach_sides: float) -> float | None:
    """How unlike two regions are: their distance in sides plus the log of their ratio; None for different faces."""
    apart = math.hypot(a.x - b.x, a.y - b.y) / math.sqrt(a.side * b.side)
    growth = abs(math.log(a.side / b.side))
    return apart + growth if apart <= reach_sides and growth <= math.log(SAME_FACE_RATIO) else None


def _leashed(region: Region, detected: Region) -> Region:
    """`region`, pulled just far enough to agree with the detector: steady where it agrees, unable to drift away."""
    turn = _clip(_turn(detected.roll, region.roll), SLACK_ROLL)
    slack = SLACK_SIDES * detected.side * (1 + abs(turn) / SLACK_TURN)
    growth = _clip(math.log(region.side / detected.side), SLACK_LOG_SIDE)
    return Region(
        detected.x + _clip(region.x - detected.x, slack),
        detected.y + _clip(region.y - detected.y, slack),
        detected.side * math.exp(growth),
        detected.roll + turn,
    )


def _is_near(region: Region, crop: Region) -> bool:
    """Whether keypoints with this region can have been found in that crop.  False for keypoints that are not finite."""
    apart = math.hypot(region.x - crop.x, region.y - crop.y)
    return (
        apart <= STRAY_SIDES * crop.side
        and crop.side / STRAY_RATIO <= region.side <= crop.side * STRAY_RATIO
        and abs(_turn(crop.roll, region.roll)) <= STRAY_ROLL
    )


def _twins(known: Sequence[_Known]) -> list[_Known]:
    """Of faces that have become one, all but the one detected last (then best, then oldest)."""
    ranked = sorted(known, key=lambda face: (face.followed, -face.detected_at, -face.score))
    return [
        face
        for i, face in enumerate(ranked)
        if face.followed
        and any(_distance(face.region, better.region, ONE_FACE_SIDES) is not None for better in ranked[:i])
    ]


def _box(known: _Known) -> Box:
    """The detector's box; where it did not see the face, the last one moved and scaled with the face's region."""
    if not known.followed:
        return known.box
    box, old, new = known.box, known.box_region, known.region
    growth = new.side / old.side
    return Box(
        new.x + (box.left - old.x) * growth,
        new.y + (box.top - old.y) * growth,
        new.x + (box.right - old.x) * growth,
        new.y + (box.bottom - old.y) * growth,
    )


def _turn(start: float, end: float) -> float:
    """The angle from `start` to `end`, radians, -pi..pi."""
    return math.remainder(end - start, math.tau)


def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)
