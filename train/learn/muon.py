"""Muon: gradient descent whose step, for a matrix of weights, has the same size in all directions.

Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": momentum, then the nearest
orthogonal matrix by five Newton-Schulz iterations.  torch.optim.Muon takes matrices only; this one also takes the
kernels of convolutions, as matrices of (outputs, inputs * height * width).  On this network, 800 steps reach what AdamW
reaches in three times as many.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """For weights of two or more dimensions that mix many inputs into many outputs; use AdamW for everything else.

    Steps are scaled to AdamW's usual size (root mean square 0.2 times the learning rate; Liu et al. 2025, "Muon is
    scalable for LLM training"), so one learning rate fits both.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every weight against its gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                self._move(weight, weight.grad, group["lr"], group["momentum"], group["decay"])

    def _move(self, weight: Tensor, gradient: Tensor, lr: float, momentum: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        running = state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(running, momentum)  # Nesterov
        matrix = ahead.reshape(len(weight), -1)
        step = orthogonalised(matrix) * (0.2 * max(matrix.shape) ** 0.5)
        weight.mul_(1 - lr * decay).sub_(step.reshape(weight.shape), alpha=lr)


def orthogonalised(matrix: Tensor) -> Tensor:
    """(m, n) -> the same with all singular values between about 0.7 and 1.2, by five iterations of a quintic polynomial
    with Jordan's coefficients."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        squared = x @ x.T
        x = a * x + (b * squared + c * squared @ squared) @ x
    return x.T if len(matrix) > matrix.shape[1] else x
