"""The published recipes: they are what was published, they learn, and they know what they were not told."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faces import cut_faces
from torch import nn

from tracker.errors import DataError
from tracker.spec import INDEX, MIRROR, SIZE
from train.data.kaggle import Faces
from train.data.schemes import BEYOND_C, C_KEYPOINTS, A, B, C
from train.data.split import hold_out
from train.judge.evaluate import predicted_labels
from train.learn.model import mac_count
from train.recipes import RECIPES, augment, cnn, labels, ours, transfer
from train.recipes.contract import Recipe, Terms
from train.recipes.layers import plain_cnn
from train.recipes.learn import Course, Learned, fit_network, learn, parameter_count, predicted

torch.set_num_threads(1)

CPU = torch.device("cpu")
COMPLETE, FOUR = 6, 4
COMPLETE_ONLY = ("knn", "cnn", "base", "simple")


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Six complete rows, then four of scheme C."""
    images, points = cut_faces(COMPLETE + FOUR)
    points = points.astype(np.float32)
    points[COMPLETE:, BEYOND_C] = np.nan
    rows = np.arange(len(images))
    scheme = np.repeat([A, B, C], [3, 3, FOUR]).astype(np.uint8)
    return Faces(images, points, scheme, rows, rows, hold_out(rows, scheme), rows < 0, "0" * 64, "training.csv")


@pytest.fixture(scope="module", autouse=True)
def empty_cache_of_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path_factory.mktemp("torch"))
    yield
    torch.hub.set_dir(before)


def within(seconds: float, **more: object) -> Terms:
    return replace(Terms(time.monotonic() + seconds, CPU), **more)


@pytest.mark.parametrize(
    ("build", "count"), [(cnn.cnn0, 14_177_602), (cnn.cnn1, 7_153_762), (cnn.cnn2, 543_490), (cnn.cnn3, 220_050)]
)
def test_the_published_networks_have_their_published_size(build: Callable[[], nn.Module], count: int) -> None:
    assert parameter_count(build()) == count


def test_multiply_adds_are_counted_by_hand() -> None:
    first, second = 9 * 8 * 96 * 96, 9 * 8 * 16 * 48 * 48
    assert mac_count(plain_cnn((8, 16), 10)) == first + second + 16 * 24 * 24 * 10 + 10 * 30


def runs_in_its_own_test(recipe: Recipe) -> bool:
    """Our own is tested below; imputation, with the smallest backbone alone."""
    imputed = recipe.name.startswith("transfer") and not recipe.name.endswith("complete")
    return recipe in ours.RECIPES or (imputed and "mobilenet" not in recipe.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [recipe for recipe in RECIPES if not runs_in_its_own_test(recipe)], ids=lambda recipe: recipe.name
)
def test_every_recipe_predicts_faces_even_when_there_was_hardly_any_time(recipe: Recipe, faces: Faces) -> None:
    fitted = recipe.fit(faces, within(0))
    points = fitted.predict(faces.images[-2:], faces.scheme[-2:])
    assert points.shape == (2, 15, 2)
    assert np.isfinite(points).all()
    few = recipe.name.startswith(COMPLETE_ONLY) or recipe.name.endswith("complete")
    assert fitted.rows == (COMPLETE if few else COMPLETE + FOUR)
    by_steps = not recipe.name.startswith("knn")
    assert fitted.finished is not by_steps
    assert (fitted.parameters is not None) is (fitted.macs is not None) is by_steps


def test_a_network_learns_and_says_that_it_finished(faces: Faces) -> None:
    torch.manual_seed(0)
    complete = labels.complete(faces)
    net = plain_cnn((4, 8, 8), 16)
    before = np.abs(predicted(net, complete.images) - complete.points).mean()
    fitted = fit_network(net, complete, within(60), Course(30, patience=None, batch=3, learning_rate=3e-3))
    assert fitted.finished
    assert fitted.notes == ("30 of 30 epochs (published)",)
    after = np.abs(fitted.predict(complete.images, complete.scheme) - complete.points).mean()
    assert after < before / 3


def test_a_stopped_recipe_goes_on_as_if_it_had_not_been_stopped(faces: Faces, tmp_path: Path) -> None:
    """Dropout and augmentation too; a stop may fall within an epoch."""

    def taught(seconds: float, **more: object) -> tuple[nn.Module, Learned]:
        torch.manual_seed(0)
        net = nn.Sequential(plain_cnn((2, 2, 2), 4), nn.Dropout(0.5), nn.BatchNorm1d(30))
        course = Course(epochs=3, batch=4, augment=augment.augmented)
        return net, learn(net, faces, within(seconds, **more), course)

    whole, _ = taught(60)
    kept = tmp_path / "net"
    for done in (1, 2):
        _, learned = taught(0, kept=kept)
        assert learned.epochs == done / 2
    resumed, learned = taught(60, kept=kept)
    assert learned.epochs == 3
    assert learned.seconds_before > 0
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(DataError, match=r"net.net.safetensors belongs to a run with {'rows': 10}, not {'rows': 6}"):
        learn(
            whole, labels.complete(faces), within(60, kept=kept), Course(epochs=3, batch=4, augment=augment.augmented)
        )


@pytest.mark.slow
def test_a_published_network_does_not_fall_silent_in_its_first_steps(faces: Faces) -> None:
    """Its hidden layer of 147,456 inputs moves far in each of Adam's steps."""
    torch.manual_seed(0)
    net = cnn.started(cnn.cnn0())
    learn(net, faces, within(600), Course(epochs=4, batch=2))
    with torch.no_grad():
        hidden = net.eval()[0][:8](torch.from_numpy(faces.images[:, None]) / 255)
    assert hidden.shape == (len(faces.images), 96)
    assert (hidden > 0).any(0).sum() > 30  # 14 of them with labels in -1..1 and torch's start


def test_a_network_ends_some_epochs_after_its_best_and_keeps_that_one(faces: Faces, tmp_path: Path) -> None:
    """The face set aside is labelled where an untaught network points, so each epoch is worse than the one before."""
    points = np.full_like(faces.points, 90)
    points[np.random.default_rng(0).permutation(len(points)) == 0] = SIZE / 2

    def taught(epochs: int, seconds: float = 60, **more: object) -> tuple[dict[str, torch.Tensor], Learned]:
        torch.manual_seed(0)
        net = plain_cnn((2, 2, 2), 4)
        course = Course(epochs, patience=3, batch=5)
        learned = learn(net, replace(faces, points=points), within(seconds, **more), course)
        return net.state_dict(), learned

    best, _ = taught(1)
    whole, learned = taught(30)
    assert (learned.epochs, learned.finished) == (4, True)
    for _ in range(3):
        taught(30, 0, kept=tmp_path / "net")
    resumed, learned = taught(30, kept=tmp_path / "net")
    assert (learned.epochs, learned.finished) == (4, True)
    for name, wanted in best.items():
        assert torch.equal(whole[name], wanted)
        assert torch.equal(resumed[name], wanted)


def test_a_missing_label_teaches_nothing(faces: Faces) -> None:
    net = plain_cnn((4, 4, 4), 8)
    head = net[-1]
    before = head.weight.detach().clone()
    learn(net, faces.only(faces.scheme == C), within(60), Course(epochs=2, batch=2))
    untouched = (head.weight == before).all(1).reshape(15, 2).all(1)
    assert untouched.tolist() == [i in BEYOND_C for i in range(15)]


def test_the_augmentation_of_a_course_is_drawn_anew_each_time(faces: Faces) -> None:
    seen: list[int] = []

    def noted(image: np.ndarray, points: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        seen.append(int(random.integers(1 << 40)))
        return image, points

    learn(plain_cnn((2, 2, 2), 4), faces, within(60), Course(epochs=2, patience=None, batch=5, augment=noted))
    assert len(set(seen)) == 2 * len(faces.images)


def test_rows_with_gaps_are_left_out_filled_from_alike_rows_or_from_the_row_above(faces: Faces) -> None:
    assert labels.complete(faces).row.tolist() == [0, 1, 2, 3, 4, 5]
    alike = faces.points.copy()
    alike[6] = np.where(np.isnan(alike[6]), np.nan, alike[2])
    alike[:6] += np.array([0, 40, 0, 40, 40, 40])[:, None, None]  # 0 and 2 agree, the others lie elsewhere
    alike[0] = alike[2]
    imputed = labels.imputed(replace(faces, points=alike))
    assert imputed.row.tolist() == list(range(10))
    nearest = np.sort(np.linalg.norm(alike[:6, 0] - alike[6, 0], axis=1))[: labels.NEIGHBOURS]
    assert nearest[0] == 0
    np.testing.assert_allclose(
        imputed.points[6, BEYOND_C],
        (alike[[0, 2]].sum(0) + _others(alike, labels.NEIGHBOURS - 2))[BEYOND_C] / labels.NEIGHBOURS,
        rtol=1e-5,
    )
    carried = labels.carried_forward(faces)
    np.testing.assert_array_equal(carried.points[6:, BEYOND_C], np.stack([faces.points[5, BEYOND_C]] * FOUR))
    np.testing.assert_array_equal(carried.points[9, 0], faces.points[9, 0])


def _others(points: np.ndarray, count: int) -> np.ndarray:
    """Sum of the `count` rows of 1, 3, 4 and 5 that are nearest to row 6 in what scheme C labels."""
    known = [INDEX[name] for name in C_KEYPOINTS]
    far = sorted((1, 3, 4, 5), key=lambda i: float(np.square(points[i, known] - points[6, known]).sum()))
    return points[far[:count]].sum(0)


def test_rows_above_the_first_complete_one_have_nothing_to_carry_forward(faces: Faces) -> None:
    order = np.roll(np.arange(10), 2)  # two rows of scheme C come first
    turned = replace(faces, points=faces.points[order], images=faces.images[order], row=faces.row[order])
    assert labels.carried_forward(turned).row.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("treat", [labels.complete, labels.imputed, labels.carried_forward])
def test_too_few_complete_rows_are_a_message(treat: Callable[[Faces], Faces], faces: Faces) -> None:
    with pytest.raises(DataError, match=r"training.csv leaves 4 faces with all keypoints labelled .* at least 5"):
        treat(faces.only(faces.row >= 2))


GEOMETRY = ("rotated", "_zoomed", "_cropped", "_mirrored")


@pytest.mark.parametrize("name", GEOMETRY)
def test_augmentation_moves_labels_with_the_picture(name: str) -> None:
    random = np.random.default_rng(3)
    step = getattr(augment, name)
    points = np.full((15, 2), SIZE / 2, np.float32)
    points[INDEX["left_eye_center"]] = spot = np.array([60.3, 34.8])
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    image = (250 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18)).astype(np.uint8)
    for _ in range(5):
        moved, labelled = step(image, points, random)
        seen = np.array([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
        expected = labelled[INDEX["right_eye_center" if name == "_mirrored" else "left_eye_center"]]
        np.testing.assert_allclose(seen, expected, atol=0.15)
        assert np.abs(expected - spot).max() > 0.2


def test_mirroring_exchanges_left_and_right(faces: Faces) -> None:
    image, points = augment._mirrored(faces.images[0], faces.points[0], np.random.default_rng(0))
    assert points[INDEX["left_eye_center"], 0] == pytest.approx(
        SIZE - faces.points[0, INDEX["right_eye_center"], 0], abs=1e-4
    )
    again = augment._mirrored(image, points, np.random.default_rng(0))
    np.testing.assert_array_equal(again[0], faces.images[0])
    np.testing.assert_allclose(again[1], faces.points[0], atol=1e-4)
    assert list(MIRROR) != sorted(MIRROR)


def test_steps_that_change_light_leave_labels_alone(faces: Faces) -> None:
    random = np.random.default_rng(0)
    for chance, step in augment.STEPS:
        assert 0 < chance <= 1
        images, labelled = zip(*(step(faces.images[0], faces.points[0], random) for _ in range(5)), strict=True)
        image, points = images[0], labelled[0]
        assert (image.shape, image.dtype, points.dtype) == ((SIZE, SIZE), np.uint8, np.float32)
        assert not all(np.array_equal(image, faces.images[0]) for image in images)
        assert np.array_equal(points, faces.points[0]) is (step.__name__ not in GEOMETRY)


def test_augmentation_takes_its_steps_in_every_order(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    names = "abc"

    def step(name: str) -> augment.Step:
        return lambda image, points, _random: (taken.append(name), (image, points))[1]

    monkeypatch.setattr(augment, "STEPS", tuple((1.0, step(name)) for name in names))
    random = np.random.default_rng(0)
    for _ in range(60):
        augment.augmented(faces.images[0], faces.points[0], random)
    assert len({"".join(taken[i : i + 3]) for i in range(0, len(taken), 3)}) == 6


def test_a_backbone_starts_from_its_pretrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    state = transfer.import_torchvision().models.resnet18().state_dict()
    features, _, note = transfer._features("resnet18", download=False)
    assert note == "from scratch"
    monkeypatch.setattr(transfer, "pretrained", lambda url, *, download: state if "resnet18-" in url else None)
    features, _, note = transfer._features("resnet18", download=False)
    assert note == "pretrained"
    assert torch.equal(features[0].weight, state["conv1.weight"])


def test_a_backbone_from_a_package_needs_no_download(faces: Faces) -> None:
    """Its weights tell pictures apart, which a start from scratch does not: stem filters are smooth, not noise."""
    net = transfer._lite0()
    stem = net.features.net._conv_stem.weight.detach()
    alike = torch.nn.functional.cosine_similarity(stem[..., :-1].flatten(1), stem[..., 1:].flatten(1)).abs().mean()
    assert alike > 0.3
    assert net(torch.rand(2, 1, 96, 96)).shape == (2, 30)


def test_pretrained_weights_are_fetched_only_when_that_is_allowed_and_always_checked(tmp_path: Path) -> None:
    torch.hub.set_dir(tmp_path / "hub")
    torch.save({"x": torch.ones(1)}, tmp_path / "net.pth")
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()[:8]
    offered = (tmp_path / "net.pth").rename(tmp_path / f"net-{digest}.pth")
    assert transfer.pretrained(offered.as_uri(), download=False) is None
    assert not (tmp_path / "hub").exists()
    assert transfer.pretrained(offered.as_uri(), download=True) == {"x": torch.ones(1)}
    offered.unlink()
    assert transfer.pretrained(offered.as_uri(), download=False) == {"x": torch.ones(1)}
    (tmp_path / "hub" / "checkpoints" / offered.name).write_bytes(b"half of it")
    with pytest.raises(DataError, match=rf"net-{digest}.pth is not what file://.* begin with {digest}; delete it"):
        transfer.pretrained(offered.as_uri(), download=False)
    with pytest.raises(
        DataError, match=r"cannot fetch file:.*gone.pth: .*; put the file at .*, or leave out --download"
    ):
        transfer.pretrained((tmp_path / "gone.pth").as_uri(), download=True)


@pytest.mark.slow
def test_our_own_network_is_read_by_each_rows_own_scheme(faces: Faces) -> None:
    trained, shipped = (recipe.fit(faces, within(0)) for recipe in ours.RECIPES)
    for fitted in (trained, shipped):
        points = fitted.predict(faces.images, faces.scheme)
        assert np.isnan(points[faces.scheme == C][:, BEYOND_C]).all()
        known = [INDEX[name] for name in C_KEYPOINTS]
        assert np.isfinite(points[faces.scheme != C]).all()
        assert np.isfinite(points[:, known]).all()
    np.testing.assert_array_equal(points, predicted_labels(faces.images, faces.scheme))
    assert (trained.rows, trained.finished, trained.notes) == (10, False, (f"1 of {ours.FULL.steps} steps",))
    assert (shipped.rows, shipped.finished) == (None, True)


def test_shipped_weights_say_when_they_may_have_seen_the_faces_that_judge_them(faces: Faces) -> None:
    notes = ours.judge_shipped(faces, within(0)).notes
    assert "not trained now" in notes[0]
    assert "may have seen the faces that judge it" in notes[1]
