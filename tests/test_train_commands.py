"""The commands of `fkp-train` beside the training, and the data that a training may be given besides Kaggle's."""

import csv
import json
import re
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from faces import cut_faces, write_index, write_training_csv
from programs import fkp_train

from tracker.backends.tensorrt.guard import installed
from tracker.backends.weights import DEFAULT_DIR, load
from tracker.errors import DataError, WeightsError
from tracker.spec import INDEX, SIZE
from train.data.faces68 import IBUG, LANDMARKS, LEFT_EYE, RIGHT_EYE, TABLE, read_faces68
from train.data.kaggle import read_training
from train.export.from_onnx import net_of
from train.judge.evaluate import asking
from train.judge.places import note_places
from train.learn.distill import TeachConfig
from train.learn.loop import FitConfig
from train.learn.model import Net, NetConfig, predicted
from train.learn.signals_fit import SignalsConfig, fitted
from train.rebuild import Options, rebuild

torch.set_num_threads(1)

SCHEMES = "A" * 12 + "B" * 8 + "C" * 8
CARTOON = 1
"""A row that the index says is none to learn from."""
LABELS = 15 * 20 + 4 * 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", SCHEMES)


@pytest.fixture(scope="module")
def index(data: Path) -> Path:
    """Pairs of duplicates, and a cartoon."""
    return write_index(data.with_name("training_index.csv"), SCHEMES, [CARTOON])


@pytest.fixture(scope="module")
def faces68(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait three times, with the landmarks that some keypoint is made of; the rest are missing."""
    folder, size = tmp_path_factory.mktemp("faces68"), 2 * SIZE
    lines = [["image", *(f"{axis}_{i}" for i in range(LANDMARKS) for axis in "xy")]]
    for number, (image, points) in enumerate(zip(*cut_faces(3, size=size), strict=True)):
        landmarks = np.full((LANDMARKS, 2), np.nan)
        landmarks[LEFT_EYE], landmarks[RIGHT_EYE] = points[INDEX["left_eye_center"]], points[INDEX["right_eye_center"]]
        for name, ibug in IBUG.items():
            landmarks[ibug] = points[INDEX[name]]
        cv2.imwrite(str(folder / f"{number}.png"), image)
        numbers = (landmarks + (size - SIZE) / 2).reshape(-1)
        lines.append([f"{number}.png", *("" if np.isnan(x) else f"{x:.2f}" for x in numbers)])
    (folder / TABLE).write_text("".join(",".join(line) + "\n" for line in lines))
    return folder


def message(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on stderr."""
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def turned(faces68: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with what is visible, how they are turned and who they are."""
    folder = shutil.copytree(faces68, tmp_path_factory.mktemp("more") / "turned")
    header, *lines = (faces68 / TABLE).read_text().splitlines()
    more = [f"{line},{'2' * 40 + '0' * 28},60,{person}" for person, line in enumerate(lines)]
    (folder / TABLE).write_text("\n".join([f"{header},visible,yaw,person", *more]) + "\n")
    return folder


@pytest.mark.slow
def test_faces_from_elsewhere_are_learned_from_and_named_in_the_card(
    data: Path, index: Path, faces68: Path, turned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the export and the report, which other tests make."""
    cards: list[dict[str, Any]] = []
    heads: list[object] = []

    def note(_net: Net, _out: Path, facts: dict[str, Any], head: object = None) -> None:
        cards.append(facts)
        heads.append(head)

    monkeypatch.setattr("train.rebuild.write_weights", note)
    monkeypatch.setattr("train.rebuild.fitted", lambda _net, sets, _config: ("a head", {"sets": len(sets)}))
    monkeypatch.setattr("train.rebuild.try_report", lambda out, faces: None)
    small = NetConfig(stem=4, widths=(4, 6), inners=(4, 6), kernels=(3, 3), depths=(0, 1), up_depths=(0,))
    options = Options(
        data=data,
        index=index,
        extra=(faces68, turned),
        unlabelled=(faces68,),
        start=DEFAULT_DIR,
        out=tmp_path,
        device="cpu",
        fit=FitConfig(steps=1),
        teach=TeachConfig(steps=1, nets=1, net=small, views=1),
    )
    stages = [progress.stage for progress in rebuild(options)]
    assert stages == ["teacher-1", "net"]
    assert heads == ["a head"]
    assert cards[0]["signals"]["held_out"] == {"sets": 2}
    training = cards[0]["training"]
    assert [entry["file"] for entry in training["extra"]] == [faces68.name, turned.name]
    assert [entry["file"] for entry in (*training["unlabelled"], *training["start"])] == [
        faces68.name,
        "fkp-schemes.onnx",
    ]
    assert training["fit"]["batch"] == (84, 18, 34, 10, 14)
    assert training["rows_left_out"] == [CARTOON]
    for word in (f"--index {index.name}", f"--extra {turned.name}", f"--unlabelled {faces68.name}", "--start weights"):
        assert word in training["command"]


def test_a_run_is_not_resumed_with_other_pictures_in_its_folder(data: Path, faces68: Path, tmp_path: Path) -> None:
    more = shutil.copytree(faces68, tmp_path / "more")
    options = Options(data=data, extra=(more,), out=tmp_path / "run", device="cpu", teach=TeachConfig(nets=0))
    options = replace(options, fit=FitConfig(steps=3, batch=(2,)))
    with closing(rebuild(options)) as run:
        next(run)
    shutil.copy(more / "0.png", more / "1.png")
    with pytest.raises(DataError, match="belongs to a run with"):
        next(rebuild(replace(options, resume=True)))


def test_faces_without_lids_and_inner_lips_teach_no_signals(faces68: Path, turned: Path) -> None:
    with pytest.raises(DataError, match="too few to fit and judge signals"):
        fitted(Net(), [read_faces68(faces68), read_faces68(turned)], SignalsConfig())


@pytest.mark.parametrize("option", ["--index", "--extra", "--unlabelled"])
def test_an_input_that_is_not_there_is_one_message(
    option: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nowhere"
    assert fkp_train("--data", data, "--out", tmp_path / "out", "--quick", option, missing) == 7
    assert str(missing) in message(capsys)


def test_training_goes_on_from_exactly_what_the_weights_say(data: Path) -> None:
    images = read_training(data).images
    points, sigma = asking(load())(images)
    said, doubt = predicted(net_of(load()), images)
    np.testing.assert_allclose(said, points, atol=1e-4)
    np.testing.assert_allclose(doubt, sigma, rtol=1e-3)


def test_weights_of_another_shape_are_no_start(tmp_path: Path) -> None:
    for path in DEFAULT_DIR.glob("fkp*"):
        shutil.copy(path, tmp_path)
    shutil.copy(tmp_path / "fkp.onnx", tmp_path / "fkp-schemes.onnx")  # scheme A's outputs only
    with pytest.raises(WeightsError, match="is not the network with 34 outputs that the card"):
        net_of(load(tmp_path))
    card = json.loads((tmp_path / "fkp.json").read_text())
    card["schemes"]["sha256"] = card["sha256"]
    (tmp_path / "fkp.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="does not contain a network of the shape that this fkp-train trains"):
        net_of(load(tmp_path))


def test_weights_with_a_changed_bit_are_no_start(tmp_path: Path) -> None:
    for path in DEFAULT_DIR.glob("fkp*"):
        shutil.copy(path, tmp_path)
    content = bytearray((tmp_path / "fkp-schemes.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "fkp-schemes.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match="is not the network with 34 outputs that the card"):
        net_of(load(tmp_path))


@pytest.mark.parametrize(
    "command", [["evaluate", "--hold-out"], ["audit", "--weights", DEFAULT_DIR], ["report", DEFAULT_DIR]], ids=str
)
def test_rows_without_labels_judge_nothing(
    command: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = data.read_text().splitlines()
    path = tmp_path / "training.csv"
    path.write_text("\n".join([header, *("," * 30 + row.split(",")[30] for row in rows)]) + "\n")
    out = [] if command[0] == "evaluate" else ["--out", tmp_path / "out"]
    assert fkp_train(*command, "--data", path, *out) == 7
    assert re.search("no face of training.csv can judge|no labelled face of training.csv is held out", message(capsys))


@pytest.mark.parametrize(
    "command",
    [
        ["--data", "x", "--seed", "-1"],
        ["signals", "--faces", "x", "--weights", "y", "--seed", "-1"],
        ["signals", "--faces", "x", "--weights", "y", "--seed", str(2**64)],
        ["compare", "--data", "x", "--budget", "inf"],
    ],
    ids=str,
)
def test_numbers_that_nothing_can_use_are_exit_code_2(command: list[str]) -> None:
    assert fkp_train(*command) == 2


@pytest.mark.slow
def test_a_report_goes_where_it_is_wanted_and_replaces_only_when_asked(
    data: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("precious")
    command = ["report", DEFAULT_DIR, "--data", data, "--index", index, "--out", tmp_path]
    assert fkp_train(*command) == 6
    assert "add --overwrite" in message(capsys)
    assert (tmp_path / "report.html").read_text() == "precious"
    assert fkp_train(*command, "--overwrite") == 0
    assert "px, Kaggle-weighted" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_audit_by_folds_lists_every_label_and_is_not_done_twice(
    data: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", "--data", data, "--index", index, "--out", tmp_path, "--device", "cpu"]
    assert fkp_train(*command, "--folds", "2", "--steps", "1") == 0
    with (tmp_path / "audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == LABELS
    assert {line["row"] for line in lines if line["known_problem"]} == {str(CARTOON)}
    assert (tmp_path / "audit.png").exists()
    assert fkp_train(*command) == 6
    assert "add --overwrite" in message(capsys)


@pytest.mark.slow
def test_an_audit_by_weights_judges_the_hold_out_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.csv").write_text("of before")
    command = ["audit", "--data", data, "--weights", DEFAULT_DIR, "--out", tmp_path]
    assert fkp_train(*command, "--overwrite") == 0
    with (tmp_path / "audit.csv").open(newline="") as file:
        assert 4 <= len(list(csv.DictReader(file))) < LABELS / 2


def test_photographs_judge_the_whole_tracker(faces68: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fkp_train("wild", "--faces", faces68, "--weights", DEFAULT_DIR) == 0
    judged = json.loads(capsys.readouterr().out)
    assert (judged["faces"], judged["missed"]) == (3, 0)
    assert 0 < judged["error_without_offsets_percent"] < judged["error_percent"] < 10
    assert fkp_train("wild", "--faces", faces68, "--weights", "nowhere.onnx") == 4
    assert fkp_train("wild", "--faces", faces68, "--peer-model", "face_landmarker.task") == 2


def test_the_hold_out_of_turned_photographs_is_a_tenth_of_the_persons(
    turned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fkp_train("wild", "--faces", turned, "--hold-out") == 7
    assert "is held out from training; leave out --hold-out" in message(capsys)
    folder = shutil.copytree(turned, tmp_path / "turned")
    table = (folder / TABLE).read_text()
    (folder / TABLE).write_text(re.sub(r",60,2$", ",60,6", table, flags=re.MULTILINE))  # a person who is held out
    assert fkp_train("wild", "--faces", folder, "--hold-out") == 0
    assert json.loads(capsys.readouterr().out)["faces"] == 1


def test_the_other_forms_of_finished_weights_are_made_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("fkp.onnx", "fkp.json"):
        shutil.copy(DEFAULT_DIR / name, tmp_path)
    assert fkp_train("export", "--weights", tmp_path) == 0
    for name in ("fkp-cpu.onnx", "fkp-fp16.onnx"):
        assert (tmp_path / name).read_bytes() == (DEFAULT_DIR / name).read_bytes()
    code = fkp_train("export", "--weights", tmp_path, "--tensorrt", "--precision", "fp16")
    if installed("tensorrt-rtx") or installed("tensorrt"):
        assert code == 0
        assert "fp16" in caplog.text
    else:
        assert (code, 'pip install "fkp[rtx]"' in message(capsys)) == (5, True)


@pytest.mark.slow
def test_weights_are_judged_by_the_data_of_their_run(
    data: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(DEFAULT_DIR, tmp_path / "run", ignore=shutil.ignore_patterns("*.md", "*.py", "__pycache__"))
    moved = shutil.copy(data, tmp_path / "training.csv"), shutil.copy(index, tmp_path / "an index.csv")
    note_places(run, *map(Path, moved))
    judge = ["evaluate", "--weights", run, "--hold-out", "--json"]

    def judged(*more: str | Path) -> dict[str, object]:
        assert fkp_train(*judge, *more) == 0
        return json.loads(capsys.readouterr().out)

    with_index, without = judged("--data", data, "--index", index), judged("--data", data)
    assert with_index != without  # two ways to deal the rows
    assert judged() == judged("--data", moved[0]) == with_index
    assert fkp_train("report", run, "--out", tmp_path / "page") == 0
    assert fkp_train("audit", "--weights", run / "fkp.onnx", "--out", tmp_path / "audit") == 0
    Path(moved[1]).unlink()
    assert fkp_train(*judge) == 7
    assert "which its training read, is gone; add --data .../training.csv --index .../an index.csv" in message(capsys)
    assert judged("--index", index) == with_index
    Path(moved[0]).unlink()
    assert fkp_train(*judge) == 7
    assert "training.csv, which its training read, is gone; add --data .../training.csv" in message(capsys)
    (run / "places.json").write_text("[1]")
    assert fkp_train(*judge) == 7
    assert "does not say where its data lies; add --data PATH" in message(capsys)
    assert fkp_train("evaluate", "--weights", tmp_path / "nowhere") == WeightsError.exit_code
    assert "nowhere: No such file" in message(capsys)
    assert fkp_train("evaluate") == 2
    assert "give --data PATH, or --weights" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.slow
def test_sigma_of_finished_weights_is_fitted_again(
    data: Path, faces68: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", "--data", data, "--out", tmp_path / "out"]
    assert fkp_train(*command, "--extra", faces68) == 7
    assert "too few labelled points" in message(capsys)
    assert fkp_train(*command, *(["--extra", faces68] * 3)) == 0
    before, after = load(), load(tmp_path / "out")
    images = read_training(data).images
    (points, sigma), (same, others) = (asking(each)(images) for each in (before, after))
    np.testing.assert_allclose(points, same, atol=1e-5)
    assert np.abs(np.log(others / sigma)).max() > 0.01
    assert after.noted("calibration", "doubt_fitted_on")["photographs"] == 3 * 2 * 45
    assert after.card["training"] == before.card["training"]
    assert after.card["metrics"] != before.card["metrics"]
    assert fkp_train(*command, "--extra", faces68) == 6


def test_sigma_is_fitted_again_only_to_data_that_is_there(
    index: Path, faces68: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, out = tmp_path / "nowhere", tmp_path / "out"
    words = ["calibrate", "--weights", DEFAULT_DIR, "--data", missing, "--index", index, "--out", out, "--overwrite"]
    assert fkp_train(*words, "--extra", faces68) == 7
    assert f"{missing} does not exist" in message(capsys)
    assert not list(tmp_path.iterdir())


def test_signals_are_fitted_only_to_faces_that_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere"
    assert fkp_train("signals", "--weights", DEFAULT_DIR, "--faces", missing, "--seed", "1") == 7
    assert f"{missing} does not exist" in message(capsys)
