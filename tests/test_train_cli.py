"""`fkp-train` as a person meets it: files in, weights out, exit codes, messages, and nothing lost."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import safetensors.torch
import torch
from faces import cut_faces, write_training_csv
from numpy.typing import NDArray
from programs import fkp_track, fkp_train

from tracker.backends.weights import load
from tracker.errors import DataError, SinkError, WeightsError
from tracker.spec import COLUMNS, KEYPOINTS
from train.data.kaggle import read_training
from train.data.schemes import C_KEYPOINTS
from train.judge.evaluate import held_out, second_look
from train.judge.places import found_places
from train.learn.distill import TeachConfig
from train.learn.loop import FitConfig
from train.learn.model import HEADS, NetConfig
from train.learn.targets import LABEL_OFFSET_PX
from train.rebuild import Options, rebuild

torch.set_num_threads(1)

STEPS = 4
TINY = NetConfig(stem=4, widths=(4, 6), inners=(4, 6), kernels=(3, 3), depths=(0, 1), up_depths=(0,))
TEACH = TeachConfig(steps=2, nets=2, net=replace(TINY, dense=True), views=1)
CHECKPOINTS = {"teacher-1.safetensors", "teacher-2.safetensors", "net.safetensors"}
SCHEMES = "A" * 16 + "B" * 10 + "C" * 12
C_COLUMNS = [f"{name}_{axis}" for name in C_KEYPOINTS for axis in "xy"]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def training_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of all three schemes."""
    return write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", SCHEMES)


def pixels(image: NDArray[np.uint8]) -> str:
    return " ".join(map(str, image.reshape(-1)))


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))
    return path


def training(data: Path, out: Path, *more: str) -> list[str]:
    options = ["--steps", STEPS, "--teachers", 2, "--teacher-steps", 2, "--report-every", 1, "--seed", 4]
    return [str(word) for word in ["--data", data, "--out", out, *options, "--device", "cpu", *more]]


def small(data: Path, out: Path, **more: object) -> Options:
    """The run of `training` with nets that learn in no time."""
    wanted = {"data": data, "out": out, "device": "cpu", "report_every": 1, "net": TINY, "teach": TEACH}
    return Options(**(wanted | {"fit": FitConfig(steps=STEPS, seed=4)} | more))


@pytest.fixture(scope="module")
def stopped(training_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped after the first step of the net that ships."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    run = rebuild(small(training_csv, out))
    with closing(run):
        for progress in run:
            if (progress.stage, progress.step) == ("net", 1):
                break
    return out


@pytest.fixture(scope="module")
def finished(stopped: Path, training_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stopped run after `--resume`, a stop between its last step and its weights, and another."""
    out = Path(shutil.copytree(stopped, tmp_path_factory.mktemp("runs") / "finished"))
    run = rebuild(small(training_csv, out, resume=True))
    assert [next(run).step for _ in range(2, STEPS + 1)] == list(range(2, STEPS + 1))
    run.close()
    assert set(contents(out)) == CHECKPOINTS | {"history.jsonl"}
    assert list(rebuild(small(training_csv, out, resume=True))) == []
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def steps_noted(folder: Path, stage: str = "net") -> list[int]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if line["stage"] == stage]


def test_a_stopped_run_leaves_what_resume_needs_and_nothing_that_tracks(
    stopped: Path, training_csv: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert set(contents(stopped)) == CHECKPOINTS | {"history.jsonl"}
    caplog.set_level(logging.INFO, "train")
    run = rebuild(small(training_csv, tmp_path, teach=TeachConfig(0)))
    next(run)
    run.close()
    assert f"stopped after step 1 of {STEPS} of net, saved in {tmp_path}" in caplog.text
    assert "continue with --resume" in caplog.text


def test_a_stop_between_two_networks_says_how_to_continue(
    training_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "train")

    def stopping(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.rebuild.taught", stopping)
    with pytest.raises(KeyboardInterrupt):
        list(rebuild(small(training_csv, tmp_path)))
    assert caplog.messages[-1] == f"{tmp_path} holds what was learned so far; continue with --resume"


def test_a_run_that_is_stopped_while_the_teacher_learns_goes_on_from_there(training_csv: Path, tmp_path: Path) -> None:
    options = small(training_csv, tmp_path, fit=FitConfig(steps=1))
    run = rebuild(options)
    assert (next(run).stage, steps_noted(tmp_path, "teacher-1")) == ("teacher-1", [1])
    run.close()
    assert set(contents(tmp_path)) == {"teacher-1.safetensors", "history.jsonl"}
    run = rebuild(replace(options, resume=True))
    seen = [(progress.stage, progress.step) for progress, _ in zip(run, range(3), strict=False)]
    run.close()
    assert seen == [("teacher-1", 2), ("teacher-2", 1), ("teacher-2", 2)]


def test_weights_of_an_unfinished_training_are_not_run(finished: Path, tmp_path: Path) -> None:
    """Earlier versions left such weights behind."""
    folder = shutil.copytree(finished, tmp_path / "run")
    card = json.loads((folder / "fkp.json").read_text())
    card["training"]["finished"] = False
    (folder / "fkp.json").write_text(json.dumps(card))
    with pytest.raises(
        WeightsError, match="comes from a training that was stopped early; finish it with: fkp-train --resume"
    ):
        load(folder)


@pytest.mark.parametrize("training", ["by hand", {"data": "mine", "fit": []}])
def test_a_card_that_says_something_else_of_its_training_is_taken(
    finished: Path, training_csv: Path, tmp_path: Path, training: object
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    card = json.loads((folder / "fkp.json").read_text())
    (folder / "fkp.json").write_text(json.dumps(card | {"training": training}))
    assert fkp_train("report", folder, "--data", training_csv, "--overwrite") == 0


def test_learning_that_diverges_is_one_message_and_replaces_nothing(
    finished: Path, training_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    before = {name: content for name, content in contents(out).items() if name.startswith("fkp")}
    options = small(training_csv, out, overwrite=True, teach=TeachConfig(0))
    run = rebuild(options)
    next(run)
    monkeypatch.setattr("train.learn.loop.loss", lambda points, *_: points.sum() * float("nan"))
    with pytest.raises(DataError, match=r"net has diverged: .* step 2; .*net.safetensors is from before"):
        next(run)
    monkeypatch.undo()
    assert before.items() <= contents(out).items()
    with closing(rebuild(replace(options, overwrite=False, resume=True))) as again:
        assert next(again).step == 2


def test_two_trainings_never_share_a_folder(training_csv: Path, tmp_path: Path) -> None:
    run = rebuild(small(training_csv, tmp_path))
    next(run)
    before = contents(tmp_path)
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(SinkError, match="another training is writing to"):
            next(rebuild(small(training_csv, tmp_path, **how)))
    assert contents(tmp_path) == before
    run.close()
    with closing(rebuild(small(training_csv, tmp_path, resume=True))) as again:
        next(again)


@pytest.mark.parametrize("damage", ["one bit", "half of it", "foreign"])
def test_a_checkpoint_that_is_not_as_it_was_written_is_one_message(
    stopped: Path, training_csv: Path, tmp_path: Path, damage: str
) -> None:
    out = shutil.copytree(stopped, tmp_path / "run")
    path = out / "net.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-100] ^= 4
    path.write_bytes(content[: len(content) // 2] if damage == "half of it" else content)
    if damage == "foreign":
        safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(DataError, match=r"net\.safetensors (is not a checkpoint|is damaged).*--overwrite"):
        list(rebuild(small(training_csv, out, resume=True)))


def test_rows_of_one_scheme_are_judged_by_what_is_there(tmp_path: Path) -> None:
    data = write_training_csv(tmp_path / "training.csv", "A" * 16 + "B" * 12)
    run = rebuild(small(data, tmp_path / "out", teach=TeachConfig(0)))
    said = str(next(run))
    run.close()
    assert re.fullmatch(r"net: hold-out [\d.]+ px over A [\d.]+ B [\d.]+ only", said)
    (line,) = map(json.loads, (tmp_path / "out" / "history.jsonl").read_text().splitlines())
    assert line["kaggle_weighted"] is None
    assert line["rmse"] > 0


def test_every_step_can_be_watched(training_csv: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    run = rebuild(small(training_csv, tmp_path), watch=lambda stage, step: seen.append((stage, step)))
    with closing(run):
        for progress in run:
            if progress.stage == "net":
                break
    assert seen == [("teacher-1", 1), ("teacher-1", 2), ("teacher-2", 1), ("teacher-2", 2), ("net", 1)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (9_000, 3, 3_000)),
        (["--quick"], (1_000, 1, 500)),
        (["--quick", "--steps", "7"], (7, 1, 500)),
        (["--teachers", "0"], (9_000, 0, 3_000)),
    ],
    ids=str,
)
def test_quick_asks_for_less(monkeypatch: pytest.MonkeyPatch, words: list[str], expected: tuple[int, ...]) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("train.cli._train_and_show", asked.append)
    assert fkp_train("--data", "kaggle", *words) == 0
    (options,) = asked
    assert (options.fit.steps, options.teach.nets, options.teach.steps) == expected
    assert (options.teach.stages == ()) == ("0" in words)


@pytest.mark.slow
def test_ctrl_c_answers_at_once_and_leaves_what_resume_needs(training_csv: Path, tmp_path: Path) -> None:
    """A process of its own, with the nets that ship, which gets its Ctrl-C after the first step of the last net."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "train.cli", *training(training_csv, out, "--teachers", "1", "--steps", "50")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "step 1 of 50" in line:
                sent = time.monotonic()
                process.send_signal(signal.SIGINT)
            if "stop" in line:
                assert time.monotonic() - sent < 2
    assert process.returncode == 130, lines
    assert all(line.startswith("fkp-train: ") for line in lines)
    assert "continue with --resume" in lines[-1]
    assert set(contents(out)) == {"teacher-1.safetensors", "net.safetensors", "history.jsonl"}
    assert fkp_track("--weights", out, "--demo", cwd=tmp_path).returncode == 4


def test_resume_takes_the_steps_that_were_missing(finished: Path) -> None:
    card = load(finished).card
    assert (card["training"]["steps"], card["training"]["finished"]) == (STEPS, True)
    assert steps_noted(finished) == list(range(1, STEPS + 1))
    assert steps_noted(finished, "teacher-1") == steps_noted(finished, "teacher-2") == [1, 2]
    weights = {"fkp-cpu.onnx", "fkp-fp16.onnx", "fkp-schemes.onnx", "fkp.json", "fkp.onnx"}
    assert set(contents(finished)) == weights | {"history.jsonl", "places.json", "report.html"}


def test_checkpoints_stay_until_the_report_is_there(
    stopped: Path, training_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed while it writes its report is resumed, not refused."""
    out = Path(shutil.copytree(stopped, tmp_path / "out"))
    monkeypatch.setattr("train.rebuild.try_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        list(rebuild(small(training_csv, out, resume=True)))
    assert set(contents(out)) > CHECKPOINTS | {"fkp.onnx"}


def test_a_training_ends_with_its_report(
    finished: Path, training_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert f"{load(finished).card['metrics']['kaggle_weighted']:.3f}" in page
    assert "these weights were trained on" not in page
    assert fkp_train("report", finished, "--data", training_csv) == 6
    assert "report.html exists already; add --overwrite" in one_line(capsys)


def test_the_card_says_how_the_weights_were_made_but_not_where(finished: Path, training_csv: Path) -> None:
    card = load(finished).card
    command = f"fkp-train --data training.csv --teachers 2 --teacher-steps 2 --steps {STEPS} --seed 4"
    assert card["training"]["command"] == command
    assert card["training"]["data"]["rows"] == {"A": 16, "B": 10, "C": 12}
    assert card["training"]["data"]["file"] == "training.csv"
    assert len(card["calibration"]["sigma_factors_by_head"]) == len(HEADS)
    text = (finished / "fkp.json").read_text()
    assert str(training_csv.parent) not in text
    assert str(finished.parent) not in text


def test_evaluate_judges_the_weights_as_their_card_does(
    finished: Path, training_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fkp_train("evaluate", "--data", training_csv, "--weights", finished, "--hold-out", "--json") == 0
    judged = json.loads(capsys.readouterr().out)
    metrics = load(finished).card["metrics"]
    assert judged["kaggle_weighted"] == pytest.approx(metrics["kaggle_weighted"], abs=1e-3)
    assert judged["faces_by_scheme"] == metrics["faces_by_scheme"]
    twice, noted = judged["second_look"]["kaggle_weighted"], metrics["second_look"]["kaggle_weighted"]
    assert twice == pytest.approx(noted, abs=1e-3)
    assert twice != judged["kaggle_weighted"]
    assert fkp_train("evaluate", "--data", training_csv, "--weights", finished / "fkp.onnx") == 0
    said = capsys.readouterr().out
    assert "38 faces" in said
    assert "With a second look" in said


def test_weights_may_have_learned_from_the_hold_out_of_another_file_or_index(
    finished: Path, training_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faces, weights = read_training(training_csv), load(finished)
    held_out(faces, weights)
    assert not caplog.records
    for others in (replace(faces, sha256="0" * 64), replace(faces, held=~faces.held)):
        held_out(others, weights)
        assert "or not with this index: it may have learned from some of these rows" in caplog.text
        caplog.clear()


def test_evaluate_wants_the_network_that_the_card_describes(
    finished: Path, training_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("fkp.onnx", "fkp.json"):
        shutil.copy(finished / name, tmp_path)
    assert fkp_train("evaluate", "--data", training_csv, "--weights", tmp_path) == 4
    assert f"cannot read {tmp_path / 'fkp-schemes.onnx'}" in one_line(capsys)
    shutil.copy(finished / "fkp.onnx", tmp_path / "fkp-schemes.onnx")
    assert fkp_train("evaluate", "--data", training_csv, "--weights", tmp_path) == 4
    assert "is not the network with 34 outputs" in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one message on stderr, nothing on stdout."""
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("fkp-train: ")
    return line


def test_a_stopped_run_is_neither_repeated_nor_replaced_unasked(
    stopped: Path, training_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(stopped)
    assert fkp_train(*training(training_csv, stopped)) == 7
    message = one_line(capsys)
    assert "--resume" in message
    assert "--overwrite" in message
    assert contents(stopped) == before


def test_a_finished_run_is_not_trained_over_by_resume(
    finished: Path, training_csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    for more in ([], ["--resume"]):
        assert fkp_train(*training(training_csv, finished, *more)) == 7
        assert "contains finished weights; add --overwrite" in one_line(capsys)
    assert contents(finished) == before


def test_a_run_is_resumed_only_with_its_own_settings(stopped: Path, training_csv: Path) -> None:
    before = contents(stopped)
    options = small(training_csv, stopped, resume=True, fit=FitConfig(steps=9, seed=4))
    with pytest.raises(DataError, match=f"belongs to a run with {{'steps': {STEPS}}}, not {{'steps': 9}}"):
        list(rebuild(options))
    assert contents(stopped) == before


def test_a_resume_that_finds_nothing_says_so(
    training_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The name of the folder may be mistyped."""
    with caplog.at_level("INFO", "train"), closing(rebuild(small(training_csv, tmp_path, resume=True))) as run:
        next(run)
    assert f"{tmp_path} holds no stopped run" in caplog.text


def test_overwrite_loses_nothing_when_the_new_data_is_bad(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(stopped)
    assert fkp_train(*training(tmp_path / "nowhere.csv", stopped, "--overwrite")) == 7
    assert "does not exist" in one_line(capsys)
    assert contents(stopped) == before


def test_overwrite_keeps_nothing_that_a_later_resume_could_take_for_its_own(
    stopped: Path, training_csv: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(stopped, tmp_path / "out")
    assert {"teacher-1.safetensors", "teacher-2.safetensors", "net.safetensors"} <= {
        path.name for path in out.iterdir()
    }
    run = rebuild(small(training_csv, out, overwrite=True))
    with closing(run):
        next(run)
    assert {path.name for path in out.glob("*.safetensors")} == {"teacher-1.safetensors"}


def test_weights_keep_the_place_of_their_data_until_others_replace_them(
    finished: Path, training_csv: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    other = shutil.copy(training_csv, tmp_path / "other.csv")
    with closing(rebuild(small(other, out, overwrite=True))) as run:
        next(run)
    assert found_places(out, None, None) == (training_csv.resolve(), None)


def test_bad_data_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "training.csv", [*COLUMNS, "Image"], [[""] * 30 + [" ".join(["7"] * 9216)]])
    assert fkp_train(*training(path, tmp_path / "out")) == 7
    assert "training.csv leaves no labelled face to train on" in one_line(capsys)
    assert contents(tmp_path / "out") == {}


def test_missing_data_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (training(tmp_path / "no.csv", tmp_path / "out"), ["evaluate", "--data", str(tmp_path / "no.csv")]):
        assert fkp_train(*command) == 7
        assert f"{tmp_path / 'no.csv'} does not exist" in one_line(capsys)


def test_a_place_that_cannot_hold_weights_is_one_message(
    training_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    assert fkp_train(*training(training_csv, tmp_path / "file")) == 6
    assert f"cannot write to {tmp_path / 'file'}: File exists" in one_line(capsys)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_one_message(
    training_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fkp_train(*training(training_csv, tmp_path / "out", "--device", "cuda")) == 7
    assert "sees no NVIDIA GPU; use --device cpu" in one_line(capsys)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--steps", "0", "--data", "x"],
        ["--steps", "9", "--finish", "9", "--data", "x"],
        ["--device", "tpu", "--data", "x"],
        ["--data", "x", "--unlabelled", "y", "--teacher-steps", "0"],
    ],
    ids=str,
)
def test_a_command_line_without_sense_is_exit_code_2(args: list[str]) -> None:
    assert fkp_train(*args) == 2


def test_signals_never_replace_the_weights_that_ship() -> None:
    assert fkp_train("signals", "--faces", "x") == 2


@pytest.mark.parametrize("training", [("--folds", "3"), ("--steps", "9")], ids=str)
def test_an_audit_of_weights_takes_no_option_of_a_training(training: tuple[str, str]) -> None:
    assert fkp_train("audit", "--data", "x", "--weights", "y", *training) == 2


def test_submit_answers_each_row_by_the_images_own_scheme(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = cut_faces(3, seed=1).images
    schemes = {1: "A", 400: "B", 600: "C"}
    asked = [(i, column) for i, scheme in schemes.items() for column in (C_COLUMNS if scheme == "C" else COLUMNS)]
    test = write_csv(
        tmp_path / "test.csv", ["ImageId", "Image"], [[str(i), pixels(x)] for i, x in zip(schemes, images, strict=True)]
    )
    rows = [[str(row), str(image), column, ""] for row, (image, column) in enumerate(asked, 1)]
    lookup = write_csv(tmp_path / "IdLookupTable.csv", ["RowId", "ImageId", "FeatureName", "Location"], rows)
    out = tmp_path / "submission.csv"
    command = ("submit", "--test", test, "--lookup", lookup, "--out", out, "--weights", finished)
    assert fkp_train(*command) == 0
    header, *lines = out.read_text().splitlines()
    assert header == "RowId,Location"
    expected = answers(finished, images, list(schemes.values()))
    for (row, (image, column)), line in zip(enumerate(asked, 1), lines, strict=True):
        wanted = expected[list(schemes).index(image)][column]
        assert line == f"{row},{min(max(wanted, 0), 96):.4f}"

    out.write_text("precious")
    assert fkp_train(*command) == 6
    assert f"{out} exists already; add --overwrite" in one_line(capsys)
    assert out.read_text() == "precious"
    assert fkp_train(*command, "--overwrite") == 0
    assert out.read_text().splitlines() == [header, *lines]


def answers(folder: Path, images: NDArray[np.uint8], schemes: list[str]) -> list[dict[str, float]]:
    """Column -> value of each image by its scheme, read off the exported network directly."""
    session = ort.InferenceSession(folder / "fkp-schemes.onnx", providers=["CPUExecutionProvider"])

    def ask(crops: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        points, sigma = session.run(["points", "sigma"], {"faces": crops[:, None]})
        return points, sigma

    points, _ = second_look(images, ask(images), ask)
    return [
        {
            f"{KEYPOINTS[keypoint]}_{axis}": (points[i, head, k] + 1) * 48 + np.float32(LABEL_OFFSET_PX[scheme][k])
            for head, (owner, keypoint) in enumerate(HEADS)
            if owner == scheme
            for k, axis in enumerate("xy")
        }
        for i, scheme in enumerate(schemes)
    ]


def test_our_own_weights_are_as_good_as_their_card_says(
    shared: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = load().card.get("metrics")
    if metrics is None:
        pytest.skip("the weights in this tree are provisional: their card has no metrics")
    data = shared / "data" / "kaggle"
    assert fkp_train("evaluate", "--data", data, "--index", data / "training_index.csv", "--hold-out", "--json") == 0
    judged = json.loads(capsys.readouterr().out)
    assert not caplog.records
    assert judged["kaggle_weighted"] == pytest.approx(metrics["kaggle_weighted"], abs=0.01)
    assert judged["kaggle_weighted"] <= 1.16
