"""Nobody is to be recognised: not in one frame, and nothing else is touched."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import write_film
from programs import fkp_track

from tracker import Tracker
from tracker.app.follow import follow, smallest_covered, stages_of
from tracker.app.run import COVERED_FROM_PX
from tracker.backends.choice import open_backend
from tracker.backends.weights import load
from tracker.core.association import EachAlone
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.privacy import AHEAD_S, HEAD_SIDES, HOLD_S, SUSPICION_S, Stretches, concealed
from tracker.core.smoothing import unsmoothed
from tracker.detectors.registry import DETECTORS, open_detector
from tracker.detectors.search import ENLARGED, PART_PX
from tracker.geometry import MEAN_SHAPE, frame_from_unit
from tracker.options import Options
from tracker.sources.contract import Kind
from tracker.types import EVERY_PART, Box, Detection, Face, Frame, Region, Tracked

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


@pytest.mark.slow
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
    frames = [result(index, **({"id0": region_at(320, 240)} if index < 3 else {})) for index in range(80)]
    shown = list(concealed(frames, "blur"))
    lost_s = np.array([index / RATE - 0.2 for index in range(80)])
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


def test_a_cut_ends_the_covers_of_the_shot_before_and_none_of_the_next_comes_early() -> None:
    before, after = region_at(150, 240), region_at(450, 240)
    frames = [result(index, id0=before) for index in range(5)]
    frames += [replace(result(index, id1=after), shot=1) for index in range(5, 10)]
    for ahead_s in (0.0, AHEAD_S):
        shown = list(concealed(frames, "blur", ahead_s=ahead_s))
        assert [is_covered(each, 150, 240) for each in shown] == [index < 5 for index in range(10)]
        assert [is_covered(each, 450, 240) for each in shown] == [index >= 5 for index in range(10)]


def test_where_a_face_was_lost_in_the_picture_or_doubtful_is_told_at_the_end() -> None:
    stretches = Stretches()
    clear, leaving = region_at(320, 240), region_at(20, 240)
    frames = [result(index, **({"id0": clear} if index not in (30, 31, 95) else {})) for index in range(100)]
    frames[60] = replace(frames[60], sigma=np.full((1, 15), 6, np.float32))
    frames += [result(100, id1=leaving), *(result(index) for index in range(101, 103))]
    list(concealed(frames[:100], "blur", stretches=stretches))
    assert str(stretches) == "0:03.0-0:03.1, 0:06.0-0:06.0, 0:09.5-0:09.5"
    left = Stretches()
    list(concealed(frames[100:], "blur", stretches=left))
    assert not left


def test_a_lost_face_is_told_until_a_face_is_seen_at_its_place() -> None:
    stretches, here = Stretches(), region_at(320, 240)
    frames = [
        result(index, **({"id0": here} if index < 10 else {"id1": here} if index >= 20 else {})) for index in range(40)
    ]
    list(concealed(frames, "blur", stretches=stretches))
    assert str(stretches) == "0:01.0-0:01.9"


def test_nothing_is_drawn_on_covered_heads_unless_asked_for() -> None:
    assert Options().drawn_style == Options(privacy="hide").drawn_style == "classic"
    assert Options(privacy="blur").drawn_style == Options(privacy="pixelate").drawn_style == "none"
    assert Options(privacy="blur", style="dots").drawn_style == "dots"


@pytest.mark.slow
@pytest.mark.parametrize("width", [640, 1920])
def test_small_large_and_turned_faces_of_a_picture_are_covered(width: int, portrait: np.ndarray) -> None:
    height = width * 9 // 16
    image = np.full((height, width, 3), 100, np.uint8)
    head = cv2.resize(portrait[:260, 90:360], None, fx=12 / 43.8, fy=12 / 43.8, interpolation=cv2.INTER_AREA)
    places = {(20, 30): 0, (width - 120, 40): 1, (60, height - 110): 2, (width // 2, height // 2): 3}
    for (x, y), turn in places.items():
        turned = np.rot90(head, -turn)
        image[y : y + turned.shape[0], x : x + turned.shape[1]] = turned
    with Tracker(backend="cpu", privacy="blur") as tracker:
        shown = tracker.image(image).frame.image
        closeup = cv2.resize(portrait[60:160, 150:300], (width, height), interpolation=cv2.INTER_CUBIC)
        covered = tracker.image(closeup).frame.image
    for (x, y), turn in places.items():
        eyes = np.array([37, 28]) - (np.array(head.shape[1::-1]) - 1) / 2
        for _ in range(turn):
            eyes = np.array([-eyes[1], eyes[0]])
        size = head.shape[1::-1] if turn % 2 == 0 else head.shape[:2]
        at = np.rint(eyes + (np.array(size) - 1) / 2 + (x, y)).astype(int)
        window = (slice(at[1] - 3, at[1] + 4), slice(at[0] - 5, at[0] + 6))
        assert (shown[window] != image[window]).any(axis=-1).mean() > 0.9, (x, y, turn)
    assert (covered != closeup).any(axis=-1).mean() > 0.5


def test_a_cover_stays_on_the_head_in_an_enlarged_picture(portrait: np.ndarray) -> None:
    """The suit below it looks like a giant's face to the detector, at one size of the picture."""
    image = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    with Tracker(backend="cpu", privacy="blur") as tracker:
        shown = tracker.image(image).frame.image
    covered = (shown != image).any(-1)
    assert covered[180:240, 420:480].all()
    assert covered[460:].mean() < 0.4


@pytest.mark.parametrize("eyes_px", [14, 16])
def test_a_masked_face_under_a_cap_in_the_haze_is_covered(portrait: np.ndarray, eyes_px: int) -> None:
    mask = np.array([(188, 118), (224, 110), (262, 118), (255, 150), (225, 172), (198, 152)])
    cv2.fillPoly(portrait, [mask], (150, 150, 150))
    cv2.rectangle(portrait, (160, 0), (290, 90), (120, 120, 120), cv2.FILLED)
    hazy = cv2.addWeighted(portrait, 0.1, portrait, 0, 108)[:260, 90:360]
    small = cv2.resize(hazy, None, fx=eyes_px / 43.8, fy=eyes_px / 43.8, interpolation=cv2.INTER_AREA)
    image = np.full((180, 320, 3), 120, np.uint8)
    image[:, 240:] = np.random.default_rng(0).integers(0, 2, (6, 3, 1)).repeat(30, 0).repeat(30, 1)[:, :80] * 255
    image[50 : 50 + small.shape[0], 80 : 80 + small.shape[1]] = small
    with Tracker(backend="cpu", privacy="blur") as tracker:
        shown = tracker.image(image).frame.image
    x, y = 80 + round(134 * eyes_px / 43.8), 50 + round(102 * eyes_px / 43.8)
    face = np.s_[y - 4 : y + 4, x - 6 : x + 6]
    assert (shown[face] != image[face]).any(-1).mean() > 0.9


@pytest.mark.parametrize("eyes_px", [12, 18])
def test_faces_cut_by_any_edge_of_a_picture_are_covered(portrait: np.ndarray, eyes_px: int) -> None:
    image = np.full((360, 640, 3), 90, np.uint8)
    small = cv2.resize(portrait[:300], None, fx=eyes_px / 43.8, fy=eyes_px / 43.8, interpolation=cv2.INTER_AREA)
    nose = np.array([224, 124]) * eyes_px / 43.8
    places = [(0, 180), (639, 100), (300, 359), (400, 0)]
    for place in places:
        shift = np.eye(2, 3)
        shift[:, 2] = place - nose
        cv2.warpAffine(small, shift, (640, 360), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
    with Tracker(backend="cpu", privacy="blur") as tracker:
        shown = tracker.image(image).frame.image
    for x, y in places:
        face = np.s_[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6]
        assert (shown[face] != image[face]).any(-1).mean() > 0.9, (x, y)


def test_small_faces_in_the_dark_are_covered_beside_a_certain_one(portrait: np.ndarray) -> None:
    image = np.full((720, 1280, 3), 100, np.uint8)
    image[200:500, 200:470] = portrait[:300, 90:360]
    small = cv2.resize(portrait[:260, 90:360], None, fx=16 / 43.8, fy=16 / 43.8, interpolation=cv2.INTER_AREA)
    places = [(700, 100), (900, 500), (1100, 300)]
    for x, y in places:
        image[y : y + small.shape[0], x : x + small.shape[1]] = small
    dark = image * 0.05 + np.random.default_rng(0).normal(0, 2, image.shape)
    dark[200:500, 200:470] = portrait[:300, 90:360] * 0.3
    seen = np.clip(dark, 0, 255).astype(np.uint8)
    with Tracker(backend="cpu", privacy="blur") as tracker:
        shown = tracker.image(seen).frame.image
    for x, y in places:
        face = np.s_[y + 30 : y + 46, x + 40 : x + 58]
        assert (shown[face] != seen[face]).any(-1).mean() > 0.9, (x, y)


@pytest.mark.parametrize("kind", ["images", "film", "camera"])
def test_where_heads_are_covered_every_source_is_searched_enlarged(kind: Kind) -> None:
    views: list[tuple[int, ...]] = []

    def detector(image: np.ndarray, smallest: float | None = None, *, size: int | None = None) -> list[Detection]:
        views.append(image.shape)
        return []

    picture = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    search, _, _ = stages_of(detector, kind, Options(privacy="blur"))
    search(picture, part=EVERY_PART)
    assert min(max(shape) for shape in views) == PART_PX * ENLARGED


@pytest.mark.slow
@pytest.mark.parametrize("mute", [[], ["--mute"]])
def test_a_muted_film_has_no_sound(mute: list[str], tmp_path: Path) -> None:
    write_film(tmp_path / "talk.mp4", [NOISE] * 5, audio=True)
    done = fkp_track("talk.mp4", "--out", "out.mp4", "--blur", *mute, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert len(film.streams.audio) == (0 if mute else 1)


def test_a_detect_size_that_misses_small_faces_is_warned_of() -> None:
    assert smallest_covered(Options(privacy="blur"), 3840) == 0
    assert smallest_covered(Options(privacy="blur", detect_size=320), 1920) == pytest.approx(77, abs=2)
    assert smallest_covered(Options(privacy="blur", detect_size=640), 640) < COVERED_FROM_PX


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


@pytest.mark.slow
@pytest.mark.parametrize("smooth", ["offline", "off"])
def test_a_film_that_becomes_a_file_is_seen_ahead_however_it_is_smoothed(
    smooth: str, portrait: np.ndarray, detector: object
) -> None:
    empty = cv2.resize(NOISE[:6, :6], (480, 480), interpolation=cv2.INTER_LINEAR)
    somebody = empty.copy()
    somebody[100:250, 100:250] = cv2.resize(portrait[:300, 90:390], (150, 150))
    scene = [empty] * 5 + [somebody] * 5
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
