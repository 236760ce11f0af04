"""A detector with different looks: turned, in parts, in other light.  BGR frame in, faces in frame px out.

`Search` wraps a plain detector.  A detector finds upright faces of a certain size in ordinary light.  To find others,
it gets the picture turned by quarter turns, in full resolution part by part, or with other exposure.

Where heads are covered, a search is thorough: it also enlarges the parts, mirrors what lies beyond the picture's edge,
and looks again at what is faint.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from tracker.detectors.contract import Detector
from tracker.detectors.light import Light, is_bad, lights
from tracker.detectors.second_look import GRAY, scores_again
from tracker.geometry import in_one_place
from tracker.types import ALL_TURNS, EVERY_PART, EVERY_PART_TURNED, Detection, Image, Look, Region

PART_PX = 640
"""Side of the parts that are searched one by one.  One takes as long as four looks at the whole with 320."""
OVERLAP_PX = 128
"""Overlap of neighbouring parts: every face is complete in one part, or large enough for a coarser level."""
AFAR = 3
"""A search also shows the picture this much smaller, with room around it."""
AFAR_SIDE, AFAR_SCORE = 0.8, 0.6
"""... and then only faces count that are this large, in short sides of the picture, and this certain: a cover over half
of the picture needs a reason."""
GIANT_SHARE, USUAL_GIANT_SHARE, GIANT_SCORE = 0.25, 0.5, 0.8
"""A face this large, in short sides of the picture, needs a second look if its score is below the third number.  The
first share holds for a thorough search, because a cover would hide much of the picture; the second one otherwise."""
CONFIRMED_SCORE, DOUBTED_SCORE = 0.6, 0.4
"""A giant that scores less than the first number in the second look keeps at most the second."""
FAINT_PX, MOST_FAINT = 20, 800
"""Smallest side of a faint detection that is looked at again, frame px (8 px between the eyes: smaller ones are mostly
grain), and how many are, the best first.  A picture of 1920x1080 has 200 to 2,000, enlarged noise ten thousand."""
FIRST_WEIGHT, LIKELY_SMALL, LIKELY, MOST_LIKELY = 2, 0.35, 1.1, 24
"""A faint detection may be a face if this many times its score and the score of the second look are this together, for
small ones and for others, and how many may be.  A false cover of 30 px costs less than a bare face.  Their score is
then the least that counts, so that a large one is covered only if the network is sure of it (`core.association`)."""
SMALL_SHARE, SMALL_PX = 0.05, 48
"""A side below one of these, in short sides of the picture and in px, is that of a small one."""
CERTAIN = 0.6
"""Score of a detection that makes other light unnecessary."""
ENLARGED = 0.5
"""Shrink of the finest parts in a thorough search: each px of the picture becomes two."""
BEYOND_PX = 48
"""How far beyond the picture's edge its mirror image is shown then, px of a part: half a face becomes a whole one."""

LEAST_PX, MOST_PX = 320, 640
"""Long sides of the picture that the detector sees as a whole, for frames up to 960 px and from 1920 px on."""

WHOLE_SHOWS_PX = 34
"""Side, px of the detector's input, of a face's region that is found in nine of ten; see `yunet.SURELY_SEEN`."""


class Search:
    """`detector` with different looks; it sees a whole picture shrunk to `size`, or (None) to a size that suits it.

    least: the lowest score that counts.
    thorough: whether looks at parts also enlarge them, mirror the picture's edge, and look again at what scores less.
    """

    def __init__(
        self, detector: Detector, size: int | None = None, *, least: float = 0.0, thorough: bool = False
    ) -> None:
        self._detector = detector
        self._size = size
        self._least = least
        self._thorough = thorough

    def __call__(
        self, image: Image, smallest: float | None = None, turns: Sequence[int] = (0,), part: int | None = None
    ) -> list[Detection]:
        """The faces in `image`, best first, one per face; see `types.Look` for the rest.

        If nothing is found with certainty, a picture in bad light is shown again in a better one, and by a search (all
        turns) any picture as a whole: it may be noisy.  A search of all parts always shows one in bad light again.
        """
        look = Look(smallest, tuple(turns), part)
        found = self._look(image, look)
        if _is_certain(found) and part != EVERY_PART_TURNED:
            return found
        if not is_bad(image) and (look.turns != ALL_TURNS or part is not None):
            return found
        for light in lights(image):
            if part == EVERY_PART_TURNED or not _is_certain(found):
                found = _one_per_face([*found, *self._look(image, look, light)])
        return found

    def _look(self, image: Image, look: Look, light: Light | None = None) -> list[Detection]:
        found = self._turned(image, look, light) if look.part is None or look.part < 0 else []
        if look.part is not None:
            found += self._parted(image, (0,) if look.part == EVERY_PART else look.turns, look.part, light)
        certain = _one_per_face(each for each in found if each.score >= self._least)
        faint = self._faint(image, found, certain) if self._thorough and look.part is not None else []
        return sorted([*(self._checked(image, each) for each in certain), *faint], key=_weakness)

    def _checked(self, image: Image, seen: Detection) -> Detection:
        """A detection; the score of a giant is lowered if a second look does not confirm it."""
        giant = (GIANT_SHARE if self._thorough else USUAL_GIANT_SHARE) * min(image.shape[:2])
        if seen.score >= GIANT_SCORE or seen.region.side <= giant:
            return seen
        (again,) = scores_again(self._detector, image, [seen.region])
        return seen if again >= CONFIRMED_SCORE else replace(seen, score=min(seen.score, DOUBTED_SCORE))

    def _faint(self, image: Image, found: Sequence[Detection], certain: Sequence[Detection]) -> list[Detection]:
        """Detections below the least score, beside the certain ones, that may be faces after a second look."""
        faint = [each for each in found if each.score < self._least and each.region.side >= FAINT_PX]
        best = _one_per_face(sorted(faint, key=_weakness)[:MOST_FAINT])
        new = [each for each in best if not any(in_one_place(each.region, other.region) for other in certain)]
        again = scores_again(self._detector, image, [each.region for each in new])
        small = max(SMALL_SHARE * min(image.shape[:2]), SMALL_PX)
        chances = [(FIRST_WEIGHT * seen.score + score, seen) for seen, score in zip(new, again, strict=True)]
        likely = [each for each in chances if each[0] >= (LIKELY_SMALL if each[1].region.side < small else LIKELY)]
        likeliest = sorted(likely, key=lambda each: -each[0])[:MOST_LIKELY]
        return [replace(seen, score=self._least) for _, seen in likeliest]

    def _parted(self, image: Image, turns: Sequence[int], part: int, light: Light | None) -> list[Detection]:
        """The faces in one part of the picture, or in all of them."""
        parts = parts_of(image.shape[1], image.shape[0], thorough=self._thorough)
        found = []
        for left, top, shrink in parts if part < 0 or not parts else [parts[part % len(parts)]]:
            piece = _piece(image, left, top, shrink, self._thorough)
            piece = piece if light is None else light(piece, shrink)
            for turn in turns:
                seen = self._detector(np.ascontiguousarray(np.rot90(piece, turn)), size=PART_PX)
                found += [_moved(_turned_back(each, turn, piece.shape), left, top) for each in seen]
        return [each for each in found if _is_inside(each.region, image)] if self._thorough else found

    def _turned(self, image: Image, look: Look, light: Light | None) -> list[Detection]:
        """The faces in the whole picture."""
        if look.turns == (0,) and light is None:
            return self._detector(image, look.smallest, size=self._whole(image))
        small, across, down = self._shrunk(image)
        small = small if light is None else light(small, 1.0)
        found = self._from_afar(image) if look.turns == ALL_TURNS and light is None else []
        for turn in look.turns:
            seen = self._detector(np.ascontiguousarray(np.rot90(small, turn)), size=self._whole(image))
            found += [_scaled(_turned_back(each, turn, small.shape), across, down) for each in seen]
        return found

    def _from_afar(self, image: Image) -> list[Detection]:
        """The faces that are too large for the detector, or cut by the picture's edge: shown small, on gray."""
        small, across, down = self._shrunk(image)
        height, width = max(1, small.shape[0] // AFAR), max(1, small.shape[1] // AFAR)
        canvas = np.full(small.shape, GRAY, np.uint8)
        top, left = (small.shape[0] - height) // 2, (small.shape[1] - width) // 2
        inner = canvas[top : top + height, left : left + width]
        cv2.resize(small, (width, height), dst=inner, interpolation=cv2.INTER_AREA)
        seen = [_moved(each, -left, -top) for each in self._detector(canvas, size=self._whole(image))]
        found = [_scaled(each, across * small.shape[1] / width, down * small.shape[0] / height) for each in seen]
        least_side = AFAR_SIDE * min(image.shape[:2])
        return [each for each in found if each.score >= AFAR_SCORE and each.region.side > least_side]

    def _whole(self, image: Image) -> int:
        """The long side of the picture that the detector sees."""
        return whole_px(image.shape) if self._size is None else self._size

    def _shrunk(self, image: Image) -> tuple[Image, float, float]:
        """The picture that the detector sees as a whole, and how many frame px its pixels are, across and down."""
        height, width = image.shape[:2]
        scale = min(1.0, self._whole(image) / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return small, width / size[0], height / size[1]


def whole_px(shape: tuple[int, ...]) -> int:
    """The long side of the picture that the detector sees as a whole, of a frame of this shape."""
    return min(max(max(shape[:2]) // 3 // 32 * 32, LEAST_PX), MOST_PX)


def seen_whole_from(shape: tuple[int, ...]) -> float:
    """Side of a region, frame px, above which a face is found without searching parts; 0 in a frame without parts."""
    longest = max(shape[:2])
    return seen_from(whole_px(shape), longest) if longest > PART_PX else 0.0


def seen_from(size: int, longest: int) -> float:
    """Side of a region, frame px, above which a face is found if the long side, `longest`, is shrunk to `size`."""
    return WHOLE_SHOWS_PX * longest / size


def parts_of(width: int, height: int, *, thorough: bool = False) -> list[tuple[int, int, float]]:
    """(left, top, shrink) of the squares that cover a frame of that size, finest first.

    Each is `PART_PX * shrink` wide.  A level of shrink k leaves faces out that a level of 2 k finds; the coarsest level
    is the whole, which is shrunk further if it fits into one part.
    """
    longest, shrink = max(width, height), ENLARGED if thorough else 1.0
    parts: list[tuple[int, int, float]] = []
    while longest > PART_PX * shrink:
        parts += _level(width, height, shrink, thorough)
        shrink *= 2
    if longest <= PART_PX and (thorough or longest > LEAST_PX):
        parts += _level(width, height, shrink, thorough)
    return parts


def _level(width: int, height: int, shrink: float, thorough: bool) -> Iterator[tuple[int, int, float]]:
    beyond = round(BEYOND_PX * shrink) if thorough else 0
    for top in _starts(height + 2 * beyond, shrink):
        for left in _starts(width + 2 * beyond, shrink):
            yield left - beyond, top - beyond, shrink


def _piece(image: Image, left: int, top: int, shrink: float, thorough: bool) -> Image:
    """One part of a picture; if the search is thorough, mirrored beyond the picture's edge."""
    beyond = round(BEYOND_PX * shrink) if thorough else 0
    (height, width), reach = image.shape[:2], round(PART_PX * shrink)
    bottom, right = min(top + reach, height + beyond), min(left + reach, width + beyond)
    missing = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    inside = image[max(0, top) : bottom, max(0, left) : right]
    return cv2.copyMakeBorder(inside, *missing, cv2.BORDER_REFLECT_101) if any(missing) else inside


def _is_inside(region: Region, image: Image) -> bool:
    """Whether its centre is in the picture, and all of it if it is large: so that it is no mirror image."""
    height, width = image.shape[:2]
    reach = region.side / 2 if region.side > GIANT_SHARE * min(height, width) else 0.0
    return reach <= region.x < width - reach and reach <= region.y < height - reach


def _starts(length: int, shrink: float) -> Iterator[int]:
    """Start positions of parts that cover `length`, evenly spread."""
    reach, overlap = round(PART_PX * shrink), OVERLAP_PX * shrink
    count = max(1, math.ceil((length - overlap) / (reach - overlap)))
    last = max(0, length - reach)
    return (round(last * i / max(1, count - 1)) for i in range(count))


def _weakness(seen: Detection) -> float:
    return -seen.score


def _one_per_face(found: Iterable[Detection]) -> list[Detection]:
    """The best detection of each face, with the regions that the other views gave it as its alternatives."""
    kept: list[Detection] = []
    for each in sorted(found, key=_weakness):
        for i, better in enumerate(kept):
            if in_one_place(each.region, better.region):
                kept[i] = replace(better, alternatives=(*better.alternatives, each.region))
                break
        else:
            kept.append(each)
    return kept


def _is_certain(found: Sequence[Detection]) -> bool:
    return bool(found) and found[0].score >= CERTAIN


def _mapped(seen: Detection, at: Callable[[float, float], tuple[float, float]], size: float, turn: int) -> Detection:
    """Where a detection lies if `at` maps its points, and the picture grows by `size` and turns by quarter turns."""
    x, y = at(seen.region.x, seen.region.y)
    roll = math.remainder(seen.region.roll + turn * math.pi / 2, math.tau)
    return replace(seen, box=seen.box.mapped(at), region=Region(x, y, seen.region.side * size, roll))


def _moved(seen: Detection, right: float, down: float) -> Detection:
    return _mapped(seen, lambda x, y: (x + right, y + down), size=1.0, turn=0)


def _scaled(seen: Detection, across: float, down: float) -> Detection:
    """From a shrunk picture to the frame; a pixel's centre stays its centre."""
    size = math.sqrt(across * down)
    return _mapped(seen, lambda x, y: ((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5), size, turn=0)


def _turned_back(seen: Detection, turn: int, shape: tuple[int, ...]) -> Detection:
    """From a picture turned by `np.rot90(picture, turn)` to the picture, whose shape is (height, width, ...)."""
    height, width = shape[:2]

    def back(x: float, y: float) -> tuple[float, float]:
        return [(x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x)][turn % 4]

    return _mapped(seen, back, 1.0, turn)
