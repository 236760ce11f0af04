"""Identities: detections in, faces with lasting ids out, each with its region for the next crop (frame px).

A detection is a face if the network's keypoints for it are certain enough.  The face is then followed by its own
keypoints while the detector does not run or misses it.  After that it is lost, and gets its old id back if it returns
soon and nearby.  A cut ends all faces.

Distances are measured in sides of the face's region, so that near and far faces are treated alike.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from tracker.core.cuts import Cuts, Thumbnail
from tracker.core.known import DISBELIEVED, DOUBTFUL, SURE, Answer, Known
from tracker.core.likeness import SAME, SURELY_SAME, SURELY_STRANGER, Looks, Picture, pictures
from tracker.types import Detection, Face, Frame, Points, Region, Seen, Settled

SAME_FACE_SIDES = 0.6
"""A detection further than this from a face's last place is another face..."""
FASTEST_SIDES_PER_S = 8.0
"""... unless more time has passed: at five frames a second a face may be 1.6 sides away.  Fast heads move 3 sides per
second, people who walk past the camera 6."""
MOST_SIDES = 2.5
"""... but never further."""
SAME_FACE_RATIO = 1.6
"""A detection that is larger or smaller by this factor is another face."""
RETURN_SIDES = 1.2
"""A lost face may have moved this far, or this far from its course, before it is seen again."""
COURSE_HASTE = 1.5
"""A lost face may be this much faster than it seemed, because keypoints stick to what hides it."""
COURSE_ENDS_S = 0.5
"""Motion is extrapolated for at most this long without sight of the face."""
ONE_FACE_SIDES = 0.35
"""Two followed faces whose centres are this close are one face that is followed twice."""
REPLACES_SIDES = 2.0
REPLACES_RATIO = 1.35
"""A new face this near and this similar in size is the one that was lost in the same frame."""
SUSPECTED_LARGE = 0.03
"""Mean sigma, sides, up to which a large detection below the detector's threshold may be a face: a false one covers
much of the picture.  One that is true is mostly scored more."""
LARGE_SHARE = 0.1
"""The smallest side of a large face, in short sides of the picture."""
MOST_WEAK = 24
"""New detections below the detector's threshold that are looked at per frame, the best first."""
REFUSED_OFTEN = 3
"""A detection that was checked this often without being a face is checked no more."""
OWN_PLACE = 0.2
"""Whoever is where a person is expected counts as this much more alike."""
UNKNOWN = 0.5
"""Likeness where nothing tells."""
SLOW_S = 0.08
"""From this time between two frames on, people may change places from one to the next."""
REMEMBERED_S = 30.0
"""Who has left and is seen again elsewhere, or later, gets the old id back if they look the same, for this long."""
PORTRAIT_S = 0.8
"""Age from which on a face's portrait is taken again."""
FREE_SIDES, INSIDE_SIDES = 0.95, 0.4
"""A face this close to another one, or to the picture's edge, may be partly hidden."""
HALF_HIDDEN = 0.024
"""From this mean sigma on, sides, something else may hide a part of it: then it looks like nobody."""

QUARTER_TURN = math.pi / 2
NOBODY_YET = -1
"""The id of a candidate that is not yet a face."""


class Followed(NamedTuple):
    """What a schedule needs to know about the next frame and the faces followed in it."""

    regions: tuple[Region, ...] = ()
    """Expected place of each face, shown or not yet confirmed; frame px."""
    in_doubt: bool = False
    """Whether one of them is uncertain, unconfirmed or was missed by the last look."""
    is_sure: bool = False
    """Whether faces are followed, none is in doubt, and none was lost a moment ago."""
    rested_s: float = math.inf
    """Time since the frame of the detector's last run."""
    close_rested_s: float = math.inf
    """Time since the last close look."""
    period_s: float = 0.0
    """Time since the last frame."""
    turns: tuple[int, ...] = (0,)
    """The quarter turns by which the faces are rolled."""
    begins_shot: bool = False
    """Whether this is the first frame, or the first one after a cut."""
    thumbnail: Thumbnail | None = None


class Identity:
    """Lasting ids for the faces of one film or camera; implements `loop.Identify`.  A new run needs a new object.

    least_score: a weaker detection is only suspected to be a face, unless the network is sure of it twice.
    certain_score: a detection at least this good is shown at once, a weaker one when the next look confirms it.
        Lower shows more false faces for a moment, higher delays faint ones.
    patience_s: how long a face that the detector misses is followed by keypoints that are not quite certain.
        Lower flickers, higher keeps faces that have gone.
    memory_s: how long a lost face keeps its id for a return to the same place.
    max_doubt: a face without a detection is dropped when the sigma of its keypoints exceeds what is usual for this
        face by this factor.  Lower loses blurred faces, higher shows keypoints without a face.
        Measured on six clips: 999 of 1000 frames of a face lie below 1.6, 99 of 100 pieces of background above 1.7.
    seen_whole_from: gives the side, frame px, from which on a look at the whole of a frame of some shape shows a face;
        smaller faces are visible in parts only, so such a look does not count as missing them.  None if every look
        shows all faces.
    """

    def __init__(
        self,
        *,
        least_score: float = 0.0,
        certain_score: float = 0.7,
        patience_s: float = 0.3,
        memory_s: float = 2.0,
        max_doubt: float = 1.8,
        seen_whole_from: Callable[[tuple[int, ...]], float] | None = None,
    ) -> None:
        self._least_score = least_score
        self._certain_score = certain_score
        self._patience_s = patience_s
        self._memory_s = memory_s
        self._max_doubt = max_doubt
        self._seen_whole_from = seen_whole_from
        self._known: list[Known] = []
        self._lost: list[Known] = []
        self._sought: list[tuple[Known, int]] = []
        """Each known face, and how many crops of it were handed out."""
        self._next_id = 0
        self._cuts = Cuts()
        self._may_be_cut = False
        self._shot = 0
        self._last: Frame | None = None
        self._frame: Frame
        """From the first `expect` on."""
        self._period_s = 0.0
        self._looked_at: float | None = None
        self._looked_closely_at: float | None = None
        self._first_look_at: float | None = None
        """Timestamp of the first close look at this shot, s."""
        self._suspected: tuple[Detection, ...] = ()
        self._overlooks = False
        """Whether a glance missed a face, or saw a new one."""
        self._unsure = False

    def expect(self, frame: Frame) -> Followed:
        """Start a new frame: the expected places of the faces, and how certain they are."""
        last, self._last, self._frame, now = self._last, frame, frame, frame.timestamp
        self._period_s = 0.0 if last is None else now - last.timestamp
        self._suspected, self._overlooks = (), False
        for known in self._known:
            known.foresee(now)
        in_doubt = self._unsure or any(map(self._needs_look, self._known))
        turns = {round(known.region.roll / QUARTER_TURN) % 4 for known in self._known if known.shown}
        smallest = min((known.region.side for known in self._known), default=0.0)
        self._may_be_cut = self._cuts(frame, smallest)
        deceives = self._cuts.has_jumped or (self._cuts.may_replace and self._period_s >= SLOW_S)
        if last is not None and (self._may_be_cut or deceives):
            self._doubt_all(last)
        return Followed(
            regions=tuple([known.region for known in self._known]),
            in_doubt=in_doubt,
            is_sure=bool(turns) and not self._lost_of_late() and not in_doubt,
            rested_s=_since(self._looked_at, now),
            close_rested_s=_since(self._looked_closely_at, now),
            period_s=self._period_s,
            turns=tuple(sorted(turns)) or (0,),
            begins_shot=self._first_look_at is None or self._may_be_cut,
            thumbnail=self._cuts.thumbnail,
        )

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        """The crops for this frame: one for each face, and more if that one may be wrong."""
        self._cut(frame, () if seen is None else seen.detections)
        if seen is not None:
            self._look(seen, frame)
        if len(self._known) > 1:
            self._end_twins()
        faces, self._sought = _crops(self._known)
        return faces

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        """Update each face from the raw points, and return those that are believed to be faces."""
        now, shape = self._frame.timestamp, self._frame.image.shape
        chosen = _learn(self._sought, faces, points, shape, now)
        self._unsure = any(known.is_unsure() and self._is_visible(known) for known in self._known)
        gone = [known for known in self._known if known.is_lost(self._max_doubt)]
        self._drop(gone)
        for known in self._known:
            known.believe()
        self._tell_apart()
        for known in tuple(self._known):
            if known.id is None and known.shown:
                self._name(known)
        shown, suspected, may_be_turned = [], [*self._suspected], not self._known
        for known in self._known:
            if known.shown and known.id is not None:
                shown.append((known.id, chosen[id(known)]))
            elif _may_be_face(known, self._least_score, shape):
                suspected.append(known.as_detection())
            turned = known.refused < REFUSED_OFTEN and known.may_be_turned(now) and self._is_visible(known)
            may_be_turned = may_be_turned or turned
        shown.sort()
        if shown != [(face.id, row) for row, face in enumerate(faces)]:
            rows = [row for _, row in shown]
            faces = tuple(replace(faces[row], id=name) for name, row in shown)
            points = points.only(rows)
        unseen = any(map(self._is_visible, gone)) and self._looked_at != now
        return Settled(faces, points, tuple(suspected), self._shot, self._overlooks or unseen or may_be_turned)

    def _needs_look(self, known: Known) -> bool:
        may_be_new = known.score >= self._least_score or known.sigma <= SURE
        needed = may_be_new if known.id is None else known.missed_at is not None or not known.shown
        return needed and known.refused < REFUSED_OFTEN and self._is_visible(known)

    def _is_visible(self, known: Known) -> bool:
        """Whether a look at the whole picture can show it."""
        return self._seen_whole_from is None or known.region.side >= self._seen_whole_from(self._frame.image.shape)

    def _look(self, seen: Seen, frame: Frame) -> None:
        """Match known faces with detections.  Only a close look can miss a face."""
        now = frame.timestamp
        pairs, missed, fresh = _match(self._known, seen.detections, partial(_distance_here, now=now))
        for known, detection in pairs:
            if seen.look.part is None and detection.score < self._least_score and not self._is_visible(known):
                known.followed = True  # a place so rough would only disturb it
            else:
                known.confirm(detection, now)
        for known in missed:
            known.followed = True
        if seen.look.smallest is not None:
            self._glance(missed, fresh, now)
            return
        if seen.look.part is None or seen.look.part < 0:
            self._looked_at = self._looked_closely_at = now
            self._first_look_at = now if self._first_look_at is None else self._first_look_at
            self._miss(missed, now, everywhere=seen.look.part is not None)
        reach = max(RETURN_SIDES, _reach(self._period_s))
        returned, _, new = _match(self._lost_of_late(), fresh, partial(_distance_on_course, now=now, reach=reach))
        for known, detection in returned:
            known.return_to(detection, now)
            self._known.append(known)
            self._lost.remove(known)
        certain = sum(each.score >= self._least_score for each in new)
        self._known += [Known.born(detection, now) for detection in new[: certain + MOST_WEAK]]
        self._suspected = tuple(new[certain + MOST_WEAK :])

    def _lost_of_late(self) -> list[Known]:
        """Those who may come back to their place; all others are known by their looks, and forgotten in the end."""
        now = self._frame.timestamp
        self._lost = [known for known in self._lost if now - known.detected_at <= REMEMBERED_S]
        return [known for known in self._lost if now - known.detected_at <= self._memory_s]

    def _glance(self, missed: Sequence[Known], fresh: Sequence[Detection], now: float) -> None:
        """Use a look that can only confirm faces."""
        self._looked_at = now
        missed_shown = any(known.shown and self._is_visible(known) for known in missed)
        self._overlooks = missed_shown or any(each.score >= self._least_score for each in fresh)

    def _miss(self, missed: Sequence[Known], now: float, *, everywhere: bool) -> None:
        """Record the faces that a close look did not see."""
        visible = [known for known in missed if everywhere or self._is_visible(known)]
        for known in visible:
            known.missed_at = now if known.missed_at is None else known.missed_at
        self._drop([known for known in visible if known.id is None or known.has_left(now, self._patience_s)])

    def _name(self, known: Known) -> None:
        """Give a new face an id once it is certain: that of a face lost nearby in this frame, or the next number."""
        weak, first = known.score < self._least_score, self._first_look_at == self._frame.timestamp
        certain = known.score >= self._certain_score or first or not self._is_visible(known)
        if (known.detections == 1 and (weak or not certain)) or (weak and known.sigma > SURE):
            return
        others = [other for other in self._known if other.id is not None and other.followed]
        place = known.last_region
        others = [each for each in others if each.sigma > DISBELIEVED or _is_at(each.last_region, place)]
        gone = [other for other in self._lost if other.settled_at == self._frame.timestamp]
        near = [each for each in (*gone, *others) if _is_at(each.region, place, REPLACES_SIDES, REPLACES_RATIO)]
        if len(near) == 1 and not self._is_stranger(known, near[0]):
            known.id, known.looks = near[0].id, near[0].looks
            self._known = [other for other in self._known if other is not near[0]]
            self._lost = [other for other in self._lost if other is not near[0]]
        else:
            known.id, self._next_id = self._next_id, self._next_id + 1

    def _end_twins(self) -> None:
        """Of faces that have become one keep one, with the id of the person it looks like."""
        for kept, twin in _twins(self._known):
            now = self._picture(kept.region)
            if kept.id is None or twin.looks.likeness(now) > kept.looks.likeness(now):
                kept.id, twin.id, kept.looks, twin.looks = twin.id, kept.id, twin.looks, kept.looks
            kept.doubted = True
            self._drop([twin])

    def _doubt_all(self, last: Frame) -> None:
        """Anybody may be somebody else in this frame: remember how they looked in the last one."""
        for known in self._known:
            known.doubted = True
        at_first = last.timestamp == self._first_look_at  # its places are rough
        if at_first or np.may_share_memory(last.image, self._frame.image):
            return
        clear = [known for known in self._known if self._is_whole(known)]
        for known, glimpse in zip(clear, pictures(last, [known.last_region for known in clear]), strict=True):
            known.looks.glimpse, known.looks.glimpsed_at = glimpse, last.timestamp

    def _tell_apart(self) -> None:
        """Let looks decide about ids where places may deceive, and remember how people look."""
        clear = DOUBTFUL if self._cuts.has_jumped else HALF_HIDDEN
        doubted = [known for known in self._known if known.doubted and known.shown]
        whole = [known for known in doubted if known.sigma <= clear and self._is_whole(known)]
        newcomers = [known for known in doubted if known.id is None and known not in whole]
        if whole or (newcomers and self._lost):
            self._recognise([*whole, *newcomers])
        for known in whole:
            known.doubted, known.looks.glimpse = False, None
        if self._looked_at == self._frame.timestamp:
            for known in self._known:
                if self._may_be_portrayed(known):
                    looks = known.looks
                    looks.portraits = (*looks.portraits[-1:], self._picture(known.last_region))
                    looks.portrayed_at = self._frame.timestamp

    def _recognise(self, people: Sequence[Known]) -> None:
        """Give everybody the id of the one they look like: their own if nothing speaks against it, or none."""
        mine = [row for row, known in enumerate(people) if known.id is not None]
        elsewhere_at = self._frame.timestamp - self._memory_s  # who was here a moment ago is not sought here
        refused = (replace(people[row], detected_at=elsewhere_at, settled_at=elsewhere_at) for row in mine)
        owners = [*refused, *self._lost]
        alike = []
        for row, now in enumerate(pictures(self._frame, [known.last_region for known in people])):
            for column, owner in enumerate(owners):
                likeness, is_own = owner.looks.likeness(now), mine[column : column + 1] == [row]
                if not likeness < self._stranger_below(owner.looks) if is_own else likeness >= SAME:
                    alike.append((is_own * OWN_PLACE + (UNKNOWN if math.isnan(likeness) else likeness), row, column))
        found: dict[int, int] = {}
        for _, row, column in sorted(alike, reverse=True):
            if row not in found and column not in found.values():
                found[row] = column
        for row, known in enumerate(people):
            known.id, known.looks = None, Looks()
            if row in found:
                known.id, known.looks = owners[found[row]].id, owners[found[row]].looks
        self._lost = [owner for column, owner in enumerate(owners) if column not in found.values()]

    def _stranger_below(self, looks: Looks) -> float:
        """Likeness below which somebody is not who was there before."""
        is_usual = looks.glimpse is not None and not self._cuts.has_jumped
        return SURELY_STRANGER if is_usual else looks.stranger_below(self._frame.timestamp)

    def _may_be_portrayed(self, known: Known) -> bool:
        due = self._frame.timestamp - known.looks.portrayed_at >= PORTRAIT_S
        return due and not (known.followed or known.doubted) and self._is_whole(known)

    def _is_whole(self, known: Known) -> bool:
        """Whether it is seen well, and neither somebody else nor the picture's edge may hide a part of it."""
        at, (height, width) = known.last_region, self._frame.image.shape[:2]
        if not known.is_clear or min(at.x, at.y, width - at.x, height - at.y) < INSIDE_SIDES * at.side:
            return False
        places = (other.region for other in self._known if other is not known)
        return not any(_is_at(at, place, FREE_SIDES, math.inf) for place in places)

    def _is_stranger(self, known: Known, other: Known) -> bool:
        """Whether `known` looks like somebody else than `other` did.  Half hidden, people look like nobody."""
        if not other.looks.portraits or known.sigma > HALF_HIDDEN or not self._is_whole(known):
            return False
        limit = other.looks.stranger_below(known.settled_at)
        return other.looks.likeness(self._picture(known.last_region)) < limit

    def _picture(self, region: Region) -> Picture:
        return pictures(self._frame, [region])[0]

    def _drop(self, gone: Iterable[Known]) -> None:
        """Stop following these faces; those with an id may come back."""
        for known in gone:
            self._known.remove(known)
            if known.id is not None:
                self._lost.append(known)

    def _cut(self, frame: Frame, detections: Sequence[Detection]) -> None:
        """Forget all faces if another shot begins: none of them is in the new frame with the same look."""
        may_be_cut, self._may_be_cut = self._may_be_cut, False
        if may_be_cut and not self._sees_again(frame, detections):
            self._known, self._lost, self._first_look_at = [], [], None
            self._shot += 1

    def _sees_again(self, frame: Frame, detections: Sequence[Detection]) -> bool:
        """Whether somebody of the last shot is in this frame."""
        shown = [known for known in self._known if known.shown]
        if self._cuts.is_gradual:
            before, limit = [known.looks.portraits[0] for known in shown if len(known.looks.portraits) > 1], SURELY_SAME
        else:
            before, limit = [known.looks.glimpse for known in shown if known.looks.glimpse is not None], SAME
        now = pictures(frame, [*(known.region for known in shown), *(each.region for each in detections)])
        return any(bool((now @ picture >= limit).any()) for picture in before)


class EachAlone:
    """Identities for unrelated pictures: 0, 1, ... in each, best detection first.

    least_score: a weaker large detection is no possible face unless the network is sure of it.
    """

    def __init__(self, *, least_score: float = 0.0) -> None:
        self._least_score = least_score
        self._found: list[Known] = []
        self._sought: list[tuple[Known, int]] = []
        self._shape: tuple[int, ...] = ()

    def expect(self, frame: Frame) -> Followed:
        """Nothing is known about a picture in advance."""
        self._shape = frame.image.shape
        return Followed(begins_shot=True)

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        """The crops: one for every detection, and more if other views disagree."""
        self._found = [] if seen is None else [Known.born(each, frame.timestamp) for each in seen.detections]
        faces, self._sought = _crops(self._found)
        return faces

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        """Those that the network believes to be faces; nothing carries over to the next picture."""
        chosen = _learn(self._sought, faces, points, self._shape, now=0.0)
        for known in self._found:
            known.believe()
        shown = [known for known in self._found if known.shown]
        rows = [chosen[id(known)] for known in shown]
        return Settled(
            tuple(replace(faces[row], id=id) for id, row in enumerate(rows)),
            points.only(rows),
            tuple(
                known.as_detection()
                for known in self._found
                if not known.shown and _may_be_face(known, self._least_score, self._shape)
            ),
            needs_closer_look=not self._found or any(known.is_doubtful for known in self._found),
        )


def _may_be_face(known: Known, least_score: float, shape: tuple[int, ...]) -> bool:
    """Whether a detection that is not believed to be a face is a possible one."""
    is_large = known.region.side > LARGE_SHARE * min(shape[:2])
    return not is_large or known.score >= least_score or known.sigma <= SUSPECTED_LARGE


def _crops(known: Sequence[Known]) -> tuple[tuple[Face, ...], list[tuple[Known, int]]]:
    """The crops of all `known` faces, and how many each of them has."""
    faces, sought = [], []
    for each in known:
        id, box, crops = NOBODY_YET if each.id is None else each.id, each.moved_box(), each.crops()
        faces += [Face(id, region, box, each.score, fresh) for region, fresh in crops]
        sought.append((each, len(crops)))
    return tuple(faces), sought


def _learn(
    sought: Sequence[tuple[Known, int]], faces: Sequence[Face], points: Points, shape: tuple[int, ...], now: float
) -> dict[int, int]:
    """Give each of `sought` the network's answer for its crops; returns the chosen row, by the object's `id`."""
    mean_px = [sum(sigma) / len(sigma) for sigma in points.sigma.tolist()]
    rows = zip(faces, points.keypoints, points.sigma, mean_px, strict=True)
    answers = [Answer.of(face.region, *row) for face, *row in rows]
    chosen, row = {}, 0
    for known, count in sought:
        chosen[id(known)] = row + known.learn(answers[row : row + count], shape, now)
        row += count
    return chosen


def _match(
    known: Sequence[Known], detections: Sequence[Detection], distance_of: Callable[[Known, Detection], float | None]
) -> tuple[list[tuple[Known, Detection]], list[Known], list[Detection]]:
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


def _reach(elapsed_s: float) -> float:
    """How far a face may be from its expected place, sides."""
    return min(max(SAME_FACE_SIDES, FASTEST_SIDES_PER_S * elapsed_s), MOST_SIDES)


def _distance_here(known: Known, seen: Detection, now: float) -> float | None:
    """Distance of a detection from the expected place of a face in this frame."""
    return _distance(known.region, seen.region, _reach(now - known.settled_at))


def _distance_on_course(known: Known, seen: Detection, now: float, reach: float) -> float | None:
    """Distance of a detection from the course of a lost face, which may have stopped anywhere out of sight."""
    hidden_at = known.settled_at if known.missed_at is None else known.missed_at
    elapsed = min(now - hidden_at, COURSE_ENDS_S)
    start, way = complex(known.region.x, known.region.y), known.course * elapsed * COURSE_HASTE
    done = ((complex(seen.region.x, seen.region.y) - start) * way.conjugate()).real / max(abs(way) ** 2, 1e-9)
    nearest = start + way * min(max(done, 0.0), 1.0)
    return _distance(replace(known.region, x=nearest.real, y=nearest.imag), seen.region, reach)


def _distance(a: Region, b: Region, reach_sides: float, ratio: float = SAME_FACE_RATIO) -> float | None:
    """How unlike two regions are: their distance in sides plus the log of their ratio; None for different faces."""
    apart = math.hypot(a.x - b.x, a.y - b.y) / math.sqrt(a.side * b.side)
    growth = abs(math.log(a.side / b.side))
    return apart + growth if apart <= reach_sides and growth <= math.log(ratio) else None


def _is_at(a: Region, b: Region, reach_sides: float = ONE_FACE_SIDES, ratio: float = SAME_FACE_RATIO) -> bool:
    return _distance(a, b, reach_sides, ratio) is not None


def _twins(known: Sequence[Known]) -> list[tuple[Known, Known]]:
    """Faces that have become one: the one detected last (then best, then oldest), and one that is superfluous.

    What the network has refused never replaces a face.
    """
    ranked = sorted(known, key=lambda face: (face.refused > 0, face.followed, -face.detected_at, -face.score))
    twins = []
    for i, face in enumerate(ranked):
        near = (better for better in ranked[:i] if _is_at(face.region, better.region))
        if face.followed and (better := next(near, None)) is not None:
            twins.append((better, face))
    return twins


def _since(then: float | None, now: float) -> float:
    return math.inf if then is None else now - then
