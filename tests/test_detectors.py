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

from tracker.detectors.contract import Detector
from tracker.detectors.registry import open_detector
from tracker.detectors.yunet import FRAMING, MODEL, YuNet
from tracker.errors import BackendUnavailable, WeightsError
from tracker.geometry import EYE_MIDPOINT, SIDE_IOD, unit_from_frame
from tracker.options import Options
from tracker.types import Detection
from train.export.yunet_form import MERGED, PUBLISHED, merged

EMPTY = np.zeros((480, 640, 3), np.uint8)
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


def test_the_detector_rests_unless_heads_must_not_be_overlooked() -> None:
    assert Options().pace == Options(privacy="hide").pace == "auto"
    assert Options(privacy="blur").pace == Options(privacy="pixelate").pace == 1
    assert Options(privacy="hide", detect_every=3).pace == 3


def test_wrong_arguments_are_our_bugs(yunet: Detector) -> None:
    with pytest.raises(ValueError, match="yunet, mediapipe"):
        open_detector("haar")
    with pytest.raises(ValueError, match="input_size"):
        open_detector("yunet", input_size=0)


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
    with pytest.raises(BackendUnavailable, match=r"pip install \"fkp\[mediapipe\]\""):
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
