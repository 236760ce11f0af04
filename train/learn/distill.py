"""Turns the answers of large networks into targets for the small one that ships.

Most outputs have no label: two thirds of Kaggle's rows label 4 of 15 points, each row follows one of three schemes, and
faces from films have no labels.  Networks several times as large, which learn from the labels first, fill in missing
labels and smooth the others (Hinton et al. 2015, "Distilling the knowledge in a neural network").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from train.learn.augment import Augmentation, Bank, placed
from train.learn.model import HEADS, Net, NetConfig

TEACHER = NetConfig(
    stem=24,
    widths=(40, 80, 128),
    inners=(40, 80, 128),
    depths=(1, 1, 2),
    up_depths=(1, 1),
    selu_between=True,
    dense=True,
)
JITTER = Augmentation(rotation_deg=4.0, scale=0.04, aspect=0.0, shift=0.03, calm=0.0)


@dataclass(frozen=True, slots=True)
class TeachConfig:
    """How the small network is taught."""

    steps: int = 3_000
    """Batches each teacher is trained on; 0 for no teacher."""
    nets: int = 3
    """Teachers, which differ in their seeds; their answers are averaged."""
    net: NetConfig = TEACHER
    views: int = 4
    """Random crops of each face, over which a teacher's answers are averaged."""
    share: float = 0.75
    """Weight of the teachers' answer in the target of a labelled point; the label has the rest."""
    trust: float = 0.5
    """Weight of targets that come only from the teachers."""
    jitter: Augmentation = JITTER
    """How much the views vary."""

    @property
    def stages(self) -> tuple[str, ...]:
        """A name for the training of each teacher."""
        return tuple(f"teacher-{i + 1}" for i in range(self.nets)) if self.steps else ()


def taught(bank: Bank, teachers: Sequence[Net], config: TeachConfig) -> Bank:
    """The same faces with a target for every output."""
    answers = answered(bank.images, teachers, config)
    labelled = bank.weights > 0
    mixed = torch.lerp(bank.targets, answers, config.share)
    return Bank(
        bank.images,
        torch.where(labelled[..., None], mixed, answers),
        torch.where(labelled, bank.weights, config.trust),
        bank.chances,
        bank.doubts,  # sigma predicts the distance from the labels, which teachers do not know
        bank.labels,
    )


@torch.no_grad()
def answered(canvases: Tensor, teachers: Sequence[Net], config: TeachConfig, batch: int = 256) -> Tensor:
    """Canvases (N, 1, S, S) uint8 -> the teachers' mean points (N, 34, 2), unit space of the nominal crop."""
    device = teachers[0].axis.device
    answers = []
    for part in torch.split(canvases, batch):
        total = torch.zeros(len(part), len(HEADS), 2, device=device)
        for teacher in teachers:
            for _ in range(config.views):
                view = placed(len(part), config.jitter, device)
                points, _ = teacher(view.cut(part.to(device)))
                total += view.out_of_crop(points)
        answers.append(total.to(canvases.device) / (len(teachers) * config.views))
    return torch.cat(answers)
