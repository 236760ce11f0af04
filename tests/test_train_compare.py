"""`fkp-train compare`: one table of all recipes, kept as it grows."""

import json
import math
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faces import write_index, write_training_csv
from programs import fkp_train

from tracker.support.process import Stopped
from train.data.kaggle import Faces, read_training
from train.metrics import kaggle_weighted
from train.recipes.compare import Options, chosen_recipes, compare
from train.recipes.comparison_table import Board, Row
from train.recipes.contract import Fitted, Recipe, Terms

torch.set_num_threads(1)

SCHEMES = "A" * 14 + "B" * 8 + "C" * 9
FIGURES = {"A": 1.0, "C": math.nan}
ROW = Row("net", 10, 1_234_567, 4_560_000, FIGURES, 1.25, 1.125, None, 1.5, None, 2.04, True, ("3 of 9 epochs",))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", SCHEMES)


def fkp_compare(data: Path, out: Path, *more: str | Path) -> int:
    return fkp_train("compare", "--data", data, "--out", out, "--budget", "0.001", *more)


def kept(out: Path) -> dict[str, Any]:
    return json.loads((out / "compare.json").read_text())


def message(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on stderr; nothing on stdout."""
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


@pytest.mark.slow
def test_one_table_is_printed_and_kept_as_markdown_and_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare"
    assert fkp_compare(data, out, "--recipes", "knn,simple,ours-shipped") == 0
    printed = capsys.readouterr().out
    document = (out / "compare.md").read_text()
    content = kept(out)
    assert {row["recipe"] for row in content["rows"]} == {"knn", "simple", "ours-shipped"}
    for row in content["rows"]:
        assert row["recipe"] in printed
        assert f"{row['kaggle_weighted']:.3f}" in printed
        assert f"| {row['recipe']} |" in document
    simple = next(row for row in content["rows"] if row["recipe"] == "simple")
    assert (simple["cut_short"], simple["published_kaggle"]) == (True, 2.5)
    assert simple["by_scheme"].keys() == {"A", "B", "C"}
    assert "| cut short |" in document
    assert "cut short" in printed
    assert content["head"]["command"] == "fkp-train compare --data training.csv --budget 0.001"
    assert content["head"]["command"] in document
    assert str(tmp_path) not in document


@pytest.mark.slow
def test_recipes_that_are_done_are_kept_and_not_done_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fkp_compare(data, tmp_path, "--recipes", "knn") == 0
    (before,) = kept(tmp_path)["rows"]
    assert fkp_compare(data, tmp_path, "--recipes", "knn*") == 0
    after = {row["recipe"]: row for row in kept(tmp_path)["rows"]}
    assert after.keys() == {"knn", "knn-augmented"}
    assert after["knn"] == before
    assert fkp_compare(data, tmp_path, "--recipes", "knn", "--overwrite") == 0
    assert [row["recipe"] for row in kept(tmp_path)["rows"]] == ["knn"]


def means(faces: Faces, _terms: Terms) -> Fitted:
    mean = np.nanmean(faces.points, 0)
    return Fitted(lambda images, _scheme: np.stack([mean] * len(images)), rows=len(faces.images))


def test_a_stop_leaves_what_was_done(data: Path, tmp_path: Path) -> None:
    def stopped(_faces: Faces, _terms: Terms) -> Fitted:
        raise Stopped(signal.SIGINT)

    recipes = (Recipe("means", means), Recipe("stopped", stopped))
    options = Options(data=data, out=tmp_path, recipes=recipes, budget_minutes=0.001)
    with pytest.raises(Stopped):
        compare(options)
    assert [row["recipe"] for row in kept(tmp_path)["rows"]] == ["means"]
    board = compare(replace(options, recipes=(Recipe("means", stopped), Recipe("stopped", means))))
    assert board.rows.keys() == {"means", "stopped"}


def test_a_recipe_learns_to_its_end_and_as_its_authors_dealt_the_rows(data: Path, tmp_path: Path) -> None:
    learned: list[tuple[Faces, Terms]] = []

    def noted(faces: Faces, terms: Terms) -> Fitted:
        learned.append((faces, terms))
        path = terms.checkpoint("net")
        assert path is not None
        if len(learned) == 2:
            path.write_text("half")
            raise Stopped(signal.SIGTERM)
        return means(faces, terms)

    index = write_index(tmp_path / "index.csv", SCHEMES, bad={0})
    options = Options(data=data, index=index, out=tmp_path, recipes=(Recipe("noted", noted, 2.5),), budget_minutes=None)
    with pytest.raises(Stopped):
        compare(options)
    assert kept(tmp_path)["rows"][0]["as_published"] is None
    half = tmp_path / "noted-random-rows.net.safetensors"
    assert half.read_text() == "half"
    row = compare(options).rows["noted"]
    assert len(learned) == 3  # what was done before the stop is not done again
    assert not half.exists()
    assert all(math.isinf(terms.ends_at) for _, terms in learned)
    held, random = learned[0][0], learned[2][0]
    assert not np.isnan(random.points).any()
    assert 0 in random.row  # the authors knew of no bad rows
    assert np.isfinite([row.complete_rows, row.as_published]).all()
    assert row.rows == len(held.images)
    document = (tmp_path / "compare.md").read_text()
    assert "Each recipe learned to its own end" in document
    assert "compare --data training.csv --index index.csv --to-the-end" in document


def test_only_a_recipes_own_checkpoints_are_forgotten_when_it_is_done_or_starts_again(
    data: Path, tmp_path: Path
) -> None:
    recipes = (Recipe("means", means), Recipe("means-augmented", means))
    options = Options(data=data, out=tmp_path, recipes=recipes[:1], budget_minutes=None)
    own, dealt, others = (tmp_path / f"means{kind}.net.safetensors" for kind in ("", "-random-rows", "-augmented"))
    for path in (own, dealt, others):
        path.touch()
    compare(options)
    assert [path.exists() for path in (own, dealt, others)] == [False, False, True]
    compare(options)  # it was done before
    assert others.exists()
    seen = []
    started = Recipe("means-augmented", lambda faces, terms: seen.append(others.exists()) or means(faces, terms))
    compare(replace(options, recipes=(started,), overwrite=True))
    assert seen == [False]


def test_recipes_never_see_the_faces_that_judge_them(data: Path, tmp_path: Path) -> None:
    seen: list[Faces] = []

    def watched(faces: Faces, terms: Terms) -> Fitted:
        seen.append(faces)
        return means(faces, terms)

    index = write_index(tmp_path / "index.csv", SCHEMES, bad={0, 15})
    options = Options(data=data, index=index, out=tmp_path, recipes=(Recipe("watched", watched),), budget_minutes=1)
    row = compare(options).rows["watched"]
    faces = read_training(data, index=index)
    held = faces.held
    assert seen[0].row.tolist() == np.flatnonzero(~held & ~faces.problem).tolist()
    judges = faces.only(held & ~faces.problem)
    predicted = np.stack([np.nanmean(seen[0].points, 0)] * len(judges.images))
    assert row.kaggle_weighted == kaggle_weighted(predicted, judges.points, judges.scheme)
    assert row.rows == len(seen[0].images)


def test_recipes_learn_on_the_terms_that_were_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Faces, Terms]] = []

    def watched(faces: Faces, terms: Terms) -> Fitted:
        seen.append((faces, terms))
        return means(faces, terms)

    monkeypatch.setattr("train.recipes.compare.RECIPES", (Recipe("watched", watched),))
    index = write_index(tmp_path / "index.csv", SCHEMES, bad=range(5))
    assert fkp_compare(data, tmp_path / "plain", "--device", "cpu") == 0
    assert fkp_compare(data, tmp_path / "out", "--index", index, "--device", "cpu", "--download") == 0
    (every, offline), (good, online) = seen
    assert len(every.row) > len(good.row) == len(set(good.row) - set(range(5)))
    assert (offline.download, online.download) == (False, True)
    assert online.device == torch.device("cpu")


def test_a_folder_with_another_comparison_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fkp_compare(data, tmp_path, "--recipes", "knn") == 0
    before = (tmp_path / "compare.json").read_bytes()
    capsys.readouterr()
    assert fkp_compare(data, tmp_path, "--recipes", "knn", "--budget", "0.002") == 7
    assert "comparison with {'budget_minutes': 0.001}, not {'budget_minutes': 0.002}; choose" in message(capsys)
    assert (tmp_path / "compare.json").read_bytes() == before
    (tmp_path / "compare.json").write_text('{"precious": 1}')
    assert fkp_compare(data, tmp_path, "--recipes", "knn") == 7
    assert "compare.json is not the record of a comparison" in message(capsys)
    assert (tmp_path / "compare.json").read_text() == '{"precious": 1}'


def test_bad_input_is_one_message_before_any_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fkp_compare(data, tmp_path / "out", "--recipes", "knn,resnet") == 2
    assert "there is no recipe 'resnet'; choose from knn, knn-augmented, cnn0" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
    assert fkp_compare(tmp_path / "no.csv", tmp_path / "out") == 7
    assert "no.csv does not exist" in message(capsys)
    (tmp_path / "file").write_text("precious")
    assert fkp_compare(data, tmp_path / "file") == 6
    assert f"cannot write to {tmp_path / 'file'}" in message(capsys)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert fkp_compare(data, tmp_path / "out", "--recipes", "simple,knn") == 1
    assert 'the recipe knn needs sklearn: pip install "fkp[recipes]"' in message(capsys)
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_teach_a_recipe_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_training_csv(tmp_path / "training.csv", "AABBCC")
    assert fkp_compare(data, tmp_path / "out", "--recipes", "simple") == 7
    assert "training.csv leaves 2 faces with all keypoints labelled" in message(capsys)
    data = write_training_csv(tmp_path / "training.csv", "A")
    assert fkp_compare(data, tmp_path / "out", "--recipes", "simple") == 7
    assert "leaves no face to learn from or none to judge by" in message(capsys)


def test_data_without_a_scheme_is_told_by_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_training_csv(tmp_path / "training.csv", "A" * 30)
    with caplog.at_level("INFO", "train"):
        compare(Options(data=data, out=tmp_path, recipes=(Recipe("means", means),), budget_minutes=0.001))
    assert re.fullmatch(r"means: \d\.\d{3} px in scheme A after 0\.0 min", caplog.messages[-1])


def test_a_budget_and_no_end_exclude_each_other(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fkp_compare(data, tmp_path, "--to-the-end") == 2
    assert "leave out --budget" in capsys.readouterr().err


def test_names_may_be_patterns() -> None:
    assert [recipe.name for recipe in chosen_recipes(["ours", "cnn3*"])] == ["cnn3", "cnn3-augmented", "ours"]
    assert len(chosen_recipes(["transfer-*"])) == 12


def board(folder: Path) -> Board:
    head = {
        "command": "fkp-train compare",
        "sha256_of_csv": "0",
        "learned_from": {"A": 7, "B": 2, "C": 1},
        "judged_by": {"A": 2, "B": 0, "C": 0},
        "budget_minutes": 2.0,
        "on": "cpu, 1 threads",
    }
    return Board.open(folder, head, overwrite=False)


def test_the_board_puts_the_best_first_and_what_has_no_figure_last(tmp_path: Path) -> None:
    for name, figure in (("worse", 3.0), ("unknown", math.nan), ("best", 1.0)):
        board(tmp_path).add(replace(ROW, recipe=name, kaggle_weighted=figure))
    assert [row.recipe for row in board(tmp_path).ranked()] == ["best", "worse", "unknown"]
    text = (tmp_path / "compare.md").read_text()
    assert text.index("| best |") < text.index("| worse |") < text.index("| unknown |")
    assert "10 (A 7, B 2, C 1)" in text
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare.md"}


def test_a_terminal_is_told_only_of_the_columns_that_it_shows(tmp_path: Path) -> None:
    whole = board(tmp_path)
    whole.add(ROW)
    caption, document = str(whole.table().caption), whole.markdown()
    for column in ("all 15", "random rows", "validation", "Kaggle"):
        assert f"\n- {column}: " in document
        assert (f"\n- {column}: " in caption) == (column == "Kaggle")


def test_a_row_says_what_it_knows_and_nothing_where_it_knows_nothing(tmp_path: Path) -> None:
    assert ROW.cells() == {
        "recipe": "net",
        "rows": "10",
        "parameters": "1,234,567",
        "M MACs": "4.6",
        "A": "1.000",
        "B": "",
        "C": "",
        "weighted": "1.250",
        "all 15": "1.125",
        "random rows": "",
        "validation": "1.5",
        "Kaggle": "",
        "minutes": "2.0",
        "finished": "cut short",
        "notes": "3 of 9 epochs",
    }
    board(tmp_path).add(ROW)
    read = board(tmp_path).rows["net"]
    assert math.isnan(read.by_scheme["C"])
    assert replace(read, by_scheme=ROW.by_scheme) == ROW
