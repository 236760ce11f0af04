"""Keypoints as Parquet: the table of `records.TABLE` for pandas, R, DuckDB and Spark.

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

from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.record import TABLE, Header, Output, open_output, record_of, rows_of
from tracker.types import Tracked

ROWS_PER_GROUP = 2_000
"""Kept in memory until they are written: 5 MB, and 14 MB more during writing."""

TYPES = {"frame": pa.int64(), "face": pa.int64(), "image": pa.string()}


class Parquet:
    """A Parquet file being written."""

    def __init__(self, output: Output, schema: pa.Schema) -> None:
        self._output = output
        self._schema = schema
        self._writer = ParquetWriter(output, schema, compression="zstd")
        self._rows: list[list[Any]] = []

    def write(self, tracked: Tracked) -> None:
        """Take the frame's rows.  Raises SinkError when a group cannot be written."""
        self._output.has_frames = True
        self._rows += rows_of(record_of(tracked))
        if len(self._rows) >= ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write what is left and move the file into place, unless writing failed; a second call does nothing."""
        if not self._output.closed:
            if self._rows:
                self._write_group()
            self._writer.close()
            self._output.close()

    def _write_group(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


def open_parquet(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a Parquet file.  Raises SinkError when `path` exists without `overwrite`, or cannot be written."""
    fields = [pa.field(name, TYPES.get(name, pa.float64())) for name in TABLE]
    origin = {"fkp": json.dumps(dataclasses.asdict(header))}
    return Parquet(open_output(path, overwrite=overwrite), pa.schema(fields, metadata=origin))
