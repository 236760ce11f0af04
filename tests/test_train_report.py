"""The report of a training: one page that needs nothing from elsewhere and says what the figures say."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from faces import write_training_csv

from tracker.backends.weights import DEFAULT_DIR, load
from tracker.errors import DataError, SinkError
from tracker.spec import KEYPOINTS
from train.data.kaggle import Faces, read_training
from train.judge.evaluate import Judged
from train.judge.report import judge_hold_out, try_report, write_report
from train.metrics import face_rmse

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

HISTORY = """\
{"stage": "teacher-1", "step": 250, "loss": 8.1, "faces_per_s": 9.0, "kaggle_weighted": 2.9, "A": 2.8, "B": 3, "C": 3.1}
{"stage": "net", "step": 250, "loss": 9.1, "faces_per_s": 90.0, "kaggle_weighted": 3.2, "A": 2.8, "B": 3.1, "C": 3.6}
{"stage": "net", "step": 8250, "loss": 5.4, "faces_per_s": 91.0, "kaggle_weighted": 2.1, "A": 1.8, "B": 2.0, "C": 2.4}
"""


class Page(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.drawn: list[str] = []
        """The classes of marks."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("href", "src", "srcset", "xlink:href", "data") if name in found]
        if tag == "circle":
            self.drawn.append(str(found.get("class")))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    path = write_training_csv(tmp_path_factory.mktemp("data") / "training.csv", "A" * 20 + "B" * 20 + "C" * 20)
    return read_training(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own weights as a run leaves them."""
    folder = tmp_path_factory.mktemp("run")
    for path in DEFAULT_DIR.glob("fkp*"):
        shutil.copy(path, folder)
    (folder / "history.jsonl").write_text(HISTORY)
    return folder


@pytest.fixture(scope="module")
def judged(run: Path, faces: Faces) -> Judged:
    return judge_hold_out(load(run), faces)


@pytest.fixture(scope="module")
def page(run: Path, faces: Faces) -> str:
    return write_report(run, faces, run, overwrite=False).read_text(encoding="utf-8")


def charts(page: str) -> Iterator[ElementTree.Element]:
    """The page's drawings, each of which must be well-formed for itself."""
    for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        yield ElementTree.fromstring(text)


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    links = Page(page).links
    assert links
    assert [link[:40] for link in links if not link.startswith(("data:image/png;base64,", "#"))] == []
    assert not re.findall(r"@import|url\((?!#)|<script|<link|<iframe", page)


def test_charts_take_their_colours_from_the_page_and_keep_their_words(page: str) -> None:
    names = [chart.get("aria-label") for chart in charts(page)]
    wanted = ["Learning curves", "Error of each keypoint by scheme", "Published scores"]
    assert [name for name in names if name][:5] == [*wanted, "Calibration by keypoint", "Reliability"]
    assert ">Kaggle-weighted, teachers<" in page
    assert "#010203" not in page
    assert "#040506" not in page
    assert "prefers-color-scheme: dark" in page
    for name in KEYPOINTS:
        assert page.count(f">{name.replace('_', ' ')}<") >= 2, name


def test_the_page_says_the_figures_of_the_weights(page: str, judged: Judged) -> None:
    assert f"<b>{judged.report.kaggle_weighted:.3f}</b>px, Kaggle-weighted" in page
    assert f"<b>{judged.report.calibration['all'][0]:.1%}</b>within 1 sigma" in page
    assert f"<b>{load().card['macs'] / 1e6:.1f} M</b>multiply-adds" in page
    assert f"hold-out of {judged.report.faces} faces" in page


def test_the_worst_faces_come_first_with_every_label_and_prediction(page: str, judged: Judged) -> None:
    errors = -np.sort(-face_rmse(judged.predicted, judged.faces.points))
    shown = re.findall(r"<figcaption><b>([\d.]+) px</b> · row (\d+)", page)
    assert [float(error) for error, _ in shown] == pytest.approx(errors, abs=0.006)
    assert {int(row) for _, row in shown} == set(judged.faces.row.tolist())
    drawn = Page(page).drawn
    assert drawn.count("truth") == np.isfinite(judged.faces.points).all(2).sum()
    assert drawn.count("guess") > drawn.count("truth")  # predictions, and the targets of augmented faces


def test_faces_known_to_be_bad_are_not_judged(run: Path, faces: Faces, judged: Judged) -> None:
    row = judged.faces.row[0]
    doubted = faces.problem.copy()
    doubted[faces.row == row] = True
    assert row not in judge_hold_out(load(run), replace(faces, problem=doubted)).faces.row
    with pytest.raises(DataError, match=r"no face of training\.csv can judge"):
        judge_hold_out(load(run), replace(faces, problem=np.ones_like(faces.problem)))


def test_the_page_warns_when_the_data_is_not_what_the_weights_learned_from(page: str) -> None:
    assert "is not the file that these weights were trained on" in page


def test_the_same_run_gives_the_same_page_and_none_is_replaced_unasked(page: str, run: Path, faces: Faces) -> None:
    with pytest.raises(SinkError, match=r"report\.html exists already; add --overwrite"):
        write_report(run, faces, run, overwrite=False)
    random = torch.get_rng_state()
    again = write_report(run / "fkp.onnx", faces, run, overwrite=True).read_text(encoding="utf-8")
    assert again == page
    assert torch.equal(torch.get_rng_state(), random)


def test_lines_of_the_history_that_are_cut_are_left_out(run: Path, faces: Faces, page: str, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    cut = HISTORY.splitlines()[1][:30]
    (folder / "history.jsonl").write_bytes(f"{cut}{HISTORY.splitlines()[1]}\n{HISTORY}[1]\n{cut}".encode() + b"\xff")
    assert write_report(folder, faces, tmp_path, overwrite=False).read_text(encoding="utf-8") == page


def test_curves_of_another_training_are_not_shown(run: Path, faces: Faces, tmp_path: Path) -> None:
    """A training that replaces weights writes its history before its own weights."""
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "history.jsonl").write_text(HISTORY.replace("8250", "500"))
    page = write_report(folder, faces, tmp_path, overwrite=False).read_text(encoding="utf-8")
    assert "is not that of their training" in page
    assert "Learning curves" not in page


def test_four_point_faces_alone_and_no_history_make_a_page_all_the_same(tmp_path: Path) -> None:
    faces = read_training(write_training_csv(tmp_path / "training.csv", "C" * 12))
    page = write_report(DEFAULT_DIR, faces, tmp_path, overwrite=False).read_text(encoding="utf-8")
    assert "no history.jsonl" in page
    assert "<b>–</b>px, Kaggle-weighted" in page
    assert "this network, hold-out" not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "training.csv"]


def test_a_card_with_words_for_numbers_makes_a_page_all_the_same(tmp_path: Path) -> None:
    for path in DEFAULT_DIR.glob("fkp*"):
        shutil.copy(path, tmp_path)
    card = json.loads((tmp_path / "fkp.json").read_text())
    fit = card["training"]["fit"]
    fit["augmentation"] = dict.fromkeys(fit["augmentation"], "some")
    (tmp_path / "fkp.json").write_text(json.dumps(card | {"parameters": "many"}))
    faces = read_training(write_training_csv(tmp_path / "training.csv", "C" * 12))
    page = write_report(tmp_path, faces, tmp_path, overwrite=False).read_text(encoding="utf-8")
    assert "<b>?</b>parameters" in page
    assert "today's default settings" in page


def test_a_report_that_cannot_be_written_is_one_line_and_no_failure(
    run: Path,
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    (folder / "report.html").unlink(missing_ok=True)
    (folder / "report.html").mkdir()  # no file can take that name
    with monkeypatch.context() as patch:
        patch.setattr("train.judge.report._page", lambda *_: "drawn in other tests")
        try_report(folder, faces)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    try_report(folder, faces)
    messages = (record.getMessage() for record in caplog.records)
    blocked, missing = (message for message in messages if message.startswith("no report"))
    assert re.match(r"no report: .*report\.html is a folder.*; then fkp-train report", blocked)
    assert re.match(r"no report: .*matplotlib.*; pip install \"fkp\[train\]\", then fkp-train report", missing)
    assert load(folder).card["name"] == "fkp"
