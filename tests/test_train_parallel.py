"""Processes that train together hold the same weights, and learn from all their faces."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from train.learn.parallel import ALONE, Crew

TOGETHER = """
import json, sys
import torch
from train.learn.augment import Bank
from train.learn.loop import Fit, FitConfig
from train.learn.model import HEADS, Net, NetConfig
from train.learn.parallel import joined

torch.set_num_threads(1)
with joined("cpu") as crew:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (6, 1, 96, 96), dtype=torch.uint8)
    targets, weights = torch.rand(6, len(HEADS), 2) - 0.5, torch.ones(6, len(HEADS))
    bank = Bank(images, targets, weights, torch.arange(1, 7) / 6, weights, targets)
    net = Net(NetConfig(stem=4, widths=(4, 6), depths=(0, 0), up_depths=(0,)))
    fit = Fit(net, [bank], FitConfig(steps=4, batch=(4,)), torch.device("cpu"), crew=crew)
    fit.run(3)
    numbers = torch.cat([each.flatten() for each in [*net.parameters(), *fit.averaged.parameters()]])
    with open(f"{sys.argv[1]}/{crew.rank}.json", "w") as file:
        json.dump({"size": crew.size, "weights": numbers.tolist(), "drawn": float(torch.rand(1))}, file)
"""


def outcomes(folder: Path, processes: int) -> list[dict[str, Any]]:
    """What each process ended with."""
    folder.mkdir()
    (folder / "together.py").write_text(TOGETHER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*torchrun, str(folder / "together.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_stay_the_same_and_draw_different_faces(tmp_path: Path) -> None:
    first, second = outcomes(tmp_path / "two", 2)
    assert first["size"] == second["size"] == 2
    assert first["weights"] == second["weights"]
    assert first["drawn"] != second["drawn"]


@pytest.mark.parametrize(("size", "batch"), [(1, (100, 28)), (3, (100, 28)), (4, (3, 2)), (8, (128,))])
def test_every_process_takes_its_share_of_a_batch(size: int, batch: tuple[int, ...]) -> None:
    shares = [Crew(rank, size).share(batch) for rank in range(size)]
    for asked, parts in zip(batch, zip(*shares, strict=True), strict=True):
        assert sum(parts) == max(asked, size)
        assert max(parts) - min(parts) <= 1


def test_alone_nothing_changes() -> None:
    assert (ALONE.leads, ALONE.share((5, 1)), ALONE.seed(7)) == (True, (5, 1), 7)
