"""`fkp-train --data`: from the data to weights that the tracker runs.

In: Kaggle's training data, optionally faces with 68 landmarks and faces without labels.  Out: a folder with the
networks (see `train.export.onnx`), their card `fkp.json`, `history.jsonl`, `places.json` and `report.html`.  Until the
training ends, the folder holds the checkpoints that `resume` needs.

Large networks, the teachers, are trained first.  The small one that ships then learns from the labels and the teachers.
"""

import json
import logging
import math
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tracker import __version__
from tracker.backends.weights import Weights, load
from tracker.errors import DataError, SinkError, reason_of
from tracker.spec import HALF_PX
from train.data.faces68 import Crops68, read_faces68
from train.data.kaggle import Faces, read_training
from train.data.split import SPLIT_SEED, dealt
from train.export.from_onnx import head_of, held_net, net_of
from train.export.onnx import add_signals, schemes_of, write_weights
from train.judge.evaluate import held_out, hold_out_sha256, judged, judged_twice
from train.judge.pictures import refuse_others_labels, refuse_others_landmarks
from train.judge.places import note_places
from train.judge.report import HISTORY, try_report
from train.learn.augment import Bank
from train.learn.calibrate import Calibrated, calibrated
from train.learn.distill import TeachConfig, taught
from train.learn.doubt import with_doubt_fitted
from train.learn.loop import Fit, FitConfig
from train.learn.model import Net, NetConfig, predicted
from train.learn.parallel import ALONE, Crew, chosen_device
from train.learn.signals_fit import SignalsConfig, fitted
from train.learn.targets import faceless_bank, faces68_bank, kaggle_bank, turned_bank, unlabelled_bank
from train.metrics import Report, figure, json_ready

log = logging.getLogger(__name__)

NET = "net"
"""The stage that trains the network that ships; the stages before it train teachers."""
PORTIONS = {"kaggle": 84, "landmarks": 18, "unlabelled": 14, "turned": 34, "faceless": 10}
"""Faces of each kind per step.  If kinds are missing, the others grow until the step has `FEWEST` faces."""
FINISH_PORTIONS = {"kaggle": 108, "landmarks": 16, "unlabelled": 10, "turned": 20, "faceless": 6}
"""The same in the last steps, which favour the most exact labels."""
FEWEST = 128

CONVENTION = (
    "Scheme A of Kaggle's labels: nose tip on the tip, lip points on the outer borders of the lips. "
    "Left and right are the subject's."
)
LICENCE = (
    "The network is released under Apache-2.0 as far as it is ours. It was trained on Kaggle's Facial Keypoints "
    "Detection data (competition rules) and, where `extra` lists any, on faces annotated by iBUG 300-W or made of such "
    "faces, and on pictures of CFP, UMIST and other collections, which are for research only; where `unlabelled` lists "
    "any, also on pictures without labels, which are their owners'. The same holds for what the weights under `start` "
    "learned from. Ask before commercial use."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a training run depends on."""

    data: Path
    out: Path
    index: Path | None = None
    extra: tuple[Path, ...] = ()
    """Faces with 68 landmarks.  Sets whose table says which landmarks are visible teach turned faces."""
    unlabelled: tuple[Path, ...] = ()
    """Unlabelled faces in the same layout; the teachers predict their keypoints."""
    start: Path | None = None
    """Finished weights to start from; they also act as a teacher."""
    resume: bool = False
    overwrite: bool = False
    device: str = "auto"
    """auto, cpu or cuda."""
    report_every: int = 250
    """Steps between checkpoints; each checkpoint also judges the hold-out and adds a line to the history."""
    fit: FitConfig = field(default_factory=FitConfig)
    net: NetConfig = field(default_factory=NetConfig)
    teach: TeachConfig = field(default_factory=TeachConfig)
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    """How signals are fitted to the finished net; `extra` teaches them."""

    @property
    def steps_of(self) -> dict[str, int]:
        """Batches of each stage, in order."""
        return dict.fromkeys(self.teach.stages, self.teach.steps) | {NET: self.fit.steps}

    def checkpoint(self, stage: str) -> Path:
        """The file from which `resume` continues this stage."""
        return self.out / f"{stage}.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; yielded every `report_every` steps."""

    stage: str
    """teacher-1, teacher-2 ..., then net."""
    step: int
    """Within the stage."""
    loss: float
    report: Report
    faces_per_s: float

    def __str__(self) -> str:
        return f"{self.stage}: hold-out {figure(self.report)}"


Watch = Callable[[str, int], object]
"""Called after each step with its stage and number."""


def rebuild(
    options: Options, crew: Crew = ALONE, watch: Watch = lambda stage, step: None
) -> Generator[Progress, None, None]:
    """Train, and yield the progress.  If the run ends early, weights from before stay as they were.

    In a `crew`, only the first process yields and writes.

    Raises DataError if the data is bad, if learning diverges, or if `out` already holds a run and neither `resume` nor
    `overwrite` is set.  Raises SinkError if `out` cannot be written or another training writes there.
    """
    # Denormal numbers make a CPU several times slower in soft-argmax and averages.  Threads inherit this: it is first.
    torch.set_flush_denormal(True)
    open_folder(options.out)
    with _only_run(options.out) if crew.leads else nullcontext(), _told_how_to_continue(options.out):
        _refuse_lost_work(options)  # a run that goes on has not stopped
        yield from _rebuilt(options, crew, watch)


def _rebuilt(options: Options, crew: Crew, watch: Watch) -> Generator[Progress, None, None]:
    device = torch.device(chosen_device(options.device))
    faces = read_training(options.data, index=options.index)
    refuse_others_labels(faces, options.data)
    extra = _to_learn(options.extra)
    unlabelled = [_checked(path) for path in options.unlabelled]
    start = load(options.start) if options.start else None
    teachers = [net_of(start)] if start else []
    if not faces.held.any():
        raise DataError(
            f"no row of {faces.name} can judge, since all have copies among the others; give more of the data"
        )
    labelled = {"kaggle": kaggle_bank(faces, ~faces.held)} | _extra_banks(extra, unlabelled)
    judge = _Judge(faces, faces.held)
    if crew.leads:
        count = sum(len(bank.images) for bank in labelled.values())
        log.info("%d faces to learn from, %d to judge by", count, len(judge.faces.row))
        if not options.resume:  # files of an earlier run must not be taken for this run's
            _forget(options.out / HISTORY, *_checkpoints(options.out))
        elif not _checkpoints(options.out):
            log.info("%s holds no stopped run: this one begins at the first step", options.out)
    run = _Run(options, faces, faces.only(~faces.held & ~faces.problem), extra, judge, device, crew, start, watch)
    banks = labelled
    for stage in options.teach.stages:
        teacher = yield from run.stage(stage, labelled)
        teachers.append(run.calibrated(teacher).net)
    if teachers:
        torch.manual_seed(options.fit.seed)
        banks = _taught(labelled, unlabelled, [teacher.to(device) for teacher in teachers], options.teach)
    yield from run.stage(NET, banks)
    if crew.leads:
        try_report(options.out, faces)
        _forget(*_checkpoints(options.out))  # last: a run that is killed before goes on from them


def _forget(*files: Path) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def refit_sigma(weights: Weights, faces: Faces, extra: Sequence[Path], out: Path) -> None:
    """Fit sigma of finished weights once more, as a training does at its end, and write them to `out`.

    `faces` and `extra` are what they learned from.  Raises WeightsError, DataError and SinkError.
    """
    torch.set_flush_denormal(True)
    judges = held_out(faces, weights)
    refitted = with_doubt_fitted(held_net(weights), faces.only(~judges & ~faces.problem), _to_learn(extra))
    if not refitted.fitted_on:
        raise DataError("too few labelled points in the faces of --extra; give those that the weights learned from")
    metrics = _Judge(faces, judges).metrics(refitted.net)
    calibration = {"doubt_fitted_on": refitted.fitted_on}
    changed = {"metrics": weights.noted("metrics") | metrics, "calibration": weights.noted("calibration") | calibration}
    write_weights(refitted.net, out, {**weights.card, **changed}, head_of(weights))


class _Judge:
    """`judge(net)` -> Report on the hold-out faces that are not known to be bad."""

    def __init__(self, faces: Faces, judges: NDArray[np.bool_]) -> None:
        self.faces = faces.only(judges & ~faces.problem)

    def __call__(self, net: Net) -> Report:
        return judged(self.faces, predicted(net, self.faces.images)).report

    def metrics(self, net: Net) -> dict[str, object]:
        """What the card says of `net`, also after a second look at each face."""
        once, twice = judged_twice(self.faces, partial(predicted, net))
        short = ("kaggle_weighted", "kaggle_weighted_trimmed", "by_scheme")
        return {**once.to_json(), "second_look": {name: twice.to_json()[name] for name in short}}


@dataclass(eq=False)
class _Run:
    """Trains the networks of one rebuild, with checkpoints, history and export."""

    options: Options
    faces: Faces
    learned: Faces
    """Those of them to train on."""
    extra: Sequence[Crops68]
    judge: _Judge
    device: torch.device
    crew: Crew
    start: Weights | None
    """What to start from."""
    watch: Watch
    seconds: float = 0.0

    @cached_property
    def files(self) -> dict[str, list[dict[str, str]]]:
        """What the card says about the other files that the network learned from."""
        options = self.options
        files = {"extra": _named(options.extra), "unlabelled": _named(options.unlabelled)}
        return files | ({"start": _named([schemes_of(self.start)[0]])} if self.start else {})

    def stage(self, name: str, banks: Mapping[str, Bank]) -> Generator[Progress, None, Net]:
        """Train one network to its end, or resume it, and return its averaged weights."""
        options = self.options
        fit = self._fit(name, banks)
        checkpoint = options.checkpoint(name)
        if options.resume and checkpoint.exists():
            fit.resume(checkpoint)
        if not self.crew.leads:
            fit.run(fit.config.steps)
            return fit.averaged
        with _kept(fit, checkpoint, name):
            while not fit.done:
                before, seconds = fit.step_count, fit.seconds
                loss = fit.run(options.report_every, partial(self.watch, name))
                if not math.isfinite(loss) or not fit.is_finite():
                    raise _diverged(fit, checkpoint, name)
                rate = (fit.step_count - before) * sum(fit.config.batch) / (fit.seconds - seconds)
                progress = Progress(name, fit.step_count, loss, self.judge(fit.averaged), rate)
                fit.save(checkpoint)
                _note(options.out / HISTORY, progress)
                yield progress
        self.seconds += fit.seconds
        if name == NET:
            self._write(fit)
        return fit.averaged

    def calibrated(self, net: Net) -> Calibrated:
        """A copy of the net whose points have no mean error and whose sigma is as large as the errors."""
        return calibrated(net, *predicted(net, self.learned.images), self.learned)

    def _fit(self, name: str, banks: Mapping[str, Bank]) -> Fit:
        options = self.options
        config = replace(
            options.fit,
            batch=_batch(banks, PORTIONS),
            finish_batch=_batch(banks, FINISH_PORTIONS),
            steps=options.steps_of[name],
        )
        hashes = {kind: [file["sha256"] for file in files] for kind, files in self.files.items()}
        origin: dict[str, object] = {
            "faces": self.faces.fingerprint,
            "extra": hashes.pop("extra"),
            "processes": self.crew.size,
        }
        if name == NET:
            origin |= hashes | {"teach": asdict(options.teach)}
        else:
            config = replace(config, finish=0, seed=config.seed + options.teach.stages.index(name))
        torch.manual_seed(config.seed)
        if name == NET and self.start:
            net = net_of(self.start)
            net.offset.zero_()  # the end of the training fits it again
        else:
            net = Net(options.net if name == NET else options.teach.net)
        return Fit(net, list(banks.values()), config, self.device, origin, self.crew)

    def _write(self, fit: Fit) -> None:
        """Write the finished network, with signals where faces with 68 landmarks can teach them."""
        answers = self.calibrated(fit.averaged)
        refitted = with_doubt_fitted(answers.net, self.learned, self.extra)
        facts = self._facts(fit, answers._replace(net=refitted.net))
        facts["calibration"]["doubt_fitted_on"] = refitted.fitted_on
        head = None
        if self.extra:
            try:
                head, told = fitted(refitted.net, self.extra, self.options.signals)
                facts |= {"signals": signals_entry(told, self.options.extra)}
            except DataError as error:
                log.warning("the weights tell no signals: %s", error)
        note_places(self.options.out, self.options.data, self.options.index)  # not before: old weights keep theirs
        write_weights(refitted.net, self.options.out, facts, head)

    def _facts(self, fit: Fit, answers: Calibrated) -> dict[str, Any]:
        """What the card says: where the weights come from and how good they are."""
        options, faces = self.options, self.faces
        return {
            "name": "fkp",
            "version": __version__,
            "convention": CONVENTION,
            "licence": LICENCE,
            "training": {
                "command": _command(options),
                "data": {
                    "file": faces.name,
                    "sha256_of_csv": faces.sha256,
                    "sha256_of_hold_out": hold_out_sha256(faces),
                    "rows": faces.count_by_scheme,
                },
                **self.files,
                **({"start_training": self.start.noted("training")} if self.start else {}),
                "rows_left_out": faces.row[faces.problem].tolist(),
                "steps": fit.step_count,
                "finished": True,
                "minutes": round(self.seconds / 60, 1),
                "on": f"{fit.device.type}, torch {torch.__version__}, {platform.machine()}",
                "fit": asdict(fit.config),
                "net": asdict(fit.net.config),
                "teach": asdict(options.teach),
            },
            "metrics": {
                "split": f"hold-out: {len(self.judge.faces.row)} rows, a tenth of the duplicate groups without those "
                f"that have near copies among the others, seed {SPLIT_SEED}, "
                "single net, no test-time averaging, rows known to be bad left out",
                **self.judge.metrics(answers.net),
            },
            "calibration": {
                "fitted_on": "the rows of the training data that are not held out",
                "sigma_factors_by_head": [round(scale, 4) for scale in answers.scales.tolist()],
                "offsets_px_by_head": (answers.offsets * HALF_PX).round(3).tolist(),
            },
        }


@contextmanager
def _kept(fit: Fit, checkpoint: Path, stage: str) -> Iterator[None]:
    """Save what `resume` needs if the block ends early, also after Ctrl-C."""
    before = fit.step_count
    try:
        yield
    finally:
        if fit.step_count > before and not fit.done and fit.is_finite():
            fit.save(checkpoint)
            log.info(
                "stopped after step %d of %d of %s, saved in %s",
                *(fit.step_count, fit.config.steps, stage, checkpoint),
            )


@contextmanager
def _told_how_to_continue(out: Path) -> Iterator[None]:
    """Say what a stop leaves, also one between the stages or while finished weights are made."""
    try:
        yield
    except BaseException as end:
        if not isinstance(end, Exception) and _checkpoints(out):
            log.info("%s holds what was learned so far; continue with --resume", out)
        raise


def _diverged(fit: Fit, checkpoint: Path, stage: str) -> DataError:
    kept = f"{checkpoint} is from before" if checkpoint.exists() else "nothing was written"
    return DataError(
        f"{stage} has diverged: its loss is no longer finite at step {fit.step_count}; {kept}; look at the labels "
        "with fkp-train audit, or start again with another --seed"
    )


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    """Lock the folder for this training.  Raises SinkError if another training holds the lock."""
    if sys.platform == "win32":  # Windows cannot lock folders
        yield
        return
    import fcntl

    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SinkError(f"another training is writing to {out}; wait for it, or choose another --out") from error
    finally:
        os.close(folder)


def _to_learn(paths: Sequence[Path]) -> list[Crops68]:
    """Faces with 68 landmarks, without those that judge."""
    return [dealt(_checked(path), judge=False) for path in paths]


def _checked(path: Path) -> Crops68:
    """Faces with 68 landmarks, which are those of their pictures.  Raises DataError."""
    crops = read_faces68(path)
    refuse_others_landmarks(crops, path)
    return crops


def _extra_banks(extra: Sequence[Crops68], unlabelled: Sequence[Crops68]) -> dict[str, Bank]:
    """Banks of faces with 68 landmarks."""
    plain = [crops for crops in extra if crops.seen is None]
    turned = [crops for crops in extra if crops.seen is not None]
    banks = {"landmarks": faces68_bank(plain)} if plain else {}
    if turned:
        banks |= {"turned": turned_bank(turned), "faceless": faceless_bank([*plain, *unlabelled, *turned])}
    return banks


def _taught(
    labelled: Mapping[str, Bank], unlabelled: Sequence[Crops68], teachers: Sequence[Net], config: TeachConfig
) -> dict[str, Bank]:
    """The banks with the teachers' answers.  Turned and faceless crops keep their labels: teachers know less about
    them."""
    taught_banks = {
        kind: bank if kind in ("turned", "faceless") else taught(bank, teachers, config)
        for kind, bank in labelled.items()
    }
    if unlabelled:
        taught_banks["unlabelled"] = taught(unlabelled_bank(unlabelled), teachers, config)
    return taught_banks


def _batch(banks: Mapping[str, Bank], of_kind: Mapping[str, int]) -> tuple[int, ...]:
    """Faces per step from each bank."""
    portions = [of_kind[kind] for kind in banks]
    return tuple(round(portion * max(1.0, FEWEST / sum(portions))) for portion in portions)


def _refuse_lost_work(options: Options) -> None:
    stopped = _checkpoints(options.out)
    held = (options.out / "fkp.onnx").exists()
    if stopped and not (options.resume or options.overwrite):
        raise DataError(
            f"{options.out} contains a stopped run; add --resume to continue it, --overwrite to start again, "
            "or choose another --out"
        )
    if held and not stopped and not options.overwrite:
        raise DataError(
            f"{options.out} contains finished weights; add --overwrite to train again, or choose another --out"
        )


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of all stages, whatever the settings of their run."""
    return [*folder.glob("teacher-*.safetensors"), *folder.glob(f"{NET}.safetensors")]


def open_folder(path: Path) -> None:
    """Create the folder and check, before any work, that it can be written to.  Raises SinkError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise SinkError(f"cannot write to {path}: {reason_of(error)}; choose another --out") from error


def fit_signals(weights: Weights, faces: Sequence[Path], config: SignalsConfig) -> Weights:
    """Finished weights that tell signals from now on, fitted to `faces` with 68 landmarks; their points stay the same.

    Raises DataError, WeightsError, SinkError.
    """
    net = held_net(weights)
    head, told = fitted(net, _to_learn(faces), config)
    return add_signals(weights, net, head, signals_entry(told, faces))


def signals_entry(told: dict[str, Any], faces: Sequence[Path]) -> dict[str, Any]:
    """What the card says of signals; `told` is how good they are on the pictures held out."""
    return {"fitted_on": _named(faces), "held_out": json_ready(told)}


def _note(path: Path, progress: Progress) -> None:
    report = progress.report
    figures = {"loss": progress.loss, "faces_per_s": progress.faces_per_s, "kaggle_weighted": report.kaggle_weighted}
    figures |= {"rmse": report.rmse, **report.by_scheme}
    line = {"stage": progress.stage, "step": progress.step} | {name: round(x, 4) for name, x in figures.items()}
    with path.open("a", encoding="ascii") as file:
        file.write(json.dumps(json_ready(line), allow_nan=False) + "\n")


def _command(options: Options) -> str:
    """The command that makes these weights again.  It names files without their folders, which are private."""
    files = [("--data", options.data.resolve()), ("--index", options.index)]
    files += [("--extra", path) for path in options.extra] + [("--unlabelled", path) for path in options.unlabelled]
    words = [word for name, path in (*files, ("--start", options.start)) if path for word in (name, path.name)]
    numbers = {"--teachers": options.teach.nets, "--teacher-steps": options.teach.steps, "--steps": options.fit.steps}
    numbers |= {"--finish": options.fit.finish} if options.fit.finish else {}
    numbers |= {"--seed": options.fit.seed}
    return shlex.join(["fkp-train", *words, *(str(word) for number in numbers.items() for word in number)])


def _named(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Name and sha256 of each file; of a folder, that of all its files one after the other, by name, down to a level
    below it."""
    named = []
    for path in paths:
        content = sha256()
        for file in [path] if path.is_file() else sorted([*path.glob("*"), *path.glob("*/*")]):
            if file.is_file():
                content.update(file.read_bytes())
        named.append({"file": path.name, "sha256": content.hexdigest()})
    return named
