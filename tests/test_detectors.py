"""Face detectors on real pictures: against OpenCV's own decoding, on hard framings, on clips, and with bad files."""

import importlib.util
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tracker.core.schedule import Closeness, EveryN, OnDemand, paced
from tracker.detectors.contract import Detector
from tracker.detectors.registry import open_detector
from tracker.detectors.yunet import FRAMING, MODEL, YuNet
from tracker.errors import BackendUnavailable, WeightsError
from tracker.geometry import EYE_MIDPOINT, SIDE_IOD, unit_from_frame
from tracker.options import Options
from tracker.types import Box, Detection, Region
from train.export.yunet_form import MERGED, PUBLISHED, merged

EMPTY = np.zeros((480, 640, 3), np.uint8)
PERSON = Region(507.0, 325.0, 37.0, 0.0)
"""Where the face is in `room`."""
RIGHT_EYE, LEFT_EYE = np.array([204.0, 100.0]), np.array([246.0, 101.0])
"""Pupils of the portrait, frame px, marked by eye."""


@pytest.fixture(scope="module")
def yunet() -> Iterator[Detector]:
    with closing(open_detector("yunet")) as detector:
        yield detector


def only(found: list[Detection]) -> Detection:
    assert len(found) == 1
    return found[0]


def film_frames(path: Path, every: int) -> Iterator[np.ndarray]:
    with av.open(str(path)) as film:
        for i, frame in enumerate(film.decode(video=0)):
            if i % every == 0:
                yield frame.to_ndarray(format="bgr24")


@pytest.mark.parametrize("size", [(640, 384), (320, 192), (160, 96)])
def test_yunet_decodes_as_opencv_does(portrait: np.ndarray, size: tuple[int, int]) -> None:
    face = portrait[:300, 100:350]
    image = cv2.resize(np.hstack([face, face[:, ::-1]]), size, interpolation=cv2.INTER_AREA)
    expected = cv2.FaceDetectorYN.create(str(PUBLISHED), "", size, 0.6, 0.3).detect(image)[1]
    with closing(open_detector("yunet", threshold=0.6, input_size=size[0])) as detector:
        found = detector(image)
    assert len(found) == len(expected) == 2
    for detection, row in zip(found, sorted(expected, key=lambda row: -row[14]), strict=True):
        left, top, width, height = row[:4]
        seen = detection.box
        opencvs = [left, top, left + width, top + height]
        np.testing.assert_allclose([seen.left, seen.top, seen.right, seen.bottom], opencvs, atol=0.05)
        assert detection.score == pytest.approx(row[14], abs=1e-4)
        region = FRAMING(row[4:14].reshape(5, 2))
        assert (region.x, region.y, region.side) == pytest.approx(
            (detection.region.x, detection.region.y, detection.region.side), abs=0.1
        )


def test_the_form_of_yunet_that_runs_is_the_published_one_merged() -> None:
    assert MODEL == MERGED
    assert merged(PUBLISHED.read_bytes()) == MODEL.read_bytes()


def test_what_was_seen_before_leaves_no_trace(portrait: np.ndarray) -> None:
    """The network's input is kept from frame to frame."""
    tall, wide = portrait[:300, 150:300], portrait[:150]
    with closing(open_detector("yunet")) as used:
        for image in (wide, tall, np.full_like(tall, 255), wide, portrait):
            with closing(open_detector("yunet")) as fresh:
                assert [seen.region for seen in used(image)] == [seen.region for seen in fresh(image)]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0, 1.5])
def test_any_threshold_is_taken(portrait: np.ndarray, threshold: float) -> None:
    with closing(open_detector("yunet", threshold=threshold, input_size=96)) as detector:
        scores = [detection.score for detection in detector(portrait)]
    assert all(threshold <= score <= 1 for score in scores)
    assert (len(scores) > 0) == (threshold < 0.9)


def test_the_region_is_kaggles_framing(yunet: Detector, portrait: np.ndarray) -> None:
    region = only(yunet(portrait)).region
    assert region.side / np.hypot(*(LEFT_EYE - RIGHT_EYE)) == pytest.approx(SIDE_IOD, rel=0.1)
    np.testing.assert_allclose(unit_from_frame((LEFT_EYE + RIGHT_EYE) / 2, region), EYE_MIDPOINT, atol=0.08)
    assert abs(math.degrees(region.roll)) < 4


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_the_region_leans_with_the_head(yunet: Detector, portrait: np.ndarray, degrees: float) -> None:
    """By less than the head does: YuNet's points are drawn upright, the more the smaller the face is."""
    turn = cv2.getRotationMatrix2D((224, 113), -degrees, 1)  # OpenCV counts anticlockwise
    region = only(yunet(cv2.warpAffine(portrait, turn, (512, 512))[:260, 100:360])).region
    assert 0.2 < math.degrees(region.roll) / degrees < 1.2
    assert math.hypot(region.x - 124, region.y - 113) < 0.15 * region.side


@pytest.mark.parametrize(("width", "height"), [(150, 150), (96, 64), (1920, 1080), (333, 517)])
def test_the_size_of_the_picture_does_not_matter(
    yunet: Detector, portrait: np.ndarray, width: int, height: int
) -> None:
    found = only(yunet(cv2.resize(portrait[:300, :450], (width, height), interpolation=cv2.INTER_AREA)))
    scale = np.array([width / 450, height / 300])
    eyes = (LEFT_EYE + RIGHT_EYE + 1) / 2 * scale - 0.5
    np.testing.assert_allclose(unit_from_frame(eyes, found.region), EYE_MIDPOINT, atol=0.12)


def test_a_face_that_fills_the_picture_is_found(yunet: Detector, portrait: np.ndarray) -> None:
    crop = cv2.resize(portrait[58:168, 169:279], (96, 96), interpolation=cv2.INTER_AREA)
    region = only(yunet(crop)).region
    assert (region.x, region.y) == pytest.approx((47.5, 47.5), abs=8)
    assert region.side == pytest.approx(96, rel=0.12)


@pytest.mark.parametrize("cut_away", ["left", "top", "bottom"])
def test_a_face_partly_outside_the_picture_is_found(yunet: Detector, portrait: np.ndarray, cut_away: str) -> None:
    """The right half of the face, the face below the brows, the face above the lips."""
    left, top, bottom = {"left": (216, 0, 400), "top": (0, 90, 400), "bottom": (0, 0, 140)}[cut_away]
    found = only(yunet(portrait[top:bottom, left:]))
    eyes = (LEFT_EYE + RIGHT_EYE) / 2 - (left, top)
    np.testing.assert_allclose(unit_from_frame(eyes, found.region), EYE_MIDPOINT, atol=0.25)


def test_a_small_face_is_found(yunet: Detector, portrait: np.ndarray) -> None:
    """13 px between the eyes in a frame of 640x480."""
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[150:308, 300:458] = cv2.resize(portrait, (158, 158), interpolation=cv2.INTER_AREA)
    region = only(yunet(frame)).region
    eyes = ((LEFT_EYE + RIGHT_EYE) / 2 + 0.5) * 158 / 512 - 0.5 + (300, 150)
    np.testing.assert_allclose(unit_from_frame(eyes, region), EYE_MIDPOINT, atol=0.25)


@pytest.fixture
def near_and_far(portrait: np.ndarray) -> np.ndarray:
    """A face of 76 px between the eyes, and one of 13 px above its shoulder, (480, 640, 3)."""
    frame = np.full((480, 640, 3), 90, np.uint8)
    frame[:, :400] = cv2.resize(portrait[:267, 114:336], (400, 480), interpolation=cv2.INTER_LINEAR)
    frame[20:178, 440:598] = cv2.resize(portrait, (158, 158), interpolation=cv2.INTER_AREA)
    return frame


def test_who_asks_for_large_faces_alone_gets_those(yunet: Detector, near_and_far: np.ndarray) -> None:
    near, far = sorted((face.region for face in yunet(near_and_far)), key=lambda region: -region.side)
    quick = only(yunet(near_and_far, smallest=near.side)).region
    assert (quick.x, quick.y, quick.side) == pytest.approx((near.x, near.y, near.side), abs=0.08 * near.side)
    assert {face.region for face in yunet(near_and_far, smallest=far.side)} == {near, far}


def test_a_picture_need_not_be_contiguous(yunet: Detector, portrait: np.ndarray) -> None:
    mirrored = only(yunet(portrait[:, ::-1]))
    copied = only(yunet(np.ascontiguousarray(portrait[:, ::-1])))
    assert mirrored.region == copied.region


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (3000, 2), (480, 640)])
def test_empty_pictures_of_any_shape_have_no_face(yunet: Detector, shape: tuple[int, int]) -> None:
    assert yunet(np.zeros((*shape, 3), np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert yunet(noise) == []


def test_the_best_face_comes_first_and_none_is_below_the_threshold(portrait: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(portrait[:300, 100:350], (0, 0), 6)
    two = np.hstack([blurred, portrait[:300, 100:350]])
    with closing(open_detector("yunet", threshold=0.3)) as lenient:
        scores = [detection.score for detection in lenient(two)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    with closing(open_detector("yunet", threshold=sum(scores) / 2)) as strict:
        assert len(strict(two)) == 1


def test_a_closed_detector_says_so(portrait: np.ndarray) -> None:
    detector = open_detector("yunet")
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        detector(portrait)


class Sure:
    """A watch over one face that is sure of itself unless the detector is wanted."""

    def __init__(self, region: Region, *, wanted: bool = True) -> None:
        self.region = region
        self.wanted = wanted
        self.due = False
        self.rested = 0.2

    def in_doubt(self) -> bool:
        return self.wanted

    def is_sure(self) -> bool:
        return not self.wanted

    def wants_look(self) -> bool:
        return self.wanted or self.due

    def rested_s(self) -> float:
        return self.rested

    def regions(self) -> list[Region]:
        return [self.region]


def test_every_n_looks_at_the_first_and_each_nth_frame(yunet: Detector, room: np.ndarray) -> None:
    every_third = paced(yunet, 3, Sure(PERSON, wanted=False))
    answers = [every_third(room) for _ in range(7)]
    assert [answer is None for answer in answers] == [False, True, True, False, True, True, False]
    assert every_third.name == yunet.name
    every_one = paced(yunet, 1, Sure(PERSON, wanted=False))
    assert all(every_one(room) for _ in range(3))


class Asked:
    """A detector that sees one face, but not at a glance when `blind`; notes the smallest it was asked for."""

    name = "asked"

    def __init__(self) -> None:
        self.smallest: list[float | None] = []
        self.blind = False

    def __call__(self, image: np.ndarray, smallest: float | None = None) -> list[Detection]:
        self.smallest.append(smallest)
        return [] if self.blind and smallest else [Detection(Box(489, 304, 525, 346), 0.9, PERSON)]

    def close(self) -> None:
        pass


def test_every_third_look_is_close_and_so_is_every_look_in_doubt() -> None:
    detector, watch = Asked(), Sure(PERSON, wanted=False)
    watch.rested = 1 / 30
    look = paced(detector, 1, watch)
    for _ in range(7):
        look(EMPTY)
    assert detector.smallest == [None, PERSON.side, PERSON.side, None, PERSON.side, PERSON.side, None]
    watch.wanted = True
    for _ in range(3):
        look(EMPTY)
    assert detector.smallest[7:] == [None, None, None]


@pytest.mark.parametrize(("rest_s", "looks_between"), [(1 / 3, 2), (0.5, 1), (0.9, 1), (1.0, 0), (2.0, 0)])
def test_whoever_looks_seldom_looks_closely_once_a_second(rest_s: float, looks_between: int) -> None:
    detector, watch = Asked(), Sure(PERSON, wanted=False)
    watch.rested = rest_s
    look = paced(detector, 1, watch)
    for _ in range(2 + looks_between):
        look(EMPTY)
    assert detector.smallest == [None, *[PERSON.side] * looks_between, None]


def test_a_followed_face_that_a_glance_misses_is_looked_for_at_once() -> None:
    detector, watch = Asked(), Sure(PERSON, wanted=False)
    detector.blind = True
    look = paced(detector, 1, watch)
    assert [len(look(EMPTY) or ()) for _ in range(3)] == [1, 1, 1]
    assert detector.smallest == [None, PERSON.side, None, PERSON.side, None]


def test_a_picture_that_has_changed_is_looked_at_closely() -> None:
    detector, watch = Asked(), Sure(PERSON)
    look = paced(detector, "auto", watch)
    look(EMPTY)
    watch.wanted = False
    look(np.full_like(EMPTY, 100))
    watch.due = True
    look(np.full_like(EMPTY, 200))
    look(np.full_like(EMPTY, 200))
    assert detector.smallest == [None, None, None, PERSON.side]


def test_who_comes_from_afar_is_seen_by_the_third_look(yunet: Detector, near_and_far: np.ndarray) -> None:
    near, _ = sorted((face.region for face in yunet(near_and_far)), key=lambda region: -region.side)
    alone = near_and_far.copy()
    alone[:, 430:] = 90
    detect = paced(yunet, 1, Sure(near, wanted=False))
    assert [len(detect(frame) or ()) for frame in (alone, alone, near_and_far, near_and_far)] == [1, 1, 1, 2]
    never_glancing = paced(yunet, 1, Sure(near, wanted=False), glances=0)
    assert [len(never_glancing(frame) or ()) for frame in (alone, near_and_far)] == [1, 2]


@pytest.fixture
def room(portrait: np.ndarray) -> np.ndarray:
    """A person in the right half of an empty room, (480, 640, 3)."""
    room = np.full((480, 640, 3), 120, np.uint8)
    room[280:, 460:560] = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)[:, 40:140]
    return room


def looked_once(yunet: Detector, room: np.ndarray) -> tuple[OnDemand, Sure]:
    watch = Sure(PERSON)
    on_demand = OnDemand(Closeness(yunet, watch, glances=2), watch)
    assert only(on_demand(room) or []).score > 0.8
    watch.wanted = False
    return on_demand, watch


def test_on_demand_a_picture_that_stays_the_same_is_not_looked_at(yunet: Detector, room: np.ndarray) -> None:
    on_demand, watch = looked_once(yunet, room)
    noise = np.random.default_rng(0).normal(0, 4, room.shape)
    assert on_demand(np.clip(room + noise, 0, 255).astype(np.uint8)) is None
    watch.wanted = True
    assert on_demand(room)


def test_on_demand_somebody_who_enters_is_seen(yunet: Detector, room: np.ndarray) -> None:
    on_demand, watch = looked_once(yunet, room)
    entering = room.copy()
    entering[280:, :100] = room[280:, 460:560]
    watch.rested = 0.05
    assert on_demand(entering) is None
    watch.rested = 0.1
    assert len(on_demand(entering) or []) == 2
    assert on_demand(entering) is None


def test_on_demand_somebody_who_moves_is_no_news(yunet: Detector, room: np.ndarray) -> None:
    on_demand, _ = looked_once(yunet, room)
    moved = np.full_like(room, 120)
    moved[287:, 455:555] = room[280:473, 460:560]
    assert on_demand(moved) is None


def test_on_demand_a_picture_of_another_size_is_looked_at(yunet: Detector, room: np.ndarray) -> None:
    on_demand, _ = looked_once(yunet, room)
    assert on_demand(room[:400]) is not None


def test_the_pace_is_a_number_of_frames_or_on_demand(yunet: Detector, room: np.ndarray) -> None:
    watch = Sure(PERSON)
    assert isinstance(paced(yunet, "auto", watch), OnDemand)
    watch.wanted = False
    every_second = paced(yunet, 2, watch)
    assert isinstance(every_second, EveryN)
    assert [every_second(room) is None for _ in range(4)] == [False, True, False, True]
    watch.wanted = True
    assert all(every_second(room) for _ in range(3))


def test_the_detector_rests_unless_heads_must_not_be_overlooked() -> None:
    assert Options().pace == Options(privacy="hide").pace == "auto"
    assert Options(privacy="blur").pace == Options(privacy="pixelate").pace == 1
    assert Options(privacy="hide", detect_every=3).pace == 3


def test_wrong_arguments_are_our_bugs(yunet: Detector) -> None:
    with pytest.raises(ValueError, match="yunet, mediapipe"):
        open_detector("haar")
    with pytest.raises(ValueError, match="input_size"):
        open_detector("yunet", input_size=0)
    with pytest.raises(ValueError, match="1 or more"):
        paced(yunet, 0, Sure(PERSON))


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    model = bytearray(MODEL.read_bytes())
    model[len(model) // 2] ^= 1
    (tmp_path / "yunet.onnx").write_bytes(model)
    with pytest.raises(WeightsError, match=r"altered: sha256 is [0-9a-f]{12}.*expected [0-9a-f]{12}.*reinstall"):
        YuNet.open(0.6, 320, 1, tmp_path / "yunet.onnx")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"yunet\.onnx: No such file"):
        YuNet.open(0.6, 320, 1, tmp_path / "yunet.onnx")


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is not None, reason="mediapipe is installed")
def test_mediapipe_that_is_not_installed_says_how_to_get_it() -> None:
    with pytest.raises(BackendUnavailable, match=r"pip install 'fkp\[mediapipe\]'"):
        open_detector("mediapipe")


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="needs the extra `mediapipe`")
def test_mediapipe_finds_the_same_face(portrait: np.ndarray) -> None:
    with closing(open_detector("mediapipe")) as detector:
        region = only(detector(portrait)).region
        assert detector(np.zeros((48, 64, 3), np.uint8)) == []
    assert region.side / np.hypot(*(LEFT_EYE - RIGHT_EYE)) == pytest.approx(SIDE_IOD, rel=0.1)
    np.testing.assert_allclose(unit_from_frame((LEFT_EYE + RIGHT_EYE) / 2, region), EYE_MIDPOINT, atol=0.12)


@pytest.mark.parametrize(
    ("clip", "faces"),
    [("no_face.mp4", 0), ("three_people.avi", 2), ("head_roll.wmv", 1), ("hand_over_face.mp4", 1)],
)
def test_clips_show_as_many_faces_as_a_person_sees(yunet: Detector, shared: Path, clip: str, faces: int) -> None:
    for image in film_frames(shared / "videos" / clip, every=25):
        found = len(yunet(image))
        assert found == faces or (clip == "three_people.avi" and found >= faces)
