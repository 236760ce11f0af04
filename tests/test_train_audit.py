"""The label audit: what nobody's net believes comes first, nothing is judged by a net that learned it."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from faces import write_training_csv
from programs import fkp_train

from tracker.errors import DataError
from tracker.spec import INDEX
from train.data.kaggle import Faces, read_training
from train.data.split import folds
from train.judge.audit import Audit, Folds, audit_by_folds, audit_by_weights, forget_folds, write_audit
from train.learn.loop import Fit, FitConfig
from train.learn.model import NetConfig

torch.set_num_threads(1)

SMALL = NetConfig(stem=4, widths=(4, 6), depths=(0, 0), up_depths=(0,))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    path = write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", "A" * 12 + "B" * 8 + "C" * 10)
    return read_training(path)


def settings(out: Path, *, steps: int = 3) -> Folds:
    return Folds(
        out=out,
        count=3,
        device=torch.device("cpu"),
        checkpoint_every=1,
        fit=FitConfig(steps=steps, batch=(4,)),
        net=SMALL,
    )


@pytest.fixture(scope="module")
def done(faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Audit]:
    out = tmp_path_factory.mktemp("audit")
    return out, audit_by_folds(faces, settings(out))


def test_a_wrong_label_is_the_first_suspect(faces: Faces) -> None:
    """Judged by our own weights, which know such a face."""
    held = np.flatnonzero(faces.held)
    points = faces.points.copy()
    points[held[1], INDEX["nose_tip"]] += [12, -9]
    audit = audit_by_weights(replace(faces, points=points), None)
    assert audit.position.tolist() == held.tolist()
    assert audit.ranking[0].tolist() == [1, INDEX["nose_tip"]]
    assert audit.distance_px[1, INDEX["nose_tip"]] == pytest.approx(15, abs=5)


@pytest.mark.slow
def test_every_label_is_judged_once(faces: Faces, done: tuple[Path, Audit]) -> None:
    audit = done[1]
    assert audit.position.tolist() == list(range(30))
    labels = np.argwhere(np.isfinite(faces.points).all(2)).tolist()
    assert sorted(audit.ranking.tolist()) == labels
    distances = audit.distance_sigma[tuple(audit.ranking.T)]
    assert (np.diff(distances) <= 0).all()


@pytest.mark.slow
def test_no_net_judges_what_it_learned_from(faces: Faces, done: tuple[Path, Audit], tmp_path: Path) -> None:
    """Labels of one fold are spoiled: the answers for that fold stay what they were, those for the others do not."""
    spoiled = faces.points.copy()
    fold = folds(faces.group, faces.scheme, 3, seed=0) == 0
    spoiled[fold] += 9
    after, before = audit_by_folds(replace(faces, points=spoiled), settings(tmp_path)).predicted, done[1].predicted
    assert np.array_equal(after[fold], before[fold], equal_nan=True)
    assert not np.array_equal(after[~fold], before[~fold], equal_nan=True)


@pytest.mark.slow
def test_finished_folds_are_kept_and_half_a_fold_goes_on(
    faces: Faces, done: tuple[Path, Audit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = done
    assert sorted(path.name for path in out.iterdir()) == [f"fold-{k}-of-3.safetensors" for k in (1, 2, 3)]
    (tmp_path / "fold-1-of-3.safetensors").write_bytes((out / "fold-1-of-3.safetensors").read_bytes())
    kept = (tmp_path / "fold-1-of-3.safetensors").stat().st_mtime_ns
    run, steps = Fit.run, []

    def stopping(fit: Fit, count: int) -> float:
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(count)
        return run(fit, count)

    monkeypatch.setattr(Fit, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        audit_by_folds(faces, settings(tmp_path))
    monkeypatch.undo()
    assert (tmp_path / "fold-2-of-3.safetensors").exists()
    resumed = audit_by_folds(faces, settings(tmp_path))
    assert np.array_equal(resumed.predicted, whole.predicted, equal_nan=True)
    assert (tmp_path / "fold-1-of-3.safetensors").stat().st_mtime_ns == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"fold-{k}-of-3.safetensors" for k in (1, 2, 3)]


@pytest.mark.slow
def test_folds_of_another_audit_are_refused(faces: Faces, done: tuple[Path, Audit], tmp_path: Path) -> None:
    out = done[0]
    with pytest.raises(DataError, match=r"belongs to a run with .*'steps': 3"):
        audit_by_folds(faces, settings(out, steps=4))
    with pytest.raises(DataError, match=r"belongs to a run with .*'origin'"):
        audit_by_folds(replace(faces, points=faces.points + 1), settings(out))
    (tmp_path / "fold-1-of-3.safetensors").write_bytes(b"half a fold")
    with pytest.raises(DataError, match=r"is not a checkpoint .*; start again with --overwrite"):
        audit_by_folds(faces, settings(tmp_path))


def test_an_audit_that_begins_anew_finds_nothing_of_another(faces: Faces, tmp_path: Path) -> None:
    for name in ("fold-1-of-3.safetensors", "fold-2-of-3.safetensors"):
        (tmp_path / name).write_bytes(b"of another audit")
    (tmp_path / "audit.csv").write_bytes(b"replaced when it is done")
    forget_folds(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["audit.csv"]


@pytest.mark.slow
def test_the_list_and_the_picture(faces: Faces, done: tuple[Path, Audit], tmp_path: Path) -> None:
    audit = replace(done[1], faces=replace(faces, row=faces.row + 100, problem=faces.row == 3))
    write_audit(audit, tmp_path, overwrite=False)
    with (tmp_path / "audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(audit.ranking)
    assert [float(line["distance_sigma"]) for line in lines] == sorted(
        (float(line["distance_sigma"]) for line in lines), reverse=True
    )
    assert all(int(line["kaggle_row"]) == int(line["row"]) + 100 for line in lines)
    assert {line["row"] for line in lines if line["known_problem"]} == {"3"}
    (nose,) = [line for line in lines if line["row"] == "3" and line["keypoint"] == "nose_tip"]
    x, y = faces.points[3, INDEX["nose_tip"]]
    assert (float(nose["label_x"]), float(nose["label_y"])) == pytest.approx((x, y), abs=1e-3)
    off = np.hypot(float(nose["predicted_x"]) - x, float(nose["predicted_y"]) - y)
    assert float(nose["distance_px"]) == pytest.approx(off, abs=2e-3)
    height, width = cv2.imread(str(tmp_path / "audit.png")).shape[:2]
    assert min(height, width) > 1000
    for name in ("audit.csv", "audit.png"):
        (tmp_path / name).rename(tmp_path / "moved")
        assert fkp_train("audit", "--data", "x", "--out", tmp_path) == 6
        (tmp_path / "moved").rename(tmp_path / name)


def test_the_summary_counts_doubts_and_known_rows(faces: Faces) -> None:
    sigma = np.full(faces.points.shape[:2], 1.0, np.float32)
    predicted = faces.points.copy()
    predicted[3, 0] += 4
    predicted[5, 1] += 3
    problem = np.isin(np.arange(30), [3, 7])
    text = str(Audit(replace(faces, problem=problem), predicted, sigma, np.arange(30)))
    assert text.startswith("2 of ")
    assert "1 of the 2 rows known to be bad are in the most doubtful 1 %" in text
    assert str(Audit(faces, predicted, sigma, np.arange(30))).endswith("sigma off")  # none is known to be bad
