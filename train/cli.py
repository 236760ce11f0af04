"""`fkp-train`: rebuild the weights, judge them, write a Kaggle submission."""

import json
import logging
import sys
import time
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tracker.backends.settings import Precision
from tracker.bench.peers import PeerName
from tracker.commands.help import CONTEXT, TRAINING, PlainCommand, PlainGroup
from tracker.errors import BackendUnavailable, DataError
from tracker.options import INPUT, MACHINE, OUTPUT
from tracker.support.atomic import refuse_existing
from tracker.support.process import run_program

if TYPE_CHECKING:  # torch and pandas take seconds to import; --help should not
    from tracker.backends.weights import Weights
    from train.data.kaggle import Faces
    from train.rebuild import Options

log = logging.getLogger("train.cli")  # by name: it speaks up under `python -m train.cli` too

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  fkp-train --data facial-keypoints-detection.zip   writes runs/fkp
  fkp-train --data kaggle/ --quick                  in about ten minutes
  fkp-train --data kaggle/ --resume                 continue after a stop
  fkp-train evaluate --data kaggle/ --hold-out      how good the weights are
"""

DeviceName = Literal["auto", "cpu", "cuda"]

THOROUGH, QUICK = (9_000, 3, 3_000), (1_000, 1, 500)
"""Steps of the net, teachers, steps of each teacher."""

FIRST_ESTIMATE_S = 60.0

WIDE = 110
"""Characters that the table of all recipes needs; a narrower terminal wraps its lines, which loses nothing."""


def _option(
    help: str, metavar: str | None = None, panel: str | None = None, min: float | None = None, max: float | None = None
) -> Any:
    """An option with a value from `min` to `max`, under the heading `panel` of --help."""
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel, min=min, max=max)


def _flag(name: str, help: str, panel: str | None = None) -> Any:
    return typer.Option(name, help=help, rich_help_panel=panel)


# Options of several commands
_DATA = "Kaggle's download: the zip, training.zip, training.csv or a folder that contains one of them."
_INDEX = "For data that is not Kaggle's whole file: a csv of row, kaggle_row, duplicate_group, scheme, known_problem."
_OF_RUN = "  [default: that of the run with these weights]"
JudgedData = Annotated[Path | None, _option(_DATA + _OF_RUN, "PATH")]
JudgedIndex = Annotated[Path | None, _option(_INDEX + _OF_RUN, "CSV")]
JudgedWeights = Annotated[
    Path | None,
    _option("A folder with fkp.onnx, or that file.  [default: the weights that ship with fkp]", "DIR_OR_ONNX"),
]
_DEVICE = "Where to train."
_seed = partial(_option, metavar="N", min=0, max=2**32 - 1)


@app.callback(cls=PlainGroup, invoke_without_command=True, context_settings=CONTEXT, epilog=EXAMPLES)
def train(
    context: typer.Context,
    data: Annotated[Path | None, _option(_DATA, "PATH", INPUT)] = None,
    index: Annotated[Path | None, _option(_INDEX, "CSV", INPUT)] = None,
    extra: Annotated[
        list[Path] | None, _option("More faces, with 68 landmarks (zip or folder); may be repeated.", "PATH", INPUT)
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        _option("Unlabelled faces; the teachers predict their keypoints; may be repeated.", "PATH", INPUT),
    ] = None,
    start: Annotated[
        Path | None,
        _option(
            "Start from these finished weights; with --teachers 0 they also act as the teacher.", "DIR_OR_ONNX", INPUT
        ),
    ] = None,
    out: Annotated[Path, _option("Folder for the weights.", "DIR", OUTPUT)] = Path("runs/fkp"),
    quick: Annotated[
        bool,
        _flag(
            "--quick", "Usable weights in about ten minutes: --steps 1000 --teachers 1 --teacher-steps 500.", TRAINING
        ),
    ] = False,
    steps: Annotated[int | None, _option("Train on N batches.  [default: 9000]", "N", TRAINING, min=1)] = None,
    teachers: Annotated[
        int | None,
        _option("Train N large networks first, which then teach the small one.  [default: 3]", "N", TRAINING, min=0),
    ] = None,
    teacher_steps: Annotated[
        int | None,
        _option("Train each teacher on N batches; 0 trains no teacher.  [default: 3000]", "N", TRAINING, min=0),
    ] = None,
    finish: Annotated[
        int, _option("Refine on the most exact labels during the last N of the steps.", "N", TRAINING, min=0)
    ] = 0,
    seed: Annotated[int, _seed("Seed of all random choices except the hold-out.", panel=TRAINING)] = 0,
    device: Annotated[DeviceName, _option(_DEVICE, panel=MACHINE)] = "auto",
    report_every: Annotated[
        int,
        _option("Write a checkpoint and evaluate the hold-out every STEPS steps.", "STEPS", TRAINING, min=1),
    ] = 250,
    resume: Annotated[bool, _flag("--resume", "Continue a stopped run.", OUTPUT)] = False,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace a run that exists.", OUTPUT)] = False,
) -> None:
    """Train the weights from the data, or run COMMAND; see `fkp-train COMMAND --help`."""
    logging.basicConfig(format="fkp-train: %(message)s")
    logging.getLogger("tracker.backends").setLevel(logging.INFO)
    logging.getLogger("train").setLevel(logging.INFO)  # what the ONNX exporter tells at that level is its own business
    if context.invoked_subcommand is not None:
        return
    if data is None:
        raise typer.BadParameter("give --data PATH, or a command", param_hint="--data")
    wanted = (steps, teachers, teacher_steps)
    usual = QUICK if quick else THOROUGH
    steps, teachers, teacher_steps = (default if x is None else x for x, default in zip(wanted, usual, strict=True))
    if finish >= steps:
        raise typer.BadParameter(f"must be fewer than the {steps} steps", param_hint="--finish")
    if unlabelled and not (teachers and teacher_steps) and start is None:
        raise typer.BadParameter(
            "needs a teacher to predict keypoints; train one, or give --start", param_hint="--unlabelled"
        )
    from train.learn.distill import TeachConfig
    from train.learn.loop import FRESH_RATE, START_RATE, FitConfig
    from train.rebuild import Options

    _train_and_show(
        Options(
            data=data,
            index=index,
            extra=tuple(extra or ()),
            unlabelled=tuple(unlabelled or ()),
            start=start,
            out=out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            report_every=report_every,
            fit=FitConfig(
                steps=steps, finish=finish, seed=seed, learning_rate=FRESH_RATE if start is None else START_RATE
            ),
            teach=TeachConfig(steps=teacher_steps, nets=teachers, views=4 if teachers else 16),
        )
    )


@app.command(cls=PlainCommand, short_help="Measure the error of weights, by scheme and keypoint.")
def evaluate(
    data: JudgedData = None,
    index: JudgedIndex = None,
    weights: JudgedWeights = None,
    hold_out: Annotated[bool, _flag("--hold-out", "Judge only by the rows that training never saw.")] = False,
    as_json: Annotated[bool, _flag("--json", "Print JSON instead of a table.")] = False,
) -> None:
    """Print the RMSE per scheme, per keypoint and Kaggle-weighted; each row is judged by its own scheme's outputs."""
    from tracker.backends.weights import load
    from train.judge import evaluate as judge

    faces = _judged_faces(weights, data, index)
    chosen = faces.only(judge.held_out(faces, load(weights))) if hold_out else faces
    once, twice = judge.evaluate(chosen, weights)
    if as_json:
        print(json.dumps(once.to_json() | {"second_look": twice.to_json()}, allow_nan=False))
    else:
        from train.metrics import figure

        Console().print(once.table())
        Console().print(
            f"With a second look, in the crop that a face's own points ask for: {figure(twice)}", soft_wrap=True
        )


@app.command(cls=PlainCommand, short_help="Compare all published recipes on the same data.")
def compare(
    data: Annotated[Path, _option(_DATA, "PATH")],
    index: Annotated[Path | None, _option(_INDEX, "CSV")] = None,
    recipes: Annotated[str, _option("Recipes to run, separated by commas; patterns like 'cnn*' work.", "NAMES")] = "*",
    budget: Annotated[
        float | None, _option("Training time of each recipe.  [default: 10]", "MINUTES", min=0, max=525_600)
    ] = None,
    to_the_end: Annotated[
        bool, _flag("--to-the-end", "Let each recipe take all its epochs instead, however long that is.")
    ] = False,
    out: Annotated[Path, _option("Folder for the table.", "DIR")] = Path("runs/compare"),
    device: Annotated[DeviceName, _option(_DEVICE)] = "auto",
    download: Annotated[
        bool, _flag("--download", "Download pretrained backbones that are not in torch's cache.")
    ] = False,
    overwrite: Annotated[bool, _flag("--overwrite", "Start again and discard finished recipes.")] = False,
) -> None:
    """Compare all published recipes on the same data; run a stopped comparison again to continue it."""
    from train.recipes import compare as side_by_side

    if to_the_end and budget is not None:
        raise typer.BadParameter("leave out --budget", param_hint="--to-the-end")
    try:
        chosen = side_by_side.chosen_recipes(recipes.split(","))
    except LookupError as error:
        raise typer.BadParameter(str(error), param_hint="--recipes") from error
    options = side_by_side.Options(
        data=data,
        index=index,
        recipes=chosen,
        budget_minutes=None if to_the_end else 10 if budget is None else budget,
        out=out,
        device=device,
        download=download,
        overwrite=overwrite,
    )
    board = side_by_side.compare(options)
    Console(width=max(WIDE, Console().width)).print(board.table())


@app.command(cls=PlainCommand, short_help="Write an HTML page about the quality of weights.")
def report(
    weights: Annotated[Path, typer.Argument(metavar="RUN_OR_WEIGHTS", help="A folder with fkp.onnx, or that file.")],
    data: JudgedData = None,
    index: JudgedIndex = None,
    out: Annotated[Path | None, _option("Folder for report.html.  [default: beside the weights]", "DIR")] = None,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace report.html if it exists.")] = False,
) -> None:
    """Write an HTML page about the quality of weights: curves, errors, calibration, worst faces."""
    from train.judge.report import FILE, write_report
    from train.rebuild import open_folder

    folder = out or (weights if weights.is_dir() else weights.parent)
    refuse_existing(folder / FILE, overwrite=overwrite)
    open_folder(folder)
    log.info("report in %s", write_report(weights, _judged_faces(weights, data, index), folder, overwrite=overwrite))


@app.command(cls=PlainCommand, short_help="List labels that may be wrong.")
def audit(
    data: JudgedData = None,
    index: JudgedIndex = None,
    folds: Annotated[
        int | None,
        _option("Train N nets; each judges the rows it did not learn from.  [default: 5]", "N", min=2),
    ] = None,
    steps: Annotated[int | None, _option("Train each of them on N batches.  [default: 2000]", "N", min=1)] = None,
    weights: Annotated[
        Path | None,
        _option("Train nothing; these weights judge the hold-out, a tenth of the rows.", "DIR_OR_ONNX"),
    ] = None,
    out: Annotated[Path, _option("Folder for audit.csv and audit.png.", "DIR")] = Path("runs/audit"),
    device: Annotated[DeviceName, _option(_DEVICE)] = "auto",
    overwrite: Annotated[bool, _flag("--overwrite", "Start again and replace an audit that exists.")] = False,
) -> None:
    """List the labels that nets which never saw them doubt most; finished folds are kept, and data never changes."""
    import torch

    from train.judge import audit as doubt
    from train.learn.loop import FitConfig
    from train.learn.parallel import chosen_device
    from train.rebuild import open_folder

    if weights is not None and (folds or steps):
        raise typer.BadParameter("trains nothing; leave out --folds and --steps", param_hint="--weights")
    for name in (doubt.TABLE, doubt.SHEET):
        refuse_existing(out / name, overwrite=overwrite)
    open_folder(out)
    faces = _judged_faces(weights, data, index)
    if weights is None:
        if overwrite:
            doubt.forget_folds(out)
        fit = FitConfig(steps=steps or 2_000)
        found = doubt.audit_by_folds(
            faces, doubt.Folds(out=out, count=folds or 5, device=torch.device(chosen_device(device)), fit=fit)
        )
    else:
        found = doubt.audit_by_weights(faces, weights)
    doubt.write_audit(found, out, overwrite=overwrite)
    log.info("%s; all in %s", found, out)


@app.command(cls=PlainCommand, short_help="Measure the whole tracker on photographs.")
def wild(
    faces: Annotated[Path, _option("Faces with 68 landmarks (zip or folder).", "PATH")],
    weights: JudgedWeights = None,
    peer: Annotated[PeerName | None, _option("Also measure MediaPipe's face mesh on the same pictures.")] = None,
    peer_model: Annotated[
        Path | None,
        _option("MediaPipe's face_landmarker.task; releases from 0.10.30 on include no model.", "TASK"),
    ] = None,
    hold_out: Annotated[
        bool, _flag("--hold-out", "Judge only by the turned faces that training never learns from.")
    ] = False,
) -> None:
    """Judge detector, crop and network together on photographs; print JSON, in % of the outer-eye distance.

    `nme_13` counts the 13 points that iBUG labels too as iBUG labels them; the other figures count all 15 as Kaggle's
    scheme A does.

    Faces whose table says how they are turned are judged by yaw and roll instead, each picture looked at six times as
    in a film: % of the size of the face's box over the points that people labelled.

    `within_sigma` has the shares of errors within one and two sigma in tracking; 0.68 and 0.95 are right.  Two
    conventions of labelling differ by constant offsets, which sigma does not tell.

    `signals` says how well closed eyes and open mouths are told, if the network tells them.  An AUC is the chance that
    an open one gets the higher value than a closed one.  An eye is closed below 0.1 of its own width between the lids
    and open from 0.2 on; a mouth is shut below 0.05 of its own width and open above 0.15.
    """
    if peer_model is not None and peer is None:
        raise typer.BadParameter("needs --peer mediapipe", param_hint="--peer-model")
    from tracker.bench.mediapipe_baseline import open_peer
    from train.data.faces68 import read_faces68
    from train.data.split import dealt
    from train.judge.photographs import judged

    crops = read_faces68(faces)
    crops = dealt(crops, judge=True) if hold_out else crops
    if hold_out and not crops.names:
        raise DataError(f"no face of {faces} is held out from training; leave out --hold-out to judge by all")
    # a peer that cannot be used is told before anything is judged
    with closing(open_peer(peer_model, stills=True)) if peer else nullcontext() as theirs:
        print(json.dumps(judged(crops, weights, theirs), allow_nan=False))


@app.command(cls=PlainCommand, short_help="Write a submission for Kaggle's board.")
def submit(
    test: Annotated[Path, _option("test.csv, a zip that contains it, or their folder.", "PATH")],
    lookup: Annotated[Path, _option("Kaggle's IdLookupTable.csv.", "CSV")],
    out: Annotated[Path, _option("The submission.", "CSV")] = Path("submission.csv"),
    weights: JudgedWeights = None,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace OUT if it exists.")] = False,
) -> None:
    """Write a submission for Kaggle's Facial Keypoints Detection: 27,124 values, clipped to 0..96."""
    import numpy as np

    from train.data.kaggle import read_test
    from train.data.schemes import C
    from train.judge.evaluate import predicted_labels
    from train.judge.submit import asked_scheme, read_lookup, write_submission

    refuse_existing(out, overwrite=overwrite)
    images, image_ids = read_test(test)
    table = read_lookup(lookup)
    schemes = asked_scheme(table)
    scheme = np.array([schemes.get(image_id, C) for image_id in image_ids.tolist()], np.uint8)
    write_submission(predicted_labels(images, scheme, weights), image_ids, table, out, overwrite=overwrite)
    log.info("%d faces -> %s", len(images), out)


@app.command(cls=PlainCommand, short_help="Convert finished weights to their other forms.")
def export(
    weights: JudgedWeights = None,
    tensorrt: Annotated[
        bool, _flag("--tensorrt", "Compile with TensorRT now instead of at the first start of fkp-track.")
    ] = False,
    precision: Annotated[Precision, _option("Precision of the compiled network.")] = "fp32",
) -> None:
    """Make the other forms of finished weights: for processors, in half precision, and as a TensorRT engine."""
    from tracker.backends.weights import load
    from train.export.onnx import FORMS, add_forms

    finished = add_forms(load(weights))
    for kind in FORMS:
        log.info("%s: %s", kind, finished.path.with_name(finished.card[kind]["file"]))
    if tensorrt:
        _compile(finished, precision)


@app.command(cls=PlainCommand, short_help="Fit sigma of finished weights again.")
def calibrate(
    out: Annotated[Path, _option("Folder for the weights.", "DIR")],
    extra: Annotated[
        list[Path], _option("Faces with 68 landmarks that the weights learned from; may be repeated.", "PATH")
    ],
    data: JudgedData = None,
    index: JudgedIndex = None,
    weights: JudgedWeights = None,
    overwrite: Annotated[bool, _flag("--overwrite", "Replace weights in DIR.")] = False,
) -> None:
    """Fit sigma again to faces as a tracker sees them, as a training with --extra does at its end.

    Points stay as they are.  Give the data that the weights learned from; rows that judge are left out.
    """
    from tracker.backends.weights import load
    from train.rebuild import open_folder, refit_sigma

    refuse_existing(out / "fkp.onnx", overwrite=overwrite)
    finished, faces = load(weights), _judged_faces(weights, data, index)
    open_folder(out)
    refit_sigma(finished, faces, extra, out)
    log.info("weights in %s", out)


@app.command(cls=PlainCommand, short_help="Teach finished weights how far eyes and mouth are open.")
def signals(
    faces: Annotated[list[Path], _option("Faces with 68 landmarks (zip or folder); may be repeated.", "PATH")],
    weights: Annotated[Path, _option("A folder with fkp.onnx, or that file; the network is replaced.", "DIR_OR_ONNX")],
    seed: Annotated[int, _seed("Seed of all random choices.")] = 0,
) -> None:
    """Fit `eye_open_left`, `eye_open_right` and `mouth_open` to finished weights; points and sigma stay as they are.

    A training with --extra does this by itself at its end.  Takes some minutes; prints JSON on a fifth of the pictures,
    which were held out.
    """
    from tracker.backends.weights import load
    from train.learn.signals_fit import SignalsConfig
    from train.rebuild import fit_signals

    telling = fit_signals(load(weights), faces, SignalsConfig(seed=seed))
    print(json.dumps(telling.noted("signals", "held_out"), allow_nan=False))


def _judged_faces(weights: Path | None, data: Path | None, index: Path | None) -> "Faces":
    """The data that is given, or that of the run whose weights are judged."""
    from train.data.kaggle import read_training
    from train.judge.places import found_places

    if weights is None and data is None:
        raise typer.BadParameter("give --data PATH, or --weights with the folder of a run", param_hint="--data")
    data, index = found_places(weights, data, index)
    return read_training(data, index=index)


def _train_and_show(options: "Options") -> None:
    """Run the training with a progress bar on stderr, or a line per report if stderr is no terminal."""
    from train.learn.parallel import chosen_device, joined
    from train.rebuild import rebuild

    quiet = not sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=quiet)
    task = bar.add_task("reading the data", total=None)
    begun: dict[str, tuple[int, float]] = {}
    told: set[str] = set()

    def watch(stage: str, step: int) -> None:
        """Move the bar; if there is none, say once per stage, after its first minute, how long it will take."""
        total = options.steps_of[stage]
        first, since = begun.setdefault(stage, (step, time.monotonic()))
        if step == first:
            bar.reset(task, total=total, completed=step, description=f"{stage}: learning")
        bar.update(task, completed=step)
        elapsed = time.monotonic() - since
        if quiet and elapsed > FIRST_ESTIMATE_S and stage not in told:
            told.add(stage)
            log.info("%s: about %.0f min left", stage, elapsed / (step - first) * (total - step) / 60)

    with (
        joined(chosen_device(options.device)) as crew,
        bar if crew.leads else nullcontext(),
        closing(rebuild(options, crew, watch)) as run,  # a stop that arrives here must reach it, for it to write
    ):
        for progress in run:
            bar.update(task, description=str(progress))
            if quiet:
                log.info("step %d of %d: %s", progress.step, options.steps_of[progress.stage], progress)
    if not crew.leads:
        return
    _compile_where_a_gpu_is(options)
    log.info("weights in %s; try: fkp-track --weights %s --demo", options.out, options.out)


def _compile_where_a_gpu_is(options: "Options") -> None:
    """Have the engine ready that the first `fkp-track` on this machine would build."""
    from tracker.backends.weights import load
    from train.learn.parallel import chosen_device

    if chosen_device(options.device) == "cuda":
        try:
            _compile(load(options.out), "fp32")
        except BackendUnavailable as refusal:
            log.info("no TensorRT engine: %s", refusal.reason)


def _compile(weights: "Weights", precision: Precision) -> None:
    from tracker.backends.tensorrt import compile_ahead
    from tracker.backends.tensorrt.cache import Cache, compiled_dir

    log.info("%s -> %s", compile_ahead(weights, precision, Cache(compiled_dir())), compiled_dir())


def main() -> None:
    """The program."""
    run_program(partial(app, windows_expand_args=False), "fkp-train", extra="train")


if __name__ == "__main__":
    main()
