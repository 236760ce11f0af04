"""How closely the detector looks at each frame: a frame and its known faces in, a `Look` or None out.

None skips the frame: followed faces need no detector while they are certain.  A newcomer changes the picture: one point
in 16 x 16 px (of 640x480) is compared with its value at the last look.  That costs 5 us on pixels in the cache, 40 on
others, and shows a newcomer within 0.1 s, where looking twice a second takes 0.2 s on average and 0.45 s at worst (1 s
for one so small that only a close look finds it).

A glance shrinks the picture further and finds a large face just as well in half of the time.  It cannot find small
faces, so a close look follows after a few glances, and anything unusual triggers one immediately.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from tracker.core.association import Followed
from tracker.core.cuts import CLOCK_TOLERANCE_S, Thumbnail
from tracker.detectors.search import PART_PX, parts_of
from tracker.types import ALL_TURNS, CLOSE, EVERY_PART, EVERY_PART_TURNED, Frame, Look, Region

LONGEST_REST_S = 0.5
"""The detector looks again after this time, however certain the faces are."""
GLANCES = 2
"""Glances between two close looks, while every face is followed with certainty: a small newcomer is then found two
looks late."""
CLOSE_AGAIN_S = 1.0
"""After this time a look is close even after fewer glances, so that a small newcomer need not wait longer."""
OTHER_GRAY = 25
"""A point has changed if it differs by more gray levels; noise and compression stay below 10."""
CHANGED_SHARE = 0.01
"""Smallest share of points that a newcomer changes: on 640x480, a head of 60 px with its shoulders."""
SHORTEST_REST_S = 0.1
"""A picture that changes all the time, because the camera moves, triggers the detector no more often than this."""
ABOVE_SIDES, BESIDE_SIDES = 1.0, 1.5
"""How far a person's hair and body reach from the centre of the face's region; their motion is no change."""
SEARCH_REST_S = 0.5
"""Time between two searches: looks at all quarter turns, if a close look leaves doubt.  They cost a fifth more on an
empty scene, where the detector runs on every frame."""
PART_REST_S, THOROUGH_REST_S = 0.1, 0.05
"""Time between two parts of a large picture, and between two parts of a thorough search."""
PART_TURNS = (0, 0, 1, 0, 0, 3)
"""How the picture is turned in each lap through its parts: newcomers are rarely lying."""


class Schedule(Protocol):
    """Decides how closely the detector looks at a frame."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        """The first look at a frame in which `faces` are expected; None skips it."""
        ...

    def closer(self, look: Look | None) -> Look | None:
        """The look to take after `look` left a face in doubt; None if there is no closer one."""
        ...


class EveryFrame:
    """A close look at every frame."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        return CLOSE

    def closer(self, look: Look | None) -> Look | None:
        return None


class Stills:
    """A close look at every picture, in full resolution if `in_parts`; a search if that leaves doubt, or always."""

    def __init__(self, *, in_parts: bool = False, all_turns: bool = False) -> None:
        parts = EVERY_PART_TURNED if all_turns else EVERY_PART
        self._close = Look(turns=ALL_TURNS if all_turns else (0,), part=parts if in_parts else None)

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        return self._close

    def closer(self, look: Look | None) -> Look | None:
        search = self._close._replace(turns=ALL_TURNS)
        return None if look == search else search


@dataclass(slots=True, eq=False)
class LookPlan:
    """The looks at a film or camera: glances while the faces are certain, searches in doubt."""

    glances: int = GLANCES
    """How many may follow each other."""
    in_parts: bool = False
    """Whether large pictures are also looked at part by part, one each `PART_REST_S`."""
    thorough: bool = False
    """Whether that holds for pictures of every size, with the parts of a thorough search."""
    all_parts_s: float | None = None
    """Time between looks at all parts together, besides the start of a shot (if `thorough`, of the first one); None for
    never."""
    all_turns_s: float | None = None
    """Time between searches at all quarter turns, independent of known faces; None for only in doubt."""
    _glanced: float = math.inf
    _parts_seen: int = 0
    _saw_part: bool = True
    _now: float = -math.inf
    _searched_at: float = -math.inf
    _part_at: float = -math.inf

    def next(self, frame: Frame, faces: Followed, *, needed: bool, closely: bool = False) -> Look | None:
        """A look at the whole frame if that is `needed`, at one part of a large frame if that is due, or None.

        They take turns, so that small faces are found although a large one is in doubt.
        """
        self._now = frame.timestamp
        waits = needed and (faces.begins_shot or self._saw_part)
        self._saw_part = not waits and self._is_part_due(frame)
        if self._saw_part:
            return self._next_part(frame, faces)
        return self._whole(faces, closely) if needed else None

    def _is_part_due(self, frame: Frame) -> bool:
        rest_s = THOROUGH_REST_S if self.thorough else PART_REST_S
        is_large = self.thorough or max(frame.image.shape) > PART_PX
        return self.in_parts and is_large and self._now - self._part_at >= rest_s - CLOCK_TOLERANCE_S

    def _next_part(self, frame: Frame, faces: Followed) -> Look:
        height, width = frame.image.shape[:2]
        lap, part = divmod(self._parts_seen, len(parts_of(width, height, thorough=self.thorough)))
        self._parts_seen, self._part_at = self._parts_seen + 1, self._now
        turn = PART_TURNS[lap % len(PART_TURNS)]
        return Look(turns=(turn,) if turn else _with_upright(faces.turns), part=part)

    def _whole(self, faces: Followed, closely: bool) -> Look:
        """A glance if that is enough and `closely` does not forbid it."""
        if faces.begins_shot:
            self._searched_at = -math.inf
        parts = self._all_parts_due(faces)
        enough = self._glanced < self.glances and faces.close_rested_s < CLOSE_AGAIN_S and faces.is_sure
        if enough and not closely and not parts:
            self._glanced += 1
            return Look(min(region.side for region in faces.regions), faces.turns)
        self._glanced = 0
        if not parts:
            return Look(turns=self._turns(faces))
        self._part_at = self._now
        if not faces.begins_shot:
            return Look(turns=faces.turns, part=EVERY_PART)  # the turned ones are for another frame
        return Look(turns=self._turns(faces), part=EVERY_PART if self.all_turns_s is None else EVERY_PART_TURNED)

    def closer(self, look: Look | None) -> Look | None:
        """A close look after a glance, then a search, unless the last one was a moment ago."""
        if look is None or look.smallest is not None:
            self._glanced = 0
            return CLOSE if look is None else CLOSE._replace(turns=_with_upright(look.turns))
        rests = self._now - self._searched_at < SEARCH_REST_S
        if rests or look.turns == ALL_TURNS or is_part(look):
            return None
        self._searched_at = self._now
        return look._replace(turns=ALL_TURNS)

    def _turns(self, faces: Followed) -> tuple[int, ...]:
        if self.all_turns_s is None or self._now - self._searched_at < self.all_turns_s - CLOCK_TOLERANCE_S:
            return _with_upright(faces.turns)
        self._searched_at = self._now
        return ALL_TURNS

    def _all_parts_due(self, faces: Followed) -> bool:
        if self.all_parts_s is None:
            return False
        due = self._now - self._part_at >= self.all_parts_s - CLOCK_TOLERANCE_S
        return due or (faces.begins_shot and not self.thorough)


class OnDemand:
    """Looks when a face needs it, when the picture changes beside the followed people, and now and then."""

    def __init__(self, looks: LookPlan | None = None) -> None:
        self._looks = LookPlan() if looks is None else looks
        self._seen: Thumbnail | None = None
        """Of the frame of the last look."""

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        now = faces.thumbnail
        news = faces.rested_s >= SHORTEST_REST_S and now is not None and changed(now, self._seen, faces.regions)
        due = faces.rested_s + faces.period_s > LONGEST_REST_S + CLOCK_TOLERANCE_S
        needed = news or due or faces.begins_shot or not faces.is_sure
        look = self._looks.next(frame, faces, needed=needed, closely=news)
        if look is not None and not is_part(look):
            self._seen = now
        return look

    def closer(self, look: Look | None) -> Look | None:
        return self._looks.closer(look)


class EveryN:
    """Looks at the first and then every n-th frame; sooner if a face is in doubt, and counts from there."""

    def __init__(self, n: int, looks: LookPlan | None = None) -> None:
        if n < 1:
            raise ValueError(f"n is {n}, expected 1 or more")
        self._looks = LookPlan() if looks is None else looks
        self._n = n
        self._until_next = 0

    def __call__(self, frame: Frame, faces: Followed) -> Look | None:
        needed = self._until_next <= 0 or faces.in_doubt or faces.begins_shot
        look = self._looks.next(frame, faces, needed=needed)
        self._until_next = self._n - 1 if needed and look is not None and not is_part(look) else self._until_next - 1
        return look

    def closer(self, look: Look | None) -> Look | None:
        return self._looks.closer(look)


def _with_upright(turns: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({0, *turns}))


def is_part(look: Look) -> bool:
    """Whether it shows one part of the picture only."""
    return look.part is not None and look.part >= 0


def schedule_of(every: int | Literal["auto"], looks: LookPlan | None = None) -> Schedule:
    """Looks at every n-th frame and sooner in doubt, or ("auto") whenever the faces need it."""
    return OnDemand(looks) if every == "auto" else EveryN(every, looks)


def changed(now: Thumbnail, before: Thumbnail | None, people: Sequence[Region]) -> bool:
    """Whether a picture differs from the one `before`, outside of `people` (frame px)."""
    if before is None or now.points.shape != before.points.shape:
        return True
    differs, step = cv2.absdiff(now.points, before.points), now.step
    for face in people:
        left, right = face.x - BESIDE_SIDES * face.side, face.x + BESIDE_SIDES * face.side
        top = face.y - ABOVE_SIDES * face.side
        differs[max(0, round(top / step)) :, max(0, round(left / step)) : max(0, round(right / step))] = 0
    return int(np.count_nonzero(differs > OTHER_GRAY)) >= CHANGED_SHARE * differs.size
