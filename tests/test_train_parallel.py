"""Processes that train together hold the same weights, and learn from all their faces."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faces import write_training_csv

from tracker.backends.weights import load
from train.learn.parallel import ALONE, Crew

TOGETHER = """
import hashlib, json, logging, sys
from pathlib import Path
import torch
from train.cli import _train_and_show
from train.learn.distill import TeachConfig
from train.learn.loop import Fit, FitConfig
from train.learn.model import NetConfig
from train.rebuild import Options

logging.basicConfig(level=logging.INFO)
torch.set_num_threads(1)
data, out, notes = map(Path, sys.argv[1:])
run = Fit.run

def noted(fit, *more):
    loss = run(fit, *more)
    weights = torch.cat([each.flatten() for each in [*fit.net.parameters(), *fit.averaged.parameters()]])
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    crew = fit._crew
    note = {"size": crew.size, "steps": fit.step_count, "weights": weights.tolist(), "random": state}
    (notes / f"{crew.rank}.json").write_text(json.dumps(note))
    return loss

Fit.run = noted
tiny = NetConfig(stem=4, widths=(4, 6), inners=(4, 6), kernels=(3, 3), depths=(0, 1), up_depths=(0,))
fit = FitConfig(steps=3, batch=(4,))
_train_and_show(Options(data=data, out=out, device="cpu", report_every=2, net=tiny, fit=fit, teach=TeachConfig(0)))
"""


@pytest.mark.slow
def test_two_processes_train_one_network_on_different_faces_and_one_of_them_writes(tmp_path: Path) -> None:
    data = write_training_csv(tmp_path / "training.csv", "A" * 16 + "B" * 10 + "C" * 12)
    (tmp_path / "together.py").write_text(TOGETHER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, tmp_path / "together.py", data, tmp_path / "out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first["size"], first["steps"]) == (second["size"], second["steps"]) == (2, 3)
    assert first["weights"] == second["weights"]
    assert first["random"] != second["random"]
    assert load(tmp_path / "out").card["training"]["finished"] is True
    history = (tmp_path / "out" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history] == [2, 3]
    assert done.stderr.count("weights in") == 1


@pytest.mark.parametrize(("size", "batch"), [(1, (100, 28)), (3, (100, 28)), (4, (3, 2)), (8, (128,))])
def test_every_process_takes_its_share_of_a_batch(size: int, batch: tuple[int, ...]) -> None:
    shares = [Crew(rank, size).share(batch) for rank in range(size)]
    for asked, parts in zip(batch, zip(*shares, strict=True), strict=True):
        assert sum(parts) == max(asked, size)
        assert max(parts) - min(parts) <= 1


def test_alone_nothing_changes() -> None:
    assert (ALONE.leads, ALONE.share((5, 1)), ALONE.seed(7)) == (True, (5, 1), 7)
