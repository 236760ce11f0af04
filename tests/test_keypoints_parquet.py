"""Parquet: one typed table, written in groups, that has its name only when it is whole."""

import json

import pyarrow.parquet
import pytest
from programs import no_file_longer_than
from test_keypoints_record import HEADER, tracked, write_all

from tracker.errors import SinkError
from tracker.sinks.keypoints import parquet
from tracker.sinks.keypoints.coco import open_coco
from tracker.sinks.keypoints.parquet import open_parquet
from tracker.sinks.keypoints.record import TABLE, record_of, rows_of


def test_a_file_has_a_row_for_every_face_with_its_types_and_says_where_it_comes_from(tmp_path):
    results = [tracked(0, 2), tracked(1, 0), tracked(2, 1)]
    write_all(open_parquet(tmp_path / "x.parquet", HEADER, overwrite=False), results)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == list(TABLE)
    assert {str(field.type) for field in table.schema} == {"int64", "double", "string"}
    rows = [list(row.values()) for row in table.to_pylist()]
    assert rows == [row for result in results for row in rows_of(record_of(result))]
    assert json.loads(table.schema.metadata[b"fkp"])["source"] == "talk.mp4"


def test_rows_are_written_in_groups_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 4)
    sink = open_parquet(tmp_path / "x.parquet", HEADER, overwrite=False)
    sizes = []
    for index in range(6):
        sink.write(tracked(index, 2, name=f"{index}.jpg"))
        sizes.append(next(tmp_path.iterdir()).stat().st_size)
    assert len(set(sizes)) == 4  # the magic bytes, then three groups
    sink.close()
    file = pyarrow.parquet.ParquetFile(tmp_path / "x.parquet")
    assert file.num_row_groups == 3
    assert file.read()["image"].to_pylist() == [f"{index}.jpg" for index in range(6) for _ in range(2)]


def test_without_a_face_there_is_an_empty_table(tmp_path):
    write_all(open_parquet(tmp_path / "x.parquet", HEADER, overwrite=False), [tracked(0, 0)])
    assert pyarrow.parquet.read_table(tmp_path / "x.parquet").shape == (0, len(TABLE))


@pytest.mark.parametrize("opener", [open_parquet, open_coco])
def test_a_full_disk_is_one_message_and_leaves_no_file_that_nothing_can_read(tmp_path, monkeypatch, opener):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 50)
    sink = opener(tmp_path / "x.parquet", HEADER, False)
    with no_file_longer_than(20_000), pytest.raises(SinkError, match=r"cannot write .*x\.parquet: .*; nothing is kept"):
        write_all(sink, [tracked(index, 1) for index in range(500)])
    sink.close()
    assert not list(tmp_path.iterdir())
