"""Keypoint files as one tidy pandas table: .jsonl, .csv or .parquet in, the same DataFrame out.

One row per face and frame, with the columns of `sinks.records.TABLE`: `frame` and `face` int64, `image` string (missing
for films), all others float64.  A frame without a face has no row, an unknown pose is NaN.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import DataError
from tracker.sinks.keypoints.jsonl import VERSION
from tracker.sinks.keypoints.record import TABLE, rows_of

if TYPE_CHECKING:
    import pandas


def read(path: str | Path) -> "pandas.DataFrame":
    """The faces in a keypoint file that `fkp-track` wrote; a run that was killed leaves JSONL and CSV readable too.

    Raises DataError when the file is missing or not one of ours, ImportError without the extra `table`.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} does not end in one of {', '.join(READERS)}; write one with fkp-track --keypoints")
    try:
        import pandas

        path.stat()
        table = reader(path)
        _require_columns(table.columns)
        kinds = {"frame": "int64", "face": "int64", "image": "string"}
        ours: pandas.DataFrame = table.reindex(columns=list(TABLE)).astype(
            {name: kinds.get(name, "float64") for name in TABLE}
        )
    except ImportError as error:
        raise ImportError(f"tables need more than the base installation: pip install 'fkp[table]' ({error})") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or _one_line(error)}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{path} is not a keypoint file of ours: {_one_line(error)}; expected what --keypoints writes"
        ) from error
    return ours


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _read_jsonl(path: Path) -> "pandas.DataFrame":
    import pandas

    with path.open(encoding="utf-8") as lines:
        return pandas.DataFrame(list(_rows(lines)), columns=list(TABLE))


def _rows(lines: Iterator[str]) -> Iterator[list[Any]]:
    """The rows of a JSON Lines file.  Raises ValueError with the number of a line that is not as it should be."""
    header = json.loads(next(lines, "null"))
    if not isinstance(header, dict) or header.get("fkp") != VERSION:
        raise ValueError(f'its first line is no header with "fkp": {VERSION}')
    for number, line in enumerate(lines, start=2):
        try:
            rows = rows_of(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"line {number}: {error!r}") from error
        for row in rows:
            if len(row) != len(TABLE):
                raise ValueError(f"line {number}: a face with {len(row)} values, expected {len(TABLE)}")
            yield row


def _read_csv(path: Path) -> "pandas.DataFrame":
    import pandas

    return pandas.read_csv(path)


def _read_parquet(path: Path) -> "pandas.DataFrame":
    import pandas

    return pandas.read_parquet(path, engine="pyarrow")


READERS: dict[str, Callable[[Path], "pandas.DataFrame"]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""By suffix."""


def _require_columns(names: Any) -> None:
    missing = [name for name in TABLE if name not in names and name != "image"]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
