"""Sigma is fitted once more to faces as a tracker sees them."""

from dataclasses import replace

import numpy as np
import torch
from faces import cut_faces

from tracker.backends.weights import load
from tracker.geometry import cut, unit_from_frame
from tracker.spec import INDEX
from train.data.faces68 import HIDDEN, HUMAN, IBUG, LANDMARKS, LEFT_EYE, RIGHT_EYE, Crops68
from train.data.kaggle import Faces
from train.export.from_onnx import net_of
from train.learn.doubt import SHOWN, with_doubt_fitted
from train.learn.model import predicted
from train.learn.targets import framed

torch.set_num_threads(1)

COUNT = 16
OFF_PX = 6.0


def labelled(images: np.ndarray, points: np.ndarray) -> Crops68:
    """Faces whose labels lie some px off, so that every sigma is too small."""
    landmarks = np.repeat(points[:, INDEX["nose_tip"], None], LANDMARKS, 1)
    landmarks[:, 48:] = points[:, INDEX["mouth_center_top_lip"], None]
    around = np.linspace(0, np.pi, 17)
    landmarks[:, :17] += 40 * np.stack([-np.cos(around), np.sin(around)], 1)
    landmarks[:, LEFT_EYE] = points[:, None, INDEX["left_eye_center"]]
    landmarks[:, RIGHT_EYE] = points[:, None, INDEX["right_eye_center"]]
    for name, ibug in IBUG.items():
        landmarks[:, ibug] = points[:, INDEX[name]]
    landmarks += np.random.default_rng(0).normal(0, OFF_PX, landmarks.shape)
    return Crops68(list(images), landmarks.astype(np.float32), [f"{i}.png" for i in range(len(points))])


def rows_and_crops() -> tuple[Faces, Crops68]:
    images, points = cut_faces(COUNT)
    points = points.astype(np.float32)
    row = np.arange(COUNT)
    rows = Faces(images, points, np.zeros(COUNT, np.uint8), row, row, row < 0, row < 0, "0", "training.csv")
    return rows, labelled(images, points)


def test_faces_without_the_landmarks_of_all_keypoints_are_left_out() -> None:
    """It is the last step of a training that took hours."""
    rows, crops = rows_and_crops()
    without_eyes = replace(crops, landmarks=crops.landmarks.copy())
    without_eyes.landmarks[:, LEFT_EYE] = np.nan
    net = net_of(load()).eval()
    with_them = with_doubt_fitted(net, rows, [crops, without_eyes]).fitted_on
    assert with_them == with_doubt_fitted(net, rows, [crops]).fitted_on
    assert with_them["photographs"] > 0


def test_sigma_learns_how_far_off_points_are_and_the_points_stay() -> None:
    rows, crops = rows_and_crops()
    net = net_of(load()).eval()
    faces = list(framed([crops]))
    told = np.array([cut(face.image, [face.region])[0, 0] for face in faces])
    truth = np.array([unit_from_frame(face.points["A"], face.region) for face in faces])
    before, sigma_before = predicted(net, told)
    fitted = with_doubt_fitted(net, rows, [crops])
    beside, behind = (fitted.fitted_on[kind] for kind in ("beside", "covered"))
    assert fitted.fitted_on == {
        "kaggle": 15 * COUNT,
        "photographs": 2 * 15 * COUNT,
        "seen": 0,
        "hidden": 0,
        "beside": beside,
        "covered": behind,
    }
    assert beside + behind == 2 * 15 * COUNT
    assert behind > 0.1 * beside
    after, sigma_after = predicted(fitted.net, told)
    np.testing.assert_array_equal(before, after)
    others = [i for i in range(sigma_before.shape[1]) if i not in SHOWN]
    np.testing.assert_array_equal(sigma_before[:, others], sigma_after[:, others])
    off = np.abs(before[:, SHOWN] - truth)
    within = [float((off <= sigma[:, SHOWN, None]).mean()) for sigma in (sigma_before, sigma_after)]
    assert within[0] < 0.25
    assert within[1] > 1.5 * within[0]
    seen = np.full((COUNT, LANDMARKS), HUMAN, np.uint8)
    seen[:, LEFT_EYE] = HIDDEN
    turned = Crops68(crops.images, crops.landmarks, crops.names, seen, np.full(COUNT, 50, np.float32))
    hidden = with_doubt_fitted(net, rows, [turned]).fitted_on
    assert hidden["photographs"] == 0
    assert hidden["seen"] == 4 * hidden["hidden"] > 0


def test_too_few_faces_change_nothing() -> None:
    images, points = cut_faces(3)
    row = np.arange(3)
    rows = Faces(
        images, points.astype(np.float32), np.zeros(3, np.uint8), row, row, row < 0, row < 0, "0", "training.csv"
    )
    net = net_of(load()).eval()
    fitted = with_doubt_fitted(net, rows, [labelled(images, points)])
    assert fitted.net is net
    assert fitted.fitted_on == {}
