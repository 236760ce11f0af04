"""Several processes that train one network, each on its share of every batch:

    torchrun --nproc-per-node 2 -m train.cli --data DATA

Each process draws its own faces.  Gradients are averaged over all processes, so all have the same weights.  The first
process judges, writes and logs.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from tracker.errors import DataError


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes that train together, seen from one of them."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process judges, writes and logs."""
        return self.rank == 0

    def share(self, batch: tuple[int, ...]) -> tuple[int, ...]:
        """How many faces this process draws from each bank; at least one."""
        return tuple(max(1, (count + self.size - 1 - self.rank) // self.size) for count in batch)

    def seed(self, seed: int) -> int:
        """A different seed for each process; the first keeps the given one."""
        return seed + 1_000_003 * self.rank

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over all processes."""
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        everything = torch.cat([each.flatten() for each in gradients])
        dist.all_reduce(everything)
        means = torch.split(everything / self.size, [each.numel() for each in gradients])
        torch._foreach_copy_(gradients, [mean.view_as(each) for mean, each in zip(means, gradients, strict=True)])


ALONE = Crew()


@contextmanager
def joined(device: str) -> Iterator[Crew]:
    """The processes that torchrun started, over NCCL on `cuda` and Gloo on `cpu`; without torchrun, `ALONE`."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Crew(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def chosen_device(choice: str) -> str:
    """auto, cpu or cuda -> torch's name of the device.  Raises DataError for cuda if torch sees no GPU."""
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise DataError(f"--device {choice}: torch {torch.__version__} sees no NVIDIA GPU; use --device cpu")
    return choice
