"""Who is who: detections in, faces with lasting ids out, each with the region to look at (frame px).

A face is born from a good detection or from two in a row, is carried along by its own keypoints while the detector
looks away or misses it for a moment, is lost after that, and gets its old id back when it returns soon and near.
Distances are measured in sides of the face's region, so that near and far faces are treated alike.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.motion import Motion, Place
from tracker.geometry import region_from_keypoints
from tracker.spec import KEYPOINTS
from tracker.types import CLOSE, Box, Detection, Face, Frame, Points, Region, Seen, Settled

SAME_FACE_SIDES = 0.6
"""A detection further than this from where a face was is another face.  Fast heads move 0.2 a frame at 15 fps."""
SAME_FACE_RATIO = 1.6
"""... and so is one that is larger or smaller by this factor."""
RETURN_SIDES = 1.2
"""A lost face may have moved this far, or strayed this far from its course, before it is seen again."""
COURSE_S = 0.1
"""Over how long the motion is averaged that is expected to go on out of sight."""
COURSE_HASTE = 1.5
"""A lost face may be this much faster than it seemed: keypoints cling to what hides it."""
COURSE_ENDS_S = 0.5
"""Nobody is expected to move on unseen for longer."""
ONE_FACE_SIDES = 0.35
"""Two followed faces whose centres come this close are one face followed twice."""

DOUBT = 1.3
"""A face without a detection whose sigma is higher than usual by this factor calls for the detector.  One frame of a
face in twenty to a hundred is."""
SIGMA_SHARE = 0.1
"""Share of each new sigma in what is usual."""

SURPRISE = 0.001
"""A crop goes half way to where the keypoints say the face is when they are this far from where it was expected: in
sides, in the logarithm of the side, in radians.  Smaller surprises are mostly noise, larger ones motion.

The network reads a face that is off the crop's middle a little towards that middle, so crops that lag behind cost
more than crops that tremble: ten times this makes the error in motion three times as large, a tenth leaves the noise
of the keypoints in the crops and makes a still face's jitter half as large again.
"""
FORESIGHT_S = 0.2
"""Motion older than this says nothing about where a face is now."""

FASTEST_GROWTH = 2.0
"""Logarithm of the side per second: somebody who jumps at the camera.  Half hidden, keypoints change faster."""
FASTEST_ROLL = 6.0
"""Radians per second."""

STRAY_SIDES = 0.3
STRAY_RATIO = 1.3
STRAY_ROLL = math.radians(60)
"""Keypoints whose region lies further than this from the crop they were found in are no face's keypoints."""


_EACH_ALIKE = np.full(len(KEYPOINTS), 1 / len(KEYPOINTS), np.float32)


class Followed(NamedTuple):
    """What a schedule needs to know of the followed faces in a frame that is yet to be looked at."""

    regions: tuple[Region, ...] = ()
    """Where each face is expected, shown or yet to be confirmed; frame px."""
    in_doubt: bool = False
    """Whether one of them is unsure, unconfirmed or was missed by the last look."""
    is_sure: bool = False
    """Whether somebody is followed, nobody is in doubt, and nobody was lost a moment ago."""
    rested_s: float = math.inf
    """From the frame that the detector looked at last to this one."""
    close_rested_s: float = math.inf
    """The same, from the last close look."""
    period_s: float = 0.0
    """From the last frame to this one."""


class _Slack(NamedTuple):
    """How far one region may stay from another that pulls it along."""

    sides: float
    """Each coordinate of the centre, in sides."""
    log_side: float
    roll: float
    """Radians."""


FROM_DETECTION = _Slack(0.06, 0.16, math.radians(60))
"""Two to three times the noise of the detector's region; its roll is hardly known (see `detectors.yunet.FRAMING`)."""
TURN_DOUBLING_SLACK = math.radians(15)
"""A detector that misjudges the roll by this much misjudges the place twice as far."""


@dataclass(slots=True, eq=False)
class _Known:
    """A face the tracker believes in, or (id None) is not yet sure of."""

    id: int | None
    region: Region
    """Where to look for it in the current frame; frame px."""
    motion: Motion
    """Of the place where its keypoints put it, or the detector where they made no sense; frame px."""
    settled_at: float
    """Timestamp of its last place, s."""
    box: Box
    box_region: Region
    """The region that the detector gave with `box`; without a detection the box moves and grows as the face does."""
    score: float
    detected_at: float
    """Timestamp of the last detection, s."""
    fresh: bool = True
    """Known from the detector alone."""
    followed: bool = False
    """Looked for in the current frame without a detection."""
    step_s: float = 0.0
    """How long the last step took that they were learned from."""
    course: complex = 0j
    """The velocity averaged over `COURSE_S`, for as long as the detector does not miss the face."""
    missed_at: float | None = None
    """Timestamp of the first look that missed it since it was detected, s."""
    usual_sigma: float | None = None
    """Mean sigma of its keypoints while the detector sees it, in sides of the region."""


class Identity:
    """Lasting ids for the faces of one film or camera; implements `loop.Identify`.  A new run takes a new object.

    least_score: a weaker detection is only suspected to be a face.
    certain_score: a detection at least this good is shown at once, a weaker one when the next look confirms it.
        Lower shows more false faces for a moment, higher delays faint ones.
    patience_s: how long a face that the detector misses is carried on by its keypoints.
        Lower flickers, higher clings to faces that have gone.
    memory_s: how long a lost face keeps its id for a return to the same place.
    max_doubt: a face without a detection is dropped when the sigma of its keypoints exceeds what is usual for this
        face by this factor.  Lower loses blurred faces, higher shows keypoints where no face is any more.
        Measured on six clips: 999 of 1000 frames of a face lie below 1.6, 99 of 100 pieces of background above 1.7.
    """

    def __init__(
        self,
        *,
        least_score: float = 0.0,
        certain_score: float = 0.7,
        patience_s: float = 0.3,
        memory_s: float = 2.0,
        max_doubt: float = 1.8,
    ) -> None:
        self._least_score = least_score
        self._certain_score = certain_score
        self._patience_s = patience_s
        self._memory_s = memory_s
        self._max_doubt = max_doubt
        self._known: list[_Known] = []
        self._lost: list[_Known] = []
        self._next_id = 0
        self._looked_at: float | None = None
        self._looked_closely_at: float | None = None
        self._frame: Frame | None = None
        self._suspected: tuple[Detection, ...] = ()
        self._overlooks = False
        """Whether a glance missed somebody, or saw somebody new."""
        self._unsure = False

    def expect(self, frame: Frame) -> Followed:
        """Begin a new frame: where the faces are expected in it, and how well they are known."""
        period_s = 0.0 if self._frame is None else frame.timestamp - self._frame.timestamp
        self._frame, self._suspected, self._overlooks = frame, (), False
        for known in self._known:
            known.region = _foreseen(known, frame.timestamp)
        in_doubt = self._unsure or any(known.id is None or known.missed_at is not None for known in self._known)
        return Followed(
            regions=tuple(known.region for known in self._known),
            in_doubt=in_doubt,
            is_sure=bool(self._known) and not self._lost and not in_doubt,
            rested_s=_since(self._looked_at, frame.timestamp),
            close_rested_s=_since(self._looked_closely_at, frame.timestamp),
            period_s=period_s,
        )

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        """The faces to look for in this frame, in order of their ids."""
        if seen is None:
            for known in self._known:
                known.followed = True
        else:
            certain = [each for each in seen.detections if each.score >= self._least_score]
            self._suspected = tuple(each for each in seen.detections if each.score < self._least_score)
            self._look(certain, frame.timestamp, closely=seen.look == CLOSE)
        self._drop(_twins(self._known))
        shown = sorted((known.id, known) for known in self._known if known.id is not None)
        return tuple(Face(id, known.region, _box(known), known.score, known.fresh) for id, known in shown)

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        """Learn from the raw points where each face is; drop a face whose points make no sense, unless detected."""
        assert self._frame is not None
        known_by_id = {known.id: known for known in self._known}
        known_faces = [known_by_id[face.id] for face in faces]
        self._unsure = False
        mean_sigma_px = (points.sigma @ _EACH_ALIKE).tolist()
        self._suspected += _without_points(faces, points)
        stays = [self._learn(*each) for each in zip(known_faces, faces, points.keypoints, mean_sigma_px, strict=True)]
        self._drop([known for known, stay in zip(known_faces, stays, strict=True) if not stay])
        given_up = not all(stays) and self._looked_at != self._frame.timestamp
        left = Points(points.keypoints[stays], points.sigma[stays])
        return Settled(tuple(compress(faces, stays)), left, self._suspected, self._overlooks or given_up)

    def _learn(self, known: _Known, face: Face, keypoints: NDArray[np.float32], sigma_px: float) -> bool:
        """Take note of one face's raw keypoints (15, 2) and mean sigma; False when it is no face any more."""
        assert self._frame is not None
        if not (np.isfinite(keypoints).all() and math.isfinite(sigma_px)):
            return False  # a network that overflows has found nothing
        region, now = region_from_keypoints(keypoints), self._frame.timestamp
        sensible = _is_near(region, face.region) and _is_inside(region, self._frame.image)
        sigma_sides = sigma_px / face.region.side
        usual = sigma_sides if known.usual_sigma is None else known.usual_sigma
        if sensible:
            _settle(known, region, now)
        else:
            known.motion, known.settled_at = Motion(_place(face.region)), now
        known.fresh = False
        if not known.followed:
            known.usual_sigma = usual + SIGMA_SHARE * (sigma_sides - usual) if sensible else known.usual_sigma
            return True
        self._unsure |= not sensible or sigma_sides > DOUBT * usual
        return sensible and sigma_sides <= self._max_doubt * usual

    def _look(self, detections: Sequence[Detection], now: float, *, closely: bool) -> None:
        """Bring what is known in line with what the detector sees at time `now`.  A glance can only confirm."""
        pairs, missed, fresh = _match(self._known, detections, _distance_here)
        self._looked_at = now
        self._overlooks = not closely and bool(missed or fresh)
        for known, detection in pairs:
            self._confirm(known, detection, now)
        for known in missed:
            known.followed = True
        if not closely:
            return
        first, self._looked_closely_at = self._looked_closely_at is None, now
        for known in missed:
            known.missed_at = now if known.missed_at is None else known.missed_at
        self._drop([known for known in missed if known.id is None or self._has_left(known, now)])
        self._lost = [known for known in self._lost if now - known.detected_at <= self._memory_s]
        returned, self._lost, new = _match(self._lost, fresh, partial(_distance_on_course, now=now))
        for known, detection in returned:
            known.region, known.motion = detection.region, Motion(_place(detection.region))
            known.settled_at, known.fresh = now, True
            self._confirm(known, detection, now)
            self._known.append(known)
        self._known += [self._born(detection, now, first=first) for detection in new]

    def _confirm(self, known: _Known, detection: Detection, now: float) -> None:
        if known.id is None:
            known.id = self._new_id()
        known.region = _leashed(known.region, detection.region, FROM_DETECTION)
        known.box, known.box_region = detection.box, detection.region
        known.score, known.detected_at, known.missed_at, known.followed = detection.score, now, None, False

    def _has_left(self, known: _Known, now: float) -> bool:
        return known.missed_at is not None and now - known.missed_at >= self._patience_s

    def _born(self, detection: Detection, now: float, *, first: bool) -> _Known:
        """A face never seen before.  The very `first` look is trusted, so that a film starts with its faces."""
        certain = detection.score >= self._certain_score or first
        region = detection.region
        id = self._new_id() if certain else None
        return _Known(id, region, Motion(_place(region)), now, detection.box, region, detection.score, now)

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
    """Identities for pictures that have nothing to do with one another: 0, 1, ... in each, best detection first.

    least_score: a weaker detection is only suspected to be a face.
    """

    def __init__(self, *, least_score: float = 0.0) -> None:
        self._least_score = least_score
        self._suspected: tuple[Detection, ...] = ()

    def expect(self, frame: Frame) -> Followed:
        """Nothing is known of a picture before it is looked at."""
        return Followed()

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        """Every certain detection of this frame is a face."""
        detections = () if seen is None else seen.detections
        certain = [each for each in detections if each.score >= self._least_score]
        self._suspected = tuple(each for each in detections if each.score < self._least_score)
        return tuple(Face(id, each.region, each.box, each.score, fresh=True) for id, each in enumerate(certain))

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        """All that have finite points: nothing carries over to the next picture."""
        stays = _finite(points)
        left = Points(points.keypoints[stays], points.sigma[stays])
        return Settled(tuple(compress(faces, stays)), left, self._suspected + _without_points(faces, points))


def _finite(points: Points) -> list[bool]:
    """Of each face, whether all its numbers are."""
    sums = points.keypoints.sum(axis=(1, 2)) + points.sigma.sum(axis=1)
    return [math.isfinite(each) for each in sums.tolist()]


def _without_points(faces: Sequence[Face], points: Points) -> tuple[Detection, ...]:
    """Faces that the network found no finite points for: not shown, but covered where heads are."""
    lost = compress(faces, [not each for each in _finite(points)])
    return tuple(Detection(face.box, face.score, face.region) for face in lost)


def _match(
    known: Sequence[_Known], detections: Sequence[Detection], distance_of: Callable[[_Known, Detection], float | None]
) -> tuple[list[tuple[_Known, Detection]], list[_Known], list[Detection]]:
    """Pair faces with detections, closest pair first: (pairs, faces without detection, detections without face)."""
    near = sorted(
        (distance, i, j)
        for i, face in enumerate(known)
        for j, seen in enumerate(detections)
        if (distance := distance_of(face, seen)) is not None
    )
    partner: dict[int, int] = {}
    for _, i, j in near:
        if i not in partner and j not in partner.values():
            partner[i] = j
    pairs = [(known[i], detections[j]) for i, j in partner.items()]
    missed = [face for i, face in enumerate(known) if i not in partner]
    fresh = [seen for j, seen in enumerate(detections) if j not in partner.values()]
    return pairs, missed, fresh


def _distance_here(known: _Known, seen: Detection) -> float | None:
    """How far a detection is from where a face is expected in this frame."""
    return _distance(known.region, seen.region, SAME_FACE_SIDES)


def _distance_on_course(known: _Known, seen: Detection, now: float) -> float | None:
    """How far a detection is from the way that a lost face was going: it may have stopped anywhere out of sight."""
    hidden_at = known.settled_at if known.missed_at is None else known.missed_at
    elapsed = min(now - hidden_at, COURSE_ENDS_S)
    start, way = complex(known.region.x, known.region.y), known.course * elapsed * COURSE_HASTE
    done = ((complex(seen.region.x, seen.region.y) - start) * way.conjugate()).real / max(abs(way) ** 2, 1e-9)
    nearest = start + way * min(max(done, 0.0), 1.0)
    return _distance(replace(known.region, x=nearest.real, y=nearest.imag), seen.region, RETURN_SIDES)


def _distance(a: Region, b: Region, reach_sides: float) -> float | None:
    """How unlike two regions are: their distance in sides plus the log of their ratio; None for different faces."""
    apart = math.hypot(a.x - b.x, a.y - b.y) / math.sqrt(a.side * b.side)
    growth = abs(math.log(a.side / b.side))
    return apart + growth if apart <= reach_sides and growth <= math.log(SAME_FACE_RATIO) else None


def _leashed(region: Region, holder: Region, slack: _Slack) -> Region:
    """`region`, pulled just far enough towards `holder`: steady while they agree, unable to drift away."""
    turn = _clip(math.remainder(region.roll - holder.roll, math.tau), slack.roll)
    growth = _clip(math.log(region.side / holder.side), slack.log_side)
    reach = slack.sides * holder.side * (1 + abs(turn) / TURN_DOUBLING_SLACK)
    return Region(
        holder.x + _clip(region.x - holder.x, reach),
        holder.y + _clip(region.y - holder.y, reach),
        holder.side * math.exp(growth),
        holder.roll + turn,
    )


def _foreseen(known: _Known, now: float) -> Region:
    """Where the face should be if it moves, grows and turns on as it did."""
    return _region(known.motion.after((now - known.settled_at) * _trust(known, now)))


def _trust(known: _Known, now: float) -> float:
    """How much of a face's velocity to believe, 0..1.

    Cameras hand over frames in bursts: what it did in 2 ms says nothing of the next 60.
    """
    elapsed = now - known.settled_at
    return min(1.0, 2 * known.step_s / elapsed) if 0 < elapsed <= FORESIGHT_S else 0.0


def _settle(known: _Known, seen: Region, now: float) -> None:
    """Take note of where the keypoints put a face."""
    elapsed, motion = now - known.settled_at, known.motion
    if elapsed > 0 and not known.fresh:
        trust = _trust(known, now)
        motion.centre_speed, motion.turn_speed = trust * motion.centre_speed, trust * motion.turn_speed
        side = math.exp(motion.after(elapsed).turn.real)
        motion.follow(_place(seen), elapsed, SURPRISE * side, SURPRISE)
        growth, roll = motion.turn_speed.real, motion.turn_speed.imag
        motion.turn_speed = complex(_clip(growth, FASTEST_GROWTH), _clip(roll, FASTEST_ROLL))
        known.step_s = elapsed
        if known.missed_at is None:
            known.course += elapsed / (elapsed + COURSE_S) * (motion.centre_speed - known.course)
    else:
        motion.place = _place(seen)
    known.settled_at = now


def _place(region: Region) -> Place:
    return Place(complex(region.x, region.y), complex(math.log(region.side), region.roll))


def _region(place: Place) -> Region:
    return Region(place.centre.real, place.centre.imag, math.exp(place.turn.real), place.turn.imag)


def _since(then: float | None, now: float) -> float:
    return math.inf if then is None else now - then


def _is_inside(region: Region, image: NDArray[np.uint8]) -> bool:
    height, width = image.shape[:2]
    return 0 <= region.x < width and 0 <= region.y < height


def _is_near(region: Region, crop: Region) -> bool:
    """Whether keypoints with this region can have been found in that crop.  False for keypoints that are not finite."""
    apart = math.hypot(region.x - crop.x, region.y - crop.y)
    return (
        apart <= STRAY_SIDES * crop.side
        and crop.side / STRAY_RATIO <= region.side <= crop.side * STRAY_RATIO
        and abs(math.remainder(region.roll - crop.roll, math.tau)) <= STRAY_ROLL
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


def _clip(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)
