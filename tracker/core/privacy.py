"""Pictures in which nobody is recognised: `Tracked` in, the same `Tracked` with other images out, frame px.

No face may show in any frame, so more is covered than the tracked faces: the whole head with a margin; possible faces;
the last place of a lost face, in a patch that grows until the face must be elsewhere; and, if the results can come
late, the place where a newcomer will first be seen.  Covered pixels are not filtered but discarded: only a few averages
per head remain, so no filter can restore them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import cos, degrees, hypot, sin
from typing import Literal, NamedTuple

import cv2
import numpy as np

from tracker.geometry import in_one_place
from tracker.types import Box, Frame, Image, Region, Tracked

CELLS = 2.0
"""Number of averages along a side of the face's region, so four by four per head.  With three, YuNet still detects some
as faces, with scores up to 0.8; with two, none."""
SAMPLES = 16
"""Across one of them: every pixel of a large face would cost ten times as long."""
UPSCALING = {"blur": cv2.INTER_CUBIC, "pixelate": cv2.INTER_NEAREST}
"""How the averages are shown."""

HEAD_SIDES = (1.8, 2.0)
"""Width and height of the ellipse over a head, in sides of its region.  A frontal one with hair and ears needs some 1.2
and 1.6; in profile the back of the head reaches 0.9 from the middle of the face."""
LIFT_SIDES = 0.12
"""How far its centre lies above the region's, towards the top of the head."""
BOX_SHARE = 0.9
"""Lower limit of the side, as a share of the detector's box: in profile the region shrinks but the head does not."""

SUSPICION = 0.5
"""Share of a face's score above which a possible face is covered ..."""
FAINT = 0.035
"""... and above which a second look decides."""
SUSPICION_S = 1.1
"""How long the place of a possible face stays covered: small ones are looked for every half second, and one look may
miss them."""
HOLD_S = 5.0
"""How long the place of a lost face stays covered; a cut ends it."""
GROWTH_PER_S = 0.5
"""... and by how much of itself that cover grows, because a head may move unseen."""
MOST_GROWTH = 2.0
"""The largest it becomes."""
AHEAD_S = 0.5
"""How long before a face is first seen its place is covered, if the results may come that late."""
MOST_AHEAD = 15
"""Frames held back for that at most: 93 MB at 1080p."""

DOUBTFUL_SIDES = 0.045
"""Mean sigma of a face's keypoints, sides of its region, above which a person should check the result."""
NEXT_S = 1.0
"""Doubtful frames this near are one stretch."""
MOST_STRETCHES = 12
"""Number of stretches that are listed."""


class Stretches:
    """The parts of a film where a face was lost or doubtful; `str` lists the times, or the pictures' names."""

    def __init__(self) -> None:
        self._spans: list[list[float]] = []
        self._names: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._spans or self._names)

    def add(self, frame: Frame) -> None:
        """Take note of a frame; films give theirs in order."""
        if frame.name:
            self._names.append(frame.name)
        elif self._spans and frame.timestamp - self._spans[-1][1] <= NEXT_S:
            self._spans[-1][1] = frame.timestamp
        else:
            self._spans.append([frame.timestamp, frame.timestamp])

    def __str__(self) -> str:
        told = self._names or [f"{_clock(start)}-{_clock(end)}" for start, end in self._spans]
        more = f" and {len(told) - MOST_STRETCHES} more" if len(told) > MOST_STRETCHES else ""
        return ", ".join(told[:MOST_STRETCHES]) + more


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


class _Sighting(NamedTuple):
    """A face or a possible face."""

    head: Region
    timestamp: float
    id: int | None
    """None for a possible face."""
    shot: int

    @property
    def lasts_s(self) -> float:
        return SUSPICION_S if self.id is None else HOLD_S


def concealed(
    results: Iterable[Tracked],
    way: Literal["blur", "pixelate", "hide"] | None,
    *,
    ahead_s: float = 0.0,
    hold_s: float = HOLD_S,
    stretches: Stretches | None = None,
) -> Iterable[Tracked]:
    """`results` in the same order: with every head covered, on black, or unchanged (None).

    With heads to cover, they come `ahead_s` late.  `hold_s` is 0 for unrelated pictures.  `stretches` collects the
    parts that a person should check.
    """
    if way is None:
        return results
    if way == "hide":
        return (_showing(np.zeros_like(each.frame.image), each) for each in results)
    return _covered(results, UPSCALING[way], ahead_s, hold_s, Stretches() if stretches is None else stretches)


def _covered(
    results: Iterable[Tracked], upscaling: int, ahead_s: float, hold_s: float, stretches: Stretches
) -> Iterator[Tracked]:
    known: list[_Sighting] = []
    for tracked, seen, ahead in _with_those_ahead(results, ahead_s):
        now, shot = tracked.frame.timestamp, tracked.shot
        held = [each for each in known if each.shot == shot and now - each.timestamp < min(hold_s, each.lasts_s)]
        held = [each for each in held if not any(_supersedes(other, each) for other in seen)]
        known = [*seen, *held]
        coming = [each for each in _one_each(ahead) if not any(_is_same(each, other) for other in known)]
        image = tracked.frame.image.copy()
        for each in (*known, *(other for other in coming if other.shot == shot)):
            growth = min(1 + GROWTH_PER_S * abs(now - each.timestamp), MOST_GROWTH)
            _cover(image, replace(each.head, side=growth * each.head.side), upscaling)
        if any(_is_lost(each, seen, image) for each in held) or _is_doubtful(tracked):
            stretches.add(tracked.frame)
        yield _showing(image, tracked)


def _is_lost(held: _Sighting, seen: list[_Sighting], image: Image) -> bool:
    """Whether no face is seen where one was last, away from the picture's edge, so that it cannot simply have left."""
    if held.id is None or any(each.id is not None and in_one_place(each.head, held.head) for each in seen):
        return False
    (height, width), head = image.shape[:2], held.head
    reach = head.side / 2
    return reach < head.x < width - reach and reach < head.y < height - reach


def _is_doubtful(tracked: Tracked) -> bool:
    """Whether the keypoints of a face are so uncertain that its cover may miss it."""
    rows = zip(tracked.faces, tracked.sigma, strict=True)
    return any(float(sigma.mean()) > DOUBTFUL_SIDES * face.region.side for face, sigma in rows)


def _with_those_ahead(
    results: Iterable[Tracked], ahead_s: float
) -> Iterator[tuple[Tracked, list[_Sighting], list[_Sighting]]]:
    """Each result with what was seen in its frame and in those of the next `ahead_s`, soonest first."""
    pending: deque[tuple[Tracked, list[_Sighting]]] = deque()

    def oldest() -> tuple[Tracked, list[_Sighting], list[_Sighting]]:
        tracked, seen = pending.popleft()
        return tracked, seen, [each for _, later in pending for each in later]

    for newest in results:
        pending.append((newest, _sightings(newest)))
        while pending and _is_due(pending[0][0], newest, ahead_s, len(pending)):
            yield oldest()
    while pending:
        yield oldest()


def _is_due(tracked: Tracked, newest: Tracked, ahead_s: float, pending: int) -> bool:
    return newest.frame.timestamp - tracked.frame.timestamp >= ahead_s or pending > MOST_AHEAD


def _sightings(tracked: Tracked) -> list[_Sighting]:
    """The faces and possible faces of one frame."""
    now, shot = tracked.frame.timestamp, tracked.shot
    faces = [_Sighting(_head(face.region, face.box), now, face.id, shot) for face in tracked.faces]
    suspected = [_Sighting(_head(each.region, each.box), now, None, shot) for each in tracked.suspected]
    return _one_each([*faces, *suspected])


def _head(region: Region, box: Box) -> Region:
    return replace(region, side=max(region.side, BOX_SHARE * max(box.right - box.left, box.bottom - box.top)))


def _one_each(sightings: Iterable[_Sighting]) -> list[_Sighting]:
    """The first sighting of each face."""
    first: list[_Sighting] = []
    for each in sightings:
        if not any(_is_same(each, other) for other in first):
            first.append(each)
    return first


def _supersedes(seen: _Sighting, known: _Sighting) -> bool:
    """Whether the cover of a known sighting moves to a new one.

    The cover of a face moves only with this face; a possible face at its place would soon be dropped.
    """
    return _is_same(seen, known) if known.id is None else seen.id == known.id


def _is_same(one: _Sighting, other: _Sighting) -> bool:
    if one.id is not None and other.id is not None:
        return one.id == other.id
    return in_one_place(one.head, other.head)


def _cover(image: Image, head: Region, upscaling: int) -> None:
    """Replace the ellipse over a head, frame px, in `image` by a few averages."""
    turn_x, turn_y = cos(head.roll), sin(head.roll)
    width, height = (sides * head.side for sides in HEAD_SIDES)
    x, y = head.x + LIFT_SIDES * head.side * turn_y, head.y - LIFT_SIDES * head.side * turn_x
    reach_x, reach_y = hypot(width * turn_x, height * turn_y) / 2, hypot(width * turn_y, height * turn_x) / 2
    left, top = max(0, int(x - reach_x)), max(0, int(y - reach_y))
    patch = image[top : max(0, int(y + reach_y) + 2), left : max(0, int(x + reach_x) + 2)]
    if patch.size == 0:
        return
    across, down = (max(1, round(pixels * CELLS / head.side)) for pixels in patch.shape[1::-1])
    sample = cv2.resize(patch, (SAMPLES * across, SAMPLES * down), interpolation=cv2.INTER_LINEAR)
    averages = cv2.resize(sample, (across, down), interpolation=cv2.INTER_AREA)
    mask = np.zeros(patch.shape[:2], np.uint8)
    cv2.ellipse(mask, ((x - left, y - top), (width, height), degrees(head.roll)), 255, cv2.FILLED)
    cv2.copyTo(cv2.resize(averages, patch.shape[1::-1], interpolation=upscaling), mask, patch)


def _showing(image: Image, tracked: Tracked) -> Tracked:
    return replace(tracked, frame=replace(tracked.frame, image=image))
