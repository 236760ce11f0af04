"""Augmented crops: targets stay on what they name, pixels stay pixels, and the same seed draws the same faces."""

from dataclasses import replace

import pytest
import torch
from faces import cut_faces
from torch import Tensor

from tracker.spec import INDEX, SIZE
from train.learn.augment import Augmentation, Bank, disturbed, draw
from train.learn.model import HEADS, standardised

torch.set_num_threads(1)

LEFT, RIGHT = (HEADS.index(("A", INDEX[name])) for name in ("left_eye_center", "right_eye_center"))
GRAY = 128

UNDISTURBED = Augmentation(
    brightness=0, contrast=0, shade=0, blur_share=0, noise=0, jpeg_share=0, occlude_share=0, exposure_share=0, flip=0
)
"""Cut from all over the place, but with the canvas' own pixels."""
STILL = replace(UNDISTURBED, calm=1.0)


def dotted(size: int, left: Tensor, right: Tensor) -> Bank:
    """Gray canvases with a bright dot at `left` and a dark one at `right`, both (N, 2) in unit space."""
    cells = (torch.arange(size) + 0.5 - size / 2) / (SIZE / 2)
    images = torch.full((len(left), 1, size, size), float(GRAY))
    for points, sign in ((left, 1), (right, -1)):
        across, down = (cells[None] - points[:, :1]) ** 2, (cells[None] - points[:, 1:]) ** 2
        images[:, 0] += sign * 120 * torch.exp(-(down[:, :, None] + across[:, None, :]) / (2 * (1.5 / 48) ** 2))
    targets, weights = torch.zeros(len(left), 34, 2), torch.zeros(len(left), 34)
    targets[:, LEFT], targets[:, RIGHT] = left, right
    weights[:, LEFT], weights[:, RIGHT] = 1, 0.5
    chances = torch.linspace(1 / len(left), 1, len(left))
    return Bank(images.round().to(torch.uint8), targets, weights, chances, weights.clone(), targets.clone())


def dots(crops: Tensor, sign: int) -> Tensor:
    """Where the bright (1) or dark (-1) dot of each crop (N, 1, 96, 96) lies: (N, 2) unit space."""
    cells = (torch.arange(SIZE) + 0.5) / (SIZE / 2) - 1
    light = ((crops[:, 0] - GRAY) * sign - 2).clamp(min=0)
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * cells).sum(1) / total, (light.sum(2) * cells).sum(1) / total], 1)


@pytest.fixture
def bank() -> Bank:
    """Four different faces without labels, each as likely."""
    images = torch.from_numpy(cut_faces(4).images[:, None])
    nothing, nowhere = torch.zeros(4, 34), torch.zeros(4, 34, 2)
    return Bank(images, nowhere, nothing, torch.tensor([0.25, 0.5, 0.75, 1]), nothing, nowhere)


@pytest.mark.parametrize("size", [96, 184])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_targets_lie_on_what_they_name(size: int, flip: float) -> None:
    torch.manual_seed(0)
    left, right = torch.rand(64, 2) - 0.5, torch.rand(64, 2) - 0.5
    left[:, 0], right[:, 0] = left[:, 0].abs() + 0.1, -right[:, 0].abs() - 0.1
    crops, targets, weights, *_ = draw(dotted(size, left, right), 64, replace(UNDISTURBED, flip=flip))
    bright, dark = (RIGHT, LEFT) if flip else (LEFT, RIGHT)  # the picture of a left eye, mirrored, is a right eye
    seen = weights[:, [LEFT, RIGHT]].min(1).values > 0
    assert seen.sum() > 50
    torch.testing.assert_close(dots(crops, 1)[seen] * 48, targets[seen, bright] * 48, atol=0.06, rtol=0)
    torch.testing.assert_close(dots(crops, -1)[seen] * 48, targets[seen, dark] * 48, atol=0.06, rtol=0)
    assert (weights[seen, bright] == 1).all()
    assert (weights[seen, dark] == 0.5).all()
    assert targets[:, LEFT, 0].mean() > 0.1 > targets[:, RIGHT, 0].mean()


def test_a_point_outside_the_crop_does_not_count_and_one_that_comes_in_does() -> None:
    torch.manual_seed(0)
    edge = torch.tensor([[0.98, 0.0]]).repeat(200, 1)
    crops, targets, weights, *_ = draw(dotted(184, edge, -edge), 200, UNDISTURBED)
    inside = targets.abs().amax(2) < 1
    for head, full in ((LEFT, 1.0), (RIGHT, 0.5)):
        assert 20 < inside[:, head].sum() < 180
        assert torch.equal(weights[:, head], inside[:, head] * full)
    well_inside = targets[:, LEFT].abs().amax(1) < 0.9
    torch.testing.assert_close(dots(crops, 1)[well_inside], targets[well_inside, LEFT], atol=0.002, rtol=0)


def test_unlabelled_heads_stay_without_weight() -> None:
    torch.manual_seed(0)
    eye = torch.tensor([[0.4, -0.2]]).repeat(16, 1)
    _, _, weights, *_ = draw(dotted(96, eye, -eye), 32, Augmentation())
    others = [head for head in range(34) if head not in (LEFT, RIGHT)]
    assert not weights[:, others].any()


@pytest.mark.parametrize("size", [96, 184])
def test_a_calm_crop_is_the_nominal_one(size: int) -> None:
    torch.manual_seed(0)
    eye = torch.tensor([[0.4, -0.2]])
    bank = dotted(size, eye, -eye)
    crops, targets, *_ = draw(bank, 4, STILL)
    middle = slice((size - SIZE) // 2, (size + SIZE) // 2)
    torch.testing.assert_close(crops, bank.images[:, :, middle, middle].float().repeat(4, 1, 1, 1), atol=0.01, rtol=0)
    torch.testing.assert_close(targets, bank.targets.repeat(4, 1, 1))


def test_half_of_the_faces_are_mirrored() -> None:
    torch.manual_seed(0)
    eye = torch.tensor([[0.4, 0.0]])
    crops, *_ = draw(dotted(96, eye, -eye), 400, replace(STILL, flip=0.5))
    assert 160 < (dots(crops, 1)[:, 0] < 0).sum() < 240


def test_faces_are_drawn_by_their_chances(bank: Bank) -> None:
    torch.manual_seed(0)
    bank.chances = torch.tensor([0.1, 0.1, 0.9, 1.0])
    crops, *_ = draw(bank, 400, STILL)
    which = torch.stack([(crops - image).abs().mean((1, 2, 3)) for image in bank.images.float()]).argmin(0)
    counts = torch.bincount(which, minlength=4).tolist()
    assert counts[1] == 0
    assert 290 < counts[2] < 350


def test_pixels_stay_pixels_however_strong_the_disturbance(bank: Bank) -> None:
    torch.manual_seed(0)
    wild = Augmentation(
        rotation_deg=90, scale=1, shift=1, brightness=100, contrast=2, shade=2, noise=80, blur_share=1, jpeg_share=0.7
    )
    for settings in (Augmentation(), wild):
        crops, targets, *_ = draw(bank, 64, settings)
        assert crops.shape == (64, 1, SIZE, SIZE)
        assert torch.isfinite(targets).all()
        assert crops.min() >= 0
        assert crops.max() <= 255


@pytest.mark.parametrize(
    "settings",
    [
        replace(STILL, brightness=25),
        replace(STILL, contrast=0.25),
        replace(STILL, shade=0.25),
        replace(STILL, blur_share=1),
        replace(STILL, noise=6),
        replace(STILL, jpeg_share=1),
        replace(STILL, occlude_share=1),
    ],
    ids=["brightness", "contrast", "shade", "blur", "noise", "jpeg", "occlusion"],
)
def test_each_disturbance_changes_a_face_and_leaves_it_a_face(bank: Bank, settings: Augmentation) -> None:
    torch.manual_seed(0)
    before = bank.images.float().repeat(8, 1, 1, 1)
    after = disturbed(before, settings)
    assert after.shape == before.shape
    assert ((after - before).abs().mean((1, 2, 3)) > 0.1).float().mean() > 0.5
    correlation = (standardised(before) * standardised(after)).mean((1, 2, 3))
    assert correlation.median() > 0.8


def test_no_disturbance_leaves_every_pixel(bank: Bank) -> None:
    before = bank.images.float()
    torch.testing.assert_close(disturbed(before, STILL), before, atol=1e-3, rtol=0)


def test_the_seed_decides_everything(bank: Bank) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(draw(bank, 8, Augmentation()))
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_the_bank_is_left_as_it_was(bank: Bank) -> None:
    before = bank.images.clone()
    draw(bank, 8, Augmentation())
    assert torch.equal(bank.images, before)


def test_a_point_outside_the_crop_still_teaches_sigma() -> None:
    torch.manual_seed(0)
    edge = torch.tensor([[0.98, 0.0]]).repeat(200, 1)
    drawn = draw(dotted(184, edge, -edge), 200, UNDISTURBED)
    assert not drawn.weights[:, LEFT].all()
    assert (drawn.doubts[:, LEFT] == 1).all()


def test_some_crops_are_far_too_small_or_too_large_for_their_face() -> None:
    torch.manual_seed(0)
    eye = torch.tensor([[0.3, 0.0]])
    drawn = draw(dotted(184, eye, -eye), 400, replace(UNDISTURBED, zoom_share=1.0, scale=0, aspect=0, calm=0))
    sizes = 0.6 / (drawn.targets[:, LEFT] - drawn.targets[:, RIGHT]).norm(dim=1)
    assert 0.54 < sizes.min() < 0.6
    assert 1.7 < sizes.max() < 1.83


def test_far_too_dark_and_too_bright_crops_are_drawn(bank: Bank) -> None:
    torch.manual_seed(0)
    drawn = draw(bank, 64, replace(STILL, exposure_share=1.0)).crops
    means = drawn.mean((1, 2, 3)) / bank.images.float().mean()
    assert means.min() < 0.2
    assert means.max() > 1.3
    assert drawn.min() >= 0
    assert drawn.max() <= 255
