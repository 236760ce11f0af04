"""Signals: their truth, eyes closed by a warp, a head that learns what is there, and weights that tell them."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch
from faces import cut_faces
from numpy.typing import NDArray

from tracker import Tracker
from tracker.backends.choice import open_backend
from tracker.backends.weights import CONTRACT, DEFAULT_DIR, WITH_SIGNALS, load
from tracker.errors import WeightsError
from tracker.spec import INDEX, SIGNALS
from train.data.faces68 import COVERED, HIDDEN, HUMAN, LEFT_EYE, MACHINE, RIGHT_EYE, Crops68
from train.data.lids import gaps_px, narrowed, own_ratios, signals_of, trust_of_seen, with_eyes_closed
from train.data.occluders import covered, with_glasses, with_mask
from train.export.from_onnx import head_of, held_net
from train.export.onnx import add_signals
from train.learn.signals import SIGNAL_MIRROR, SignalHead
from train.learn.signals_fit import UNSEEN, SignalsConfig, _fit, reported

Image = NDArray[np.uint8]
EYE = np.array([(20, 40), (33, 32), (47, 32), (60, 40), (47, 46), (33, 46)], float)
"""Corner, upper lid, corner, lower lid; px."""


def face(*, turned_by: float = 0.0, size: float = 1.0) -> NDArray[np.float64]:
    """68 landmarks with eyes 40 px wide and 14 px open, and a mouth 60 px wide and 12 px open."""
    landmarks = np.zeros((68, 2))
    around = np.linspace(0, np.pi, 17)
    landmarks[:17] = np.stack([80 - 70 * np.cos(around), 45 + 90 * np.sin(around)], 1)
    landmarks[17:27] = [(20 + 13 * i, 22) for i in range(10)]
    landmarks[27:36] = [(80, 45 + 5 * i) for i in range(9)]
    landmarks[48:60] = [(70 - 30 * np.cos(turn), 100 - 10 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 12)]
    landmarks[36:42] = landmarks[42:48] = EYE
    landmarks[42:48, 0] += 80
    landmarks[60:68] = [(40, 100), (55, 94), (70, 94), (85, 94), (100, 100), (85, 106), (70, 106), (55, 106)]
    turn = np.array([[np.cos(turned_by), np.sin(turned_by)], [-np.sin(turned_by), np.cos(turned_by)]])
    return landmarks @ turn * size


def test_a_signal_is_a_distance_over_a_width_whatever_the_roll_and_the_size() -> None:
    plain, turned = face()[None], face(turned_by=0.7, size=3.0)[None]
    np.testing.assert_allclose(gaps_px(plain), [[14, 14, 12]])
    np.testing.assert_allclose(own_ratios(turned), [[14 / 40, 14 / 40, 0.2]], rtol=1e-5)
    np.testing.assert_allclose(signals_of(turned, np.array([900.0])), signals_of(plain, np.array([300.0])))


def test_the_mirror_image_exchanges_the_eyes() -> None:
    assert [SIGNALS[i] for i in SIGNAL_MIRROR] == ["eye_open_right", "eye_open_left", "mouth_open"]


def test_machines_teach_no_eyes_and_nobody_sees_a_mouth_behind_a_mask() -> None:
    seen = np.full((4, 68), HUMAN, np.uint8)
    seen[1, 42:48] = HIDDEN
    seen[2] = MACHINE
    seen[3], seen[3, 60:68] = MACHINE, HIDDEN
    assert trust_of_seen(seen).tolist() == [[1, 1, 1], [0.4, 1, 1], [0, 0, 0.5], [0, 0, -1]]


def eye_picture() -> Image:
    """A white eye with a dark pupil in gray skin."""
    image = np.full((80, 80), 150, np.uint8)
    cv2.fillPoly(image, [EYE.astype(np.int32)], 250)
    cv2.circle(image, (40, 39), 5, 10, -1)
    return image


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_a_narrowed_eye_shows_as_much_of_itself_as_is_kept_and_leaves_the_rest(kept: float) -> None:
    image = eye_picture()
    warped = narrowed(image, EYE, kept)
    column, before = (np.flatnonzero(each[:, 40] != 150) for each in (warped, image))
    assert len(column) == pytest.approx(kept * len(before), abs=3.5)
    np.testing.assert_array_equal(warped[:, :10], image[:, :10])
    np.testing.assert_array_equal(image, eye_picture())  # what was given is not changed


def test_closed_copies_say_how_far_their_eyes_are_open() -> None:
    landmarks = np.repeat(face()[None], 50, 0).astype(np.float32)
    crops = Crops68([np.zeros((160, 160), np.uint8)] * 50, landmarks, ["a"] * 50)
    closed = with_eyes_closed(crops, np.random.default_rng(0))
    ratios = own_ratios(closed.landmarks)[:, :2]
    assert 0.2 < (ratios < 0.01).mean() < 0.6
    assert (ratios <= 0.35 + 1e-6).all()
    np.testing.assert_array_equal(closed.landmarks[:, 48:], landmarks[:, 48:])
    np.testing.assert_allclose(closed.landmarks[:, [36, 39, 42, 45]], landmarks[:, [36, 39, 42, 45]], atol=1e-3)


def test_an_eye_beyond_the_picture_is_left_alone() -> None:
    image = eye_picture()
    for lids in (EYE + 500, EYE - 500, np.repeat(EYE[:1], 6, 0)):
        np.testing.assert_array_equal(narrowed(image, lids, 0.0), image)


def test_a_head_learns_what_is_there_and_says_how_far_it_may_be_off() -> None:
    """The first signal can be read, the third only half of the time."""
    torch.manual_seed(0)
    at_points = torch.randn(4000, 15, 6)
    at_points[:, 3, 2] *= 3
    readable = at_points[:, 3, 2] > 0
    targets = torch.stack([0.2 * at_points[:, 0, 0], 0.2 * at_points[:, 1, 0], 0.3 * torch.randn(4000)], 1)
    targets[readable, 2] = 0.0
    head = _fit(at_points, targets, torch.ones(4000, 3), torch.ones(4000), SignalsConfig(steps=600, narrow=6))
    with torch.no_grad():
        values, sigma = head(head.narrowed(at_points))
    assert float((values[:, 0] - targets[:, 0]).abs().mean()) < 0.04
    assert float(sigma[~readable, 2].mean()) > 1.5 * float(sigma[readable, 2].mean())


def test_what_nobody_can_see_teaches_sigma_alone() -> None:
    """The left eye is hidden everywhere, and its labels are wrong."""
    torch.manual_seed(0)
    at_points = torch.randn(4000, 15, 6)
    targets = torch.stack([torch.full((4000,), 5.0), 0.2 * at_points[:, 1, 0], 0.2 * at_points[:, 2, 0]], 1)
    trust = torch.tensor([[-1.0, 1.0, 1.0]]).expand(4000, 3)
    head = _fit(at_points, targets, trust, torch.ones(4000), SignalsConfig(steps=600, narrow=6))
    with torch.no_grad():
        values, sigma = head(head.narrowed(at_points))
    assert float(values[:, 0].std()) < 0.5  # nothing taught it
    assert float(sigma[:, 0].mean()) == pytest.approx(1.11 * UNSEEN, rel=0.2)  # as `student_t` defines sigma
    assert float(sigma[:, 1:].mean()) < 0.2 * UNSEEN


def test_what_is_drawn_before_a_face_hides_the_landmarks_that_are_said_to_be_covered() -> None:
    gray, landmarks = np.full((180, 160), 150, np.uint8), np.repeat(face()[None], 80, 0).astype(np.float32)
    crops = Crops68([gray] * 81, np.concatenate([landmarks, landmarks[:1] * np.nan]), ["a"] * 81)
    drawn = covered(crops, np.random.default_rng(0))
    told = trust_of_seen(drawn.placed_by)
    eyes, mouth = (told[:, :2] == -1).sum(1), told[:, 2] == -1
    for kind, least, most in (
        (eyes == 2, 10, 35),
        (eyes == 1, 4, 25),
        (mouth & (eyes == 0), 20, 50),
        (told.all(1), 1, 80),
    ):
        assert least <= kind.sum() <= most
    x, y = face().T.astype(int)
    changed = np.array([image[y, x] != 150 for image in drawn.images])
    assert changed[drawn.placed_by == COVERED].mean() > 0.95
    assert changed[drawn.placed_by == HUMAN].mean() < 0.2  # the rims of glasses, soft edges
    assert len(drawn.names) == 80  # without all landmarks nobody can tell where to draw
    np.testing.assert_array_equal(gray, 150)  # what was given is not changed


def test_a_report_counts_eyes_and_mouths_by_their_own_width() -> None:
    ratios = np.array([[0.05, 0.3, 0.3], [0.25, 0.15, 0.0], [0.3, 0.3, 0.1]])
    told = reported(ratios, np.full((3, 3), 0.1), ratios + 0.05, ratios)
    assert (told["faces"], told["closed_eyes"], told["open_mouths"]) == (3, 1, 1)
    assert told["closed_eyes_auc"] == told["open_mouths_auc"] == 1.0
    assert told["within_1_sigma"] == dict.fromkeys(SIGNALS, 1.0)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The shipped weights, and a copy with another head."""
    torch.manual_seed(0)
    folder = shutil.copytree(DEFAULT_DIR, tmp_path_factory.mktemp("signals") / "weights")
    weights = load(folder)
    net = held_net(weights)
    add_signals(weights, net, SignalHead(net.config.widths[0], narrow=5, hidden=7), {"held_out": {"faces": 3}})
    return DEFAULT_DIR, folder


@pytest.mark.parametrize("form", ["fkp", "fkp-cpu", "fkp-fp16"])
def test_another_head_changes_no_bit_of_points_and_sigma_in_any_form(telling: tuple[Path, Path], form: str) -> None:
    crops = cut_faces(3).images[:, None]
    old, new = (ort.InferenceSession(folder / f"{form}.onnx", providers=["CPUExecutionProvider"]) for folder in telling)
    for count in (1, 3):
        before = old.run(["points", "sigma"], {"faces": crops[:count]})
        after = new.run(None, {"faces": crops[:count]})
        for one, other in zip(before, after[:2], strict=True):
            np.testing.assert_array_equal(one, other)
        assert [each.shape for each in after[2:]] == [(count, 3)] * 2
        assert (after[3] > 0).all()


def test_the_card_says_that_signals_are_told_and_the_head_can_be_read_again(telling: tuple[Path, Path]) -> None:
    weights = load(telling[1])
    assert weights.card["contract"] == WITH_SIGNALS
    assert weights.noted("signals", "held_out") == {"faces": 3}
    assert weights.card["metrics"] == load(telling[0]).card["metrics"]
    head = head_of(weights)
    assert head is not None
    assert (head.narrow.out_channels, head.hidden.out_features) == (5, 7)


def test_a_card_that_promises_signals_of_a_network_without_any_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(DEFAULT_DIR, tmp_path / "weights")
    card = json.loads((folder / "fkp.json").read_text())
    wrong = WITH_SIGNALS if card["contract"] == CONTRACT else CONTRACT
    (folder / "fkp.json").write_text(json.dumps(card | {"contract": wrong}))
    with pytest.raises(WeightsError, match="the network has"):
        open_backend("cpu", load(folder))


def on_portrait(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """The 68 landmarks of `face` laid on the eyes and the mouth of a face's keypoints (15, 2)."""
    eyes_and_mouth = ["left_eye_center", "right_eye_center", "mouth_left_corner", "mouth_right_corner"]
    template = face()
    to = points[[INDEX[name] for name in eyes_and_mouth]]
    own = np.array([template[LEFT_EYE].mean(0), template[RIGHT_EYE].mean(0), template[64], template[60]])
    axes = np.linalg.lstsq(np.column_stack([own, np.ones(4)]), to, rcond=None)[0]
    return np.column_stack([template, np.ones(68)]) @ axes


def test_the_shipped_weights_say_that_they_do_not_see_what_lies_behind_dark_glasses_and_masks(portrait: Image) -> None:
    lips = [i for name, i in INDEX.items() if name.startswith("mouth")]
    with Tracker() as tracker:
        found = tracker.image(portrait)
        (before,), landmarks, random = found.signals, on_portrait(found.keypoints[0]), np.random.default_rng(0)
        dark, _ = with_glasses(portrait[..., 1], landmarks, random, dark=True)
        (after,) = tracker.image(np.repeat(dark[..., None], 3, 2)).signals
        assert after.eye_open_left_sigma > 1.5 * before.eye_open_left_sigma
        assert after.eye_open_right_sigma > 1.5 * before.eye_open_right_sigma
        assert after.mouth_open_sigma < 1.3 * before.mouth_open_sigma
        growth = []
        for _ in range(5):
            masked, _ = with_mask(portrait[..., 1], landmarks, random)
            behind = tracker.image(np.repeat(masked[..., None], 3, 2))
            assert behind.signals[0].mouth_open_sigma > 1.4 * before.mouth_open_sigma
            assert behind.signals[0].eye_open_left_sigma < 1.5 * before.eye_open_left_sigma
            growth.append(behind.sigma[0, lips].mean() / found.sigma[0, lips].mean())
        assert np.mean(growth) > 3


def test_the_shipped_weights_see_eyes_close_one_by_one(portrait: Image) -> None:
    with Tracker() as tracker:
        found = tracker.image(portrait)
        (before,), points = found.signals, found.keypoints[0].astype(float)
        assert before.eye_open_left > 0.2
        assert before.eye_open_right > 0.2
        for side, other in (("left", "right"), ("right", "left")):
            start, end = (points[INDEX[f"{side}_eye_{corner}"]] for corner in ("inner_corner", "outer_corner"))
            if start[0] > end[0]:
                start, end = end, start
            down = np.array([-(end - start)[1], (end - start)[0]]) * 0.2
            at = [start + share * (end - start) for share in (0.33, 0.67)]
            lids = np.array([start, at[0] - down, at[1] - down, end, at[1] + down, at[0] + down])
            closed = np.stack([narrowed(channel, lids, 0.0) for channel in np.moveaxis(portrait, 2, 0)], 2)
            (after,) = tracker.image(closed).signals
            assert getattr(after, f"eye_open_{side}") < 0.5 * getattr(before, f"eye_open_{side}")
            assert getattr(after, f"eye_open_{other}") > 0.6 * getattr(before, f"eye_open_{other}")
