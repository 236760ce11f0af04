"""Muon: steps of equal size in all directions, whatever the gradient's."""

import pytest
import torch
from torch import nn

from train.learn.muon import Muon, orthogonalised

torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(24, 24), (96, 40), (20, 100)])
def test_every_direction_of_a_gradient_counts_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(0, -2, min(shape))  # the largest a hundred times the smallest
    step = orthogonalised(u @ torch.diag(sizes) @ v)
    assert step.shape == shape
    seen = torch.linalg.svdvals(step)
    assert 0.3 < seen.min() < seen.max() < 1.3
    assert torch.sum(step * (u @ v)) > 0.7 * min(shape)  # and in the gradient's own directions


def test_a_kernel_moves_against_its_gradient_by_a_step_of_known_size() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(32, 16, 2, 2).to(memory_format=torch.channels_last))
    before = kernel.detach().clone()
    optimizer = Muon([kernel], lr=0.01, decay=0.0)
    kernel.grad = torch.randn(32, 16, 2, 2) * 1e-6
    optimizer.step()
    moved = kernel.detach() - before
    assert torch.sum(moved * kernel.grad) < 0
    assert moved.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)


def test_weights_without_a_gradient_to_speak_of_decay() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight], lr=0.1, decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 0.95))


def test_a_product_of_badly_scaled_matrices_is_learnt() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(8, 8) @ torch.diag(torch.logspace(0, -2, 8)) @ torch.randn(8, 8)
    weights = [nn.Parameter(torch.randn(8, 8) / 3) for _ in range(2)]
    optimizer = Muon(weights, lr=0.1, decay=0.0)
    losses = []
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        loss = (weights[0] @ weights[1] - wanted).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 1000
