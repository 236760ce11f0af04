"""Kaggle's submission file: right values in the right order, complete or not at all."""

from pathlib import Path

import numpy as np
import pytest

from tracker.errors import DataError, SinkError
from tracker.spec import COLUMNS
from train.data.schemes import C_KEYPOINTS, A, B, C
from train.judge.submit import asked_scheme, read_lookup, write_submission

C_COLUMNS = [f"{name}_{axis}" for name in C_KEYPOINTS for axis in "xy"]


def write_lookup(path: Path, asked: dict[int, list[str]]) -> Path:
    lines = [f"{image},{column}" for image, columns in asked.items() for column in columns]
    path.write_text("RowId,ImageId,FeatureName,Location\n" + "".join(f"{i},{x},\n" for i, x in enumerate(lines, 1)))
    return path


@pytest.fixture
def lookup(tmp_path: Path) -> Path:
    """Kaggle's whole pattern: 27,124 values, with the genuine ids and, for 15-point images, some values not asked."""
    asked = {i: list(COLUMNS) for i in range(1, 592)}
    asked |= dict.fromkeys(range(592, 1784), C_COLUMNS)
    surplus = sum(map(len, asked.values())) - 27_124
    for i in range(450, 450 + surplus // 2):
        asked[i] = list(COLUMNS[:-2])
    return write_lookup(tmp_path / "IdLookupTable.csv", asked)


def test_every_row_gets_the_value_of_its_image_and_column(tmp_path: Path, lookup: Path) -> None:
    ids = np.random.default_rng(0).permutation(np.arange(1, 1784))
    points = ids[:, None, None] / 1783 * 50 + np.arange(30).reshape(15, 2)
    out = tmp_path / "submission.csv"
    write_submission(points, ids, read_lookup(lookup), out)
    lines = out.read_text().splitlines()
    assert lines[0] == "RowId,Location"
    assert len(lines) == 27_125
    table = read_lookup(lookup)
    written = np.array([line.split(",") for line in lines[1:]], np.float64)
    assert np.array_equal(written[:, 0], table.row_id)
    assert written[:, 1] == pytest.approx(table.image_id / 1783 * 50 + table.column, abs=1e-4)


def test_values_are_clipped_to_the_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write_lookup(tmp_path / "lookup.csv", {1: ["nose_tip_x", "nose_tip_y"]})
    points = np.full((1, 15, 2), np.nan)
    points[0, 10] = -3, 97
    write_submission(points, np.array([1]), read_lookup(table), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "RowId,Location\n1,0.0000\n2,96.0000\n"
    assert "asks for 2 values" in caplog.text


def test_scheme_follows_from_what_is_asked(tmp_path: Path) -> None:
    asked = {396: list(COLUMNS), 397: [*C_COLUMNS, "mouth_left_corner_x"], 592: C_COLUMNS, 782: C_COLUMNS[:6]}
    assert asked_scheme(read_lookup(write_lookup(tmp_path / "lookup.csv", asked))) == {396: A, 397: B, 592: C, 782: C}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column RowId, ImageId, FeatureName"),
        ("RowId,ImageId,FeatureName,Location\n", "has a header but asks for nothing"),
        ("RowId,Location\n1,2\n", "no column ImageId, FeatureName; expected RowId,ImageId,FeatureName"),
        ("RowId,ImageId,FeatureName,Location\n1,1,nose_tip_z,\n", "line 2: FeatureName is 'nose_tip_z'"),
        ("RowId,ImageId,FeatureName,Location\n1,x,nose_tip_x,\n", "line 2: ImageId is 'x'"),
        (f"RowId,ImageId,FeatureName,Location\n1,{'9' * 23},nose_tip_x,\n", "line 2: ImageId is '999"),
        (f"RowId,ImageId,FeatureName,Location\n1,1,{'n' * 140_000},\n", "line 2: field larger than field limit"),
        ("RowId,ImageId,FeatureName,Location\n1,1\n", "line 2: 2 columns, expected 4"),
        ("RowId,ImageId,FeatureName,Location\n1,1,nose_tip_x,\n1,1,nose_tip_y,\n", "a RowId occurs twice"),
    ],
)
def test_faulty_lookup_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "IdLookupTable.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_lookup(path)


def test_missing_lookup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_lookup(tmp_path / "nowhere.csv")


def test_images_that_were_not_predicted_are_named(tmp_path: Path, lookup: Path) -> None:
    with pytest.raises(DataError, match="1773 images that were not given, the first with id 11"):
        write_submission(np.zeros((10, 15, 2)), np.arange(1, 11), read_lookup(lookup), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_existing_file_is_kept_unless_told(tmp_path: Path, lookup: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious")
    points, ids = np.zeros((1783, 15, 2)), np.arange(1, 1784)
    with pytest.raises(SinkError, match="--overwrite"):
        write_submission(points, ids, read_lookup(lookup), out)
    assert out.read_text() == "precious"
    write_submission(points, ids, read_lookup(lookup), out, overwrite=True)
    assert out.read_text().startswith("RowId,Location\n1,0.0000\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["IdLookupTable.csv", "out.csv"]


def test_kaggles_own_table_asks_for_what_it_is_known_to(shared: Path) -> None:
    table = read_lookup(shared / "data" / "kaggle" / "IdLookupTable.csv")
    assert len(table.row_id) == 27_124
    kinds = list(asked_scheme(table).values())
    assert [kinds.count(kind) for kind in (A, B, C)] == [396, 195, 1192]
