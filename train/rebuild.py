"""`fkp-train --data`: from the data to weights that the tracker runs.

In: Kaggle's training data, optionally faces with 68 landmarks.  Out: a folder with `fkp.onnx`, `fkp-schemes.onnx`,
`fkp.json` (the card), `history.jsonl` and, until training is done, `checkpoint.safetensors`.
"""

import json
import logging
import platform
import shlex
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tracker import __version__
from tracker.errors import DataError, SinkError
from train.calibrate import sigma_scales, with_sigma_scaled
from train.data import SCHEMES, Faces, read_training
from train.evaluate import judged
from train.export import write_weights
from train.faces68 import read_faces68
from train.loop import Fit, FitConfig
from train.metrics import Report
from train.model import Net, NetConfig
from train.split import SPLIT_SEED, hold_out
from train.targets import faces68_bank, kaggle_bank

log = logging.getLogger(__name__)

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.jsonl"
CONVENTION = (
    "Scheme A of Kaggle's labels: nose tip on the tip, lip points on the outer borders of the lips. "
    "Left and right are the subject's."
)
LICENCE = (
    "The network is released under Apache-2.0 as far as it is ours. It was trained on Kaggle's Facial Keypoints "
    "Detection data (competition rules) and, where `extra` lists any, on faces annotated by iBUG 300-W, whose "
    "annotations are for research only: ask before commercial use."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a training run depends on."""

    data: Path
    out: Path
    index: Path | None = None
    extra: tuple[Path, ...] = ()
    resume: bool = False
    overwrite: bool = False
    device: str = "auto"
    """auto, cpu or cuda."""
    report_every: int = 250
    """Steps between checkpoints, history lines and a look at the hold-out."""
    fit: FitConfig = field(default_factory=FitConfig)
    net: NetConfig = field(default_factory=NetConfig)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is; handed out after every `report_every` steps."""

    step: int
    loss: float
    report: Report
    faces_per_s: float

    def __str__(self) -> str:
        schemes = " ".join(f"{name} {value:.2f}" for name, value in self.report.by_scheme.items())
        return f"hold-out {self.report.kaggle_weighted:.3f} px ({schemes})"


def rebuild(options: Options) -> Generator[Progress, None, None]:
    """Train, yielding as it goes; whatever ends it, the best so far lies in `options.out`, ready for the tracker.

    Raises DataError for bad data and for an `out` that already holds a run which neither `resume` nor `overwrite`
    covers, SinkError when `out` cannot be written.
    """
    # Tails of soft-argmax and of averages slow a CPU several times over.  Threads inherit this, so it comes first.
    torch.set_flush_denormal(True)
    _refuse_lost_work(options)
    _open_folder(options.out)
    device = torch.device(chosen_device(options.device))
    faces = read_training(options.data, index=options.index)
    extra = [read_faces68(path) for path in options.extra]
    judges = hold_out(faces.group, faces.scheme)
    banks = [kaggle_bank(faces, ~judges), *([faces68_bank(extra)] if extra else [])]
    torch.manual_seed(options.fit.seed)
    fit = Fit(Net(options.net), banks, options.fit, device)
    checkpoint, history = options.out / CHECKPOINT, options.out / HISTORY
    if options.resume and checkpoint.exists():
        fit.resume(checkpoint)
    else:
        history.unlink(missing_ok=True)
    judge = _Judge(faces, judges & ~faces.problem)
    log.info("%d faces to learn from, %d to judge by", sum(len(bank.images) for bank in banks), judge.count)
    with _exported_at_the_end(fit, judge, options, faces, ~judges & ~faces.problem):
        while not fit.done:
            before, seconds = fit.step_count, fit.seconds
            loss = fit.run(options.report_every)
            rate = (fit.step_count - before) * sum(options.fit.batch) / (fit.seconds - seconds)
            progress = Progress(fit.step_count, loss, judge(fit.averaged), rate)
            fit.save(checkpoint)
            _note(history, progress)
            yield progress
    checkpoint.unlink(missing_ok=True)


class _Judge:
    """`judge(net)` -> Report on the hold-out faces that are not known to be bad."""

    def __init__(self, faces: Faces, chosen: NDArray[np.bool_]) -> None:
        self.count = int(chosen.sum())
        self._images = torch.from_numpy(faces.images[chosen, None])
        self._points, self._scheme = faces.points[chosen], faces.scheme[chosen]

    def __call__(self, net: Net) -> Report:
        points, sigma = predicted(net, self._images)
        return judged(points, sigma, self._points, self._scheme)


@torch.no_grad()
def predicted(net: Net, images: torch.Tensor, batch: int = 256) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The net's outputs for crops (N, 1, 96, 96) uint8: points (N, 34, 2), sigma (N, 34), unit space."""
    device = net.axis.device
    answers = [net(part.to(device)) for part in torch.split(images, batch)]
    points, sigma = (torch.cat(parts).cpu().numpy() for parts in zip(*answers, strict=True))
    return points, sigma


def _refuse_lost_work(options: Options) -> None:
    stopped, held = ((options.out / name).exists() for name in (CHECKPOINT, "fkp.onnx"))
    if stopped and not (options.resume or options.overwrite):
        raise DataError(
            f"{options.out} holds a run that was stopped; add --resume to go on with it, --overwrite to start again, "
            "or choose another --out"
        )
    if held and not stopped and not options.overwrite:
        raise DataError(
            f"{options.out} holds finished weights; add --overwrite to train them anew, or choose another --out"
        )


def _open_folder(path: Path) -> None:
    """Make sure, before any work, that the folder is there and can be written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise SinkError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error


def chosen_device(choice: str) -> str:
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise DataError(f"--device {choice}: torch {torch.__version__} sees no NVIDIA GPU; use --device cpu")
    return choice


@contextmanager
def _exported_at_the_end(
    fit: Fit, judge: _Judge, options: Options, faces: Faces, learned: NDArray[np.bool_]
) -> Iterator[None]:
    """Export the averaged weights however the block ends, Ctrl-C included; then also keep what `resume` needs."""
    try:
        yield
    finally:
        if fit.step_count:
            if not fit.done:
                fit.save(options.out / CHECKPOINT)
            scales = _sigma_scales(fit.averaged, faces.only(learned))
            net = with_sigma_scaled(fit.averaged, scales)
            write_weights(net, options.out, _facts(fit, net, scales, judge, options, faces))


def _sigma_scales(net: Net, faces: Faces) -> NDArray[np.float64]:
    points, sigma = predicted(net, torch.from_numpy(faces.images[:, None]))
    return sigma_scales(points, sigma, faces.points, faces.scheme)


def _note(path: Path, progress: Progress) -> None:
    line = {"step": progress.step, "loss": round(progress.loss, 5), "faces_per_s": round(progress.faces_per_s, 1)}
    line |= {"kaggle_weighted": round(progress.report.kaggle_weighted, 4)}
    line |= {scheme: round(value, 4) for scheme, value in progress.report.by_scheme.items()}
    with path.open("a", encoding="ascii") as file:
        file.write(json.dumps(line) + "\n")


def _facts(
    fit: Fit, net: Net, scales: NDArray[np.float64], judge: _Judge, options: Options, faces: Faces
) -> dict[str, Any]:
    """What the card says of where the weights come from and how good they are."""
    return {
        "name": "fkp",
        "version": __version__,
        "convention": CONVENTION,
        "licence": LICENCE,
        "training": {
            "command": _command(options),
            "data": {"file": faces.name, "sha256_of_csv": faces.sha256, "rows": _rows_by_scheme(faces)},
            "extra": [{"file": path.name, "sha256": _sha256(path)} for path in options.extra],
            "rows_left_out": faces.row[faces.problem].tolist(),
            "steps": fit.step_count,
            "finished": fit.done,
            "minutes": round(fit.seconds / 60, 1),
            "on": f"{fit.device.type}, torch {torch.__version__}, {platform.machine()}",
            "fit": asdict(options.fit),
            "net": asdict(options.net),
        },
        "metrics": {
            "split": f"hold-out: {judge.count} rows, a tenth of the duplicate groups, seed {SPLIT_SEED}, "
            "single net, no test-time averaging, rows known to be bad left out",
            **judge(net).to_json(),
        },
        "sigma_scales": {
            "fitted_on": "the rows of the training data that are not held out",
            "by_head": [round(scale, 4) for scale in scales.tolist()],
        },
    }


def _command(options: Options) -> str:
    """What to type to get these weights again.  Files by their names: where they lie is nobody else's business."""
    words = ["fkp-train", "--data", options.data.resolve().name]
    words += ["--index", options.index.name] if options.index else []
    for path in options.extra:
        words += ["--extra", path.name]
    return shlex.join([*words, "--steps", str(options.fit.steps), "--seed", str(options.fit.seed)])


def _rows_by_scheme(faces: Faces) -> dict[str, int]:
    return {name: int((faces.scheme == i).sum()) for i, name in enumerate(SCHEMES)}


def _sha256(path: Path) -> str | None:
    """Of a file; a folder has none."""
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else None
