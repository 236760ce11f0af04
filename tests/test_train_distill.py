"""The teacher's answers arrive where the faces are, whichever way it looked at them."""

from dataclasses import replace

import pytest
import torch
from test_train_augment import LEFT, RIGHT, dots, dotted
from torch import Tensor, nn

from train.learn.augment import Bank
from train.learn.distill import JITTER, TeachConfig, answered, taught
from train.learn.model import HEADS
from train.learn.targets import CANVAS

torch.set_num_threads(1)


class DotFinder(nn.Module):
    """A teacher that sees two dots and calls the one on the right the left eye, as it would be in a face.

    What it says of it is `too_low`, in unit space.
    """

    def __init__(self, too_low: float = 0.0) -> None:
        super().__init__()
        self.too_low = torch.tensor([0.0, too_low])
        self.register_buffer("axis", torch.zeros(24))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.stack([dots(crops, 1), dots(crops, -1)], 1)
        found = torch.where((found[:, :1, :1] > found[:, 1:, :1]), found, found.flip(1))
        points = torch.zeros(len(crops), len(HEADS), 2)
        points[:, LEFT], points[:, RIGHT] = found[:, 0] + self.too_low, found[:, 1]
        return points, torch.ones(points.shape[:2])


@pytest.fixture
def bank() -> Bank:
    torch.manual_seed(0)
    left, right = torch.rand(9, 2) * 0.5 - 0.25, torch.rand(9, 2) * 0.5 - 0.25
    left[:, 0], right[:, 0] = left[:, 0].abs() + 0.2, -right[:, 0].abs() - 0.2
    return dotted(CANVAS, left, right)


def test_views_are_mapped_back_to_the_face(bank: Bank) -> None:
    answers = answered(bank.images, [DotFinder()], TeachConfig(), batch=4)
    torch.testing.assert_close(answers[:, [LEFT, RIGHT]], bank.targets[:, [LEFT, RIGHT]], atol=0.05 / 48, rtol=0)


def test_teachers_who_disagree_are_met_half_way(bank: Bank) -> None:
    calm = TeachConfig(jitter=replace(JITTER, calm=1.0, flip=0.0))
    alone, both = (answered(bank.images, each, calm) for each in ([DotFinder()], [DotFinder(0.1), DotFinder(0.3)]))
    torch.testing.assert_close(both[:, LEFT], alone[:, LEFT] + torch.tensor([0.0, 0.2]))
    torch.testing.assert_close(both[:, RIGHT], alone[:, RIGHT])


def test_labels_are_shared_with_the_teacher_and_gaps_are_filled(bank: Bank) -> None:
    truth = bank.targets.clone()
    bank.targets[:, LEFT] += 0.1
    bank.weights[:, RIGHT] = 0
    bank.targets[:, RIGHT] = 7
    lesson = taught(bank, [DotFinder()], TeachConfig(share=0.25, trust=0.4))
    torch.testing.assert_close(lesson.targets[:, LEFT], truth[:, LEFT] + 0.075, atol=0.1 / 48, rtol=0)
    torch.testing.assert_close(lesson.targets[:, RIGHT], truth[:, RIGHT], atol=0.1 / 48, rtol=0)
    assert (lesson.weights[:, LEFT] == 1).all()
    assert (lesson.weights[:, RIGHT] == torch.tensor(0.4)).all()
    assert torch.equal(lesson.images, bank.images)
    assert torch.equal(lesson.chances, bank.chances)


def test_sigma_goes_on_asking_for_the_labels(bank: Bank) -> None:
    truth, known = bank.labels.clone(), bank.doubts.clone()
    bank.weights[:, RIGHT] = 0
    lesson = taught(bank, [DotFinder(0.3)], TeachConfig())
    assert torch.equal(lesson.labels, truth)
    assert torch.equal(lesson.doubts, known)
    assert not torch.equal(lesson.targets[:, LEFT], truth[:, LEFT])
