"""Keypoints as Parquet: the table of `record.TABLE` for pandas, R, DuckDB and Spark.

One row per face and frame; `image` is null for films.  The file's metadata has a key `fkp`, a JSON object that says
where the keypoints come from.  Rows are written in groups as they arrive, but a Parquet file can only be read when it
is complete: for a recording that must survive a kill, choose JSONL or CSV.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import TABLE, Header, open_output, record_of, rows_of
from tracker.types import Tracked

ROWS_PER_GROUP = 2_000
"""Kept in memory until they are written: 5 MB, and 14 MB more during writing."""

TYPES = {"frame": pa.int64(), "face": pa.int64(), "image": pa.string()}


def open_parquet(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a Parquet file.  Raises SinkError as `open_output` does."""
    fields = [pa.field(name, TYPES.get(name, pa.float64())) for name in TABLE]
    schema = pa.schema(fields, metadata={"fkp": json.dumps(dataclasses.asdict(header))})
    output = open_output(path, overwrite=overwrite)
    output.parts_are_readable = False
    writer = ParquetWriter(output, schema, compression="zstd")
    rows: list[list[Any]] = []

    def write_group() -> None:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    def write(tracked: Tracked) -> None:
        output.has_frames = True
        rows.extend(rows_of(record_of(tracked)))
        if len(rows) >= ROWS_PER_GROUP:
            write_group()

    def close() -> None:
        if not output.closed:
            if rows:
                write_group()
            writer.close()
            output.close()

    return Writer(write, close)
