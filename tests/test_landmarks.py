"""From faces to keypoints in the frame, in one batch, and the loop that joins the stages."""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.backends.choice import open_backend
from tracker.backends.weights import load
from tracker.core.association import Followed
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.geometry import MEAN_SHAPE, Framing
from tracker.sources.synthetic import astronaut
from tracker.spec import INDEX
from tracker.types import Box, Face, Frame, Points, Region, Seen, Settled

EYES = [INDEX["left_eye_center"], INDEX["right_eye_center"]]
frame_of_eyes = Framing(MEAN_SHAPE[EYES], [1, 1])


def face(region: Region, number: int = 0) -> Face:
    return Face(number, region, Box(0, 0, 1, 1), 1.0)


class Recorded:
    """A backend that answers every face with the same points and notes what it was asked."""

    name = "recorded"

    def __init__(self, points: NDArray[np.floating]) -> None:
        self.points = points.astype(np.float32)
        self.batches: list[NDArray[np.uint8]] = []

    def __call__(self, faces: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append(faces)
        return np.repeat(self.points[None], len(faces), 0), np.full((len(faces), 15), 0.1, np.float32)

    def close(self) -> None:
        """Nothing to free."""


def test_the_networks_answer_lands_in_the_frame_scaled_turned_and_moved() -> None:
    corners = np.tile([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0)], (5, 1))
    locate = Locate(Recorded(corners))
    upright, turned = Region(100, 50, 40, 0), Region(100, 50, 20, math.pi / 2)
    keypoints, sigma = locate(np.zeros((120, 200, 3), np.uint8), [face(upright), face(turned)])
    assert keypoints.dtype == sigma.dtype == np.float32
    np.testing.assert_allclose(keypoints[0, :3], [(80, 30), (120, 30), (120, 70)])
    np.testing.assert_allclose(keypoints[1, :3], [(110, 40), (110, 60), (90, 60)], atol=1e-4)
    np.testing.assert_allclose(sigma, np.repeat([[2.0], [1.0]], 15, 1), rtol=1e-6)


def test_all_faces_of_a_frame_go_through_the_network_at_once(portrait: NDArray[np.uint8]) -> None:
    backend = Recorded(MEAN_SHAPE)
    Locate(backend)(portrait, [face(Region(100 + 50 * i, 100, 80, 0)) for i in range(5)])
    (batch,) = backend.batches
    assert (batch.shape, batch.dtype) == ((5, 1, 96, 96), np.uint8)
    assert len({crop.tobytes() for crop in batch}) == 5


def test_no_faces_are_empty_arrays(portrait: NDArray[np.uint8]) -> None:
    keypoints, sigma = Locate(open_backend("cpu", load()))(portrait, [])
    assert (keypoints.shape, sigma.shape) == ((0, 15, 2), (0, 15))


@pytest.mark.parametrize("degrees", [0, 25, -60, 180])
def test_the_points_lie_on_the_eyes_however_the_head_is_turned(degrees: float) -> None:
    portrait = astronaut()
    turn = cv2.getRotationMatrix2D((224, 130), degrees, 1.0)
    eyes = np.array([portrait.left_eye, portrait.right_eye]) @ turn[:, :2].T + turn[:, 2]
    image = cv2.warpAffine(portrait.image, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    keypoints, sigma = Locate(open_backend("cpu", load()))(image, [face(frame_of_eyes(eyes))])
    iod = math.dist(*eyes)
    np.testing.assert_allclose(keypoints[0, EYES], eyes, atol=0.1 * iod)
    assert (sigma[0] < 0.3 * iod).all()


class Scripted:
    """Knows how many faces each frame has, and drops the last one after looking."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = counts
        self.settled: list[NDArray[np.float32]] = []

    def expect(self, frame: Frame) -> Followed:
        return Followed()

    def __call__(self, frame: Frame, seen: Seen | None) -> tuple[Face, ...]:
        assert seen is None
        return tuple(face(Region(0, 0, 1, 0), number) for number in range(self.counts[frame.index]))

    def settle(self, faces: tuple[Face, ...], points: Points) -> Settled:
        self.settled.append(points.keypoints)
        keep = max(len(faces) - 1, 0)
        return Settled(faces[:keep], Points(points.keypoints[:keep], points.sigma[:keep]))


def test_the_loop_hands_each_frame_through_every_stage_in_order() -> None:
    frames = [Frame(np.full((4, 4, 3), i, np.uint8), i, i / 10) for i in range(3)]
    identify = Scripted([2, 0, 3])

    def locate(image: NDArray[np.uint8], faces: Sequence[Face]) -> Points:
        return Points(np.full((len(faces), 15, 2), image[0, 0, 0], np.float32), np.ones((len(faces), 15), np.float32))

    def smooth(faces: Sequence[Face], points: Points, timestamp: float) -> Points:
        assert len(faces) == len(points.keypoints)
        return Points(points.keypoints + np.float32(timestamp), points.sigma)

    results = list(track(frames, lambda _image: None, identify, locate, smooth))
    assert [tracked.frame for tracked in results] == frames
    assert [[one.id for one in tracked.faces] for tracked in results] == [[0], [], [0, 1]]
    assert [tracked.keypoints.shape for tracked in results] == [(1, 15, 2), (0, 15, 2), (2, 15, 2)]
    assert [float(tracked.keypoints.max(initial=0)) for tracked in results] == [0, 0, pytest.approx(2.2)]
    assert [len(points) for points in identify.settled] == [2, 0, 3]
    assert identify.settled[2].max() == 2  # it learns from the raw points, not from the smoothed ones


def test_a_frame_is_asked_for_only_when_the_last_one_is_out() -> None:
    asked = []

    def frames() -> Iterator[Frame]:
        for index in range(3):
            asked.append(index)
            yield Frame(np.zeros((4, 4, 3), np.uint8), index, 0.0)

    nobody = Points(np.empty((0, 15, 2), np.float32), np.empty((0, 15), np.float32))
    results = track(
        frames(), lambda _i: None, Scripted([0, 0, 0]), lambda _i, _f: nobody, lambda _f, points, _t: points
    )
    next(results)
    assert asked == [0]
    assert [tracked.frame.index for tracked in results] == [1, 2]


def test_a_fresh_face_is_looked_at_again_where_its_keypoints_are(portrait: NDArray[np.uint8]) -> None:
    backend = Recorded(MEAN_SHAPE + np.array([0.2, 0.0]))  # right of the crop by a tenth of it
    fresh = Face(0, Region(200, 120, 100, 0), Box(0, 0, 1, 1), 1.0, fresh=True)
    keypoints, _ = Locate(backend)(portrait, [face(Region(200, 120, 100, 0), 1), fresh])
    assert [len(batch) for batch in backend.batches] == [2, 1]
    first_answer = 200 + MEAN_SHAPE[:, 0] * 50 + 10
    np.testing.assert_allclose(keypoints[0, :, 0], first_answer, atol=0.1)
    np.testing.assert_allclose(keypoints[1, :, 0], first_answer + 10, atol=0.2)


def test_a_first_look_that_misjudges_the_roll_is_mended_by_the_second() -> None:
    portrait = astronaut()
    eyes = np.array([portrait.left_eye, portrait.right_eye])
    level = frame_of_eyes(eyes)
    tilted = Region(level.x, level.y, level.side, level.roll + math.radians(45))
    locate = Locate(open_backend("cpu", load()))

    def error(fresh: bool) -> float:
        seen = Face(0, tilted, Box(0, 0, 1, 1), 1.0, fresh=fresh)
        return float(np.linalg.norm(locate(portrait.image, [seen]).keypoints[0, EYES] - eyes, axis=1).mean())

    assert error(fresh=True) < error(fresh=False)
