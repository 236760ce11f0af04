"""Nobody is to be recognised: not in one frame, and nothing else is touched."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker.app.follow import follow
from tracker.backends.registry import open_backend
from tracker.backends.weights import load
from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.privacy import AHEAD_S, HEAD_SIDES, HOLD_S, SUSPICION_S, concealed
from tracker.core.smoothing import unsmoothed
from tracker.detectors.registry import DETECTORS, open_detector
from tracker.geometry import MEAN_SHAPE, frame_from_unit
from tracker.options import Options
from tracker.types import Box, Detection, Face, Frame, Region, Tracked

WAYS = ("blur", "pixelate")
NOISE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
RATE = 10


def region_at(x: float, y: float, side: float = 80, roll: float = 0.0) -> Region:
    return Region(x, y, side, roll)


def suspicion(region: Region) -> Detection:
    return Detection(box_of(region), 0.35, region)


def box_of(region: Region) -> Box:
    reach = region.side / 2
    return Box(region.x - reach, region.y - reach, region.x + reach, region.y + reach)


def result(index: int, **regions: Region) -> Tracked:
    """The frame `index` of noise, with a face `id0=...`, `id1=...` wherever a region is given."""
    faces = tuple(Face(int(name[2:]), region, box_of(region), 0.9) for name, region in regions.items())
    count = len(faces)
    frame = Frame(NOISE, index, index / RATE)
    return Tracked(frame, faces, np.zeros((count, 15, 2), np.float32), np.ones((count, 15), np.float32))


def is_covered(tracked: Tracked, x: float, y: float) -> bool:
    """Whether the noise around a point is gone."""
    return bool(tracked.frame.image[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].std() < 20)


@pytest.fixture(scope="module")
def detector() -> Iterator[object]:
    with closing(open_detector("yunet", threshold=0.2)) as opened:
        yield opened


def in_portrait(image: np.ndarray, detector: object) -> Tracked:
    with closing(open_backend("cpu", load())) as backend:
        (tracked,) = track([Frame(image, 0, 0.0)], detector, EachAlone(), Locate(backend), unsmoothed)
    return tracked


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [160, 512, 1300])
def test_the_face_is_gone_and_the_rest_is_as_it_was(
    way: str, size: int, portrait: np.ndarray, detector: object
) -> None:
    image = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA if size < 512 else cv2.INTER_CUBIC)
    tracked = in_portrait(image, detector)
    assert len(tracked.faces) == 1
    (shown,) = concealed([tracked], way)
    covered = shown.frame.image
    scores = [each.score for each in detector(covered)]
    assert max(scores, default=0.0) < DETECTORS["yunet"].threshold
    region = tracked.faces[0].region
    reach = int(region.side / 2)
    inside = (slice(int(region.y) - reach, int(region.y) + reach), slice(int(region.x) - reach, int(region.x) + reach))
    assert detail(covered[inside]) < 0.1 * detail(image[inside])
    changed = np.argwhere((covered != image).any(-1))
    far = np.abs(changed - (region.y, region.x)).max(0)
    assert (far <= 1.2 * region.side).all()
    assert (tracked.frame.image == image).all()  # the frame itself is somebody else's


def detail(image: np.ndarray) -> float:
    """Mean energy of what an average over a tenth of the face takes away; the edges of cells hardly count."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    size = max(3, gray.shape[0] // 10)
    return float(np.median(np.abs(gray - cv2.blur(gray, (size, size)))))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("roll", [0.0, 0.5, -1.2])
def test_the_whole_head_is_covered_however_it_is_held(way: str, roll: float) -> None:
    region = region_at(320, 240, roll=roll)
    (shown,) = concealed([result(0, id0=region)], way)
    ears_chin_and_hair = np.array([(-1.25, -0.2), (1.25, -0.2), (0, 1.4), (0, -1.9), (-0.9, -1.5), (0.9, -1.5)])
    assert all(is_covered(shown, x, y) for x, y in frame_from_unit(ears_chin_and_hair, region))
    assert not is_covered(shown, 100, 240)


@pytest.mark.parametrize("side", [40, 80, 160])
def test_the_strength_follows_the_size_of_the_face(side: float) -> None:
    (shown,) = concealed([result(0, id0=region_at(320, 240, side))], "pixelate")
    reach = int(side / 2)
    inside = shown.frame.image[240 - reach : 240 + reach, 320 - reach : 320 + reach]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= 16


def test_a_lost_face_stays_covered_where_it_was_in_a_growing_patch_and_not_for_ever() -> None:
    frames = [result(index, **({"id0": region_at(320, 240)} if index < 3 else {})) for index in range(40)]
    shown = list(concealed(frames, "blur"))
    lost_s = np.array([index / RATE - 0.2 for index in range(40)])
    assert [is_covered(each, 320, 240) for each in shown] == [bool(s < HOLD_S - 1e-9) for s in lost_s]
    beside = 320 + 0.5 * HEAD_SIDES[0] * 80 + 20
    assert not is_covered(shown[2], beside, 240)
    assert is_covered(shown[18], beside, 240)


def test_a_newcomer_is_covered_before_it_is_found_where_there_is_time_to_look_ahead() -> None:
    frames = [result(index, **({"id0": region_at(320, 240)} if index >= 10 else {})) for index in range(20)]
    ahead = list(concealed(frames, "blur", ahead_s=AHEAD_S))
    assert [each.frame.index for each in ahead] == list(range(20))
    first = next(index for index, each in enumerate(ahead) if is_covered(each, 320, 240))
    assert first == 10 - round(AHEAD_S * RATE)
    assert all(is_covered(each, 320, 240) for each in ahead[first:])
    live = list(concealed(frames, "blur"))
    assert [is_covered(each, 320, 240) for each in live] == [index >= 10 for index in range(20)]


def test_live_results_wait_for_no_later_frame() -> None:
    handed_out = []

    def frames() -> Iterator[Tracked]:
        for index in range(5):
            handed_out.append(index)
            yield result(index, id0=region_at(320, 240))

    for shown in concealed(frames(), "blur"):
        assert handed_out[-1] == shown.frame.index


def test_the_place_of_a_lost_face_stays_covered_though_something_is_suspected_there_for_a_moment() -> None:
    at = region_at(200, 150)
    lost, frames = 3, round((HOLD_S + 1) * RATE)
    results = [
        replace(
            result(index, id0=at) if index < lost else result(index),
            suspected=(suspicion(at),) if index in (lost, lost + 1) else (),
        )
        for index in range(frames)
    ]
    covered = [is_covered(each, 200, 150) for each in concealed(results, "blur")]
    assert sum(covered) == pytest.approx(lost + HOLD_S * RATE, abs=1)


def test_a_face_that_moves_leaves_no_trail() -> None:
    frames = [result(index, id0=region_at(100 + 40 * index, 240, 60)) for index in range(10)]
    shown = list(concealed(frames, "blur", ahead_s=AHEAD_S))
    for index, each in enumerate(shown):
        assert is_covered(each, 100 + 40 * index, 240)
        assert not any(is_covered(each, 100 + 40 * other, 240) for other in range(10) if abs(other - index) > 3)


@pytest.mark.parametrize(("privacy", "glances"), [("blur", 0), ("pixelate", 0), ("hide", 4), (None, 4)])
def test_where_heads_are_covered_every_look_is_close(privacy: str | None, glances: int) -> None:
    face = region_at(320, 240, 200)
    asked = []

    def detector(image: object, smallest: float | None = None, *, size: int | None = None) -> list[Detection]:
        asked.append(smallest)
        return [Detection(box_of(face), 0.9, face)]

    frames = [Frame(NOISE, index, index / RATE) for index in range(6)]
    options = Options(privacy=privacy, detect_every=1, smooth="off")
    answer = MEAN_SHAPE.astype(np.float32), np.full(15, 0.02, np.float32)

    def network(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.repeat(each[None], len(crops), axis=0) for each in answer)

    list(follow(frames, "film", detector, network, options))
    assert len(asked) - asked.count(None) == glances


def test_a_face_lost_behind_another_is_not_taken_for_that_one() -> None:
    here, there = region_at(300, 240), region_at(340, 240)
    frames = [result(0, id0=here, id1=there), result(1, id1=there)]
    _, shown = concealed(frames, "blur")
    leftmost = 300 - 0.5 * HEAD_SIDES[0] * 80 + 8
    assert is_covered(shown, leftmost, 240)


@pytest.mark.parametrize("smooth", ["offline", "off"])
def test_a_film_that_becomes_a_file_is_seen_ahead_however_it_is_smoothed(
    smooth: str, portrait: np.ndarray, detector: object
) -> None:
    empty = NOISE[:480, :480]
    scene = [empty] * 5 + [cv2.resize(portrait, (480, 480))] * 5
    frames = [Frame(image, index, index / RATE) for index, image in enumerate(scene)]
    options = Options(out=Path("film.mp4"), privacy="blur", smooth=smooth)
    with closing(open_backend("cpu", load())) as backend:
        shown = list(follow(frames, "film", detector, backend, options))
        live = list(follow(frames, "camera", detector, backend, options))
    assert (shown[4].frame.image != empty).any()
    assert (live[4].frame.image == empty).all()


def test_what_is_only_suspected_is_covered_too_but_let_go_sooner() -> None:
    at = region_at(200, 150)
    frames = [replace(result(index), suspected=(suspicion(at),) if index < 3 else ()) for index in range(12)]
    shown = list(concealed(frames, "blur"))
    last = 2 + round(SUSPICION_S * RATE) - 1
    assert [is_covered(each, 200, 150) for each in shown] == [index <= last for index in range(12)]


def test_pictures_have_nothing_to_do_with_one_another() -> None:
    frames = [result(0, id0=region_at(320, 240)), result(0)]
    _, second = concealed(frames, "blur", hold_s=0.0)
    assert (second.frame.image == NOISE).all()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (639, 479), (-200, 240), (320, 1000), (1e7, 1e7)])
def test_heads_over_the_edge_are_no_trouble(x: float, y: float) -> None:
    (shown,) = concealed([result(0, id0=region_at(x, y))], "pixelate")
    assert shown.frame.image.shape == NOISE.shape


def test_hidden_pictures_are_black_and_the_rest_stays() -> None:
    tracked = result(0, id0=region_at(320, 240))
    (shown,) = concealed([tracked], "hide")
    assert shown.frame.image.shape == NOISE.shape
    assert not shown.frame.image.any()
    assert (shown.faces, shown.keypoints) == (tracked.faces, tracked.keypoints)


def test_without_being_asked_nothing_happens() -> None:
    tracked = [result(0, id0=region_at(320, 240))]
    assert concealed(tracked, None) is tracked


def test_what_a_wary_detector_suspects_is_no_face(portrait: np.ndarray, detector: object) -> None:
    frame = Frame(np.hstack([portrait, cv2.GaussianBlur(portrait, None, 9)]), 0, 0.0)
    with closing(open_backend("cpu", load())) as backend, closing(open_detector("yunet")) as ordinary:
        (wary,) = follow([frame], "images", detector, backend, Options())
        (plain,) = follow([frame], "images", ordinary, backend, Options())
    assert [face.score for face in wary.faces] == [face.score for face in plain.faces]
    assert len(wary.faces) >= 1
    assert len(wary.suspected) >= len(plain.suspected)
