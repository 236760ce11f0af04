"""Keypoint files as one tidy pandas table: a file of any of our formats, or a folder of them, in; a DataFrame out.

One row per face and frame, with the columns of `record.TABLE`: `frame` and `face` int64, `image` string (missing for
films), all others float64.  A frame without a face has no row; what a format lacks is NaN.  All is read by name.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import DataError
from tracker.sinks.keypoints.jsonl import VERSION
from tracker.sinks.keypoints.openface import COLUMNS as OPENFACE_COLUMNS
from tracker.sinks.keypoints.openface import IBUG, POSE
from tracker.sinks.keypoints.record import TABLE
from tracker.spec import KEYPOINTS
from tracker.types import Signals

if TYPE_CHECKING:
    import pandas

LEDGER = "fkp-batch.ndjson"
"""Where a batch records which film each of its files belongs to; see `tracker.batch.ledger`."""

POSE_PARTS = ("yaw", "pitch", "roll", "x", "y", "z")
BOX = tuple(f"box_{side}" for side in ("left", "top", "right", "bottom"))
MAY_LACK = frozenset({"image", *(f"pose_{part}" for part in POSE_PARTS), *Signals._fields})
"""Columns of ours in which a value may be missing."""
MAY_BE_ABSENT = frozenset({"image", *Signals._fields})
"""Columns that a file may be without: only pictures have names, and older files no signals."""

LARGEST_RATIO = 100
"""How many times as large as its file a Parquet table may be; ours are some four times as large."""
SMALL_BYTES = 100_000_000
"""A table of that size may be read whatever its file's."""


def read(path: str | Path) -> "pandas.DataFrame":
    """The faces in a keypoint file that `fkp-track` wrote; of a folder those in all files below it.

    The table of a folder has a first column `film`: the film's place below the folder of films, as a batch has written
    it down, else the keypoint file's own place without its suffix.  Raises DataError when a file is missing, not one of
    ours or cut off, ImportError without the extra `table`.
    """
    path = Path(path)
    try:
        import pandas  # noqa: F401

        return _of_folder(path) if path.is_dir() else _of_file(path)
    except ImportError as error:
        raise ImportError(f'tables need more than the base installation: pip install "fkp[table]" ({error})') from error


def _of_folder(folder: Path) -> "pandas.DataFrame":
    """Every keypoint file below `folder`, in the order of their names."""
    import pandas

    films = _films(folder)
    files = [path for path in sorted(folder.rglob("*")) if _suffix(path) is not None and _is_shown(path, folder)]
    if not files:
        raise DataError(f"{folder} contains no keypoint file: no name ends in {', '.join(READERS)}")
    names = [films.get(path, path.relative_to(folder).as_posix().removesuffix(_suffix(path) or "")) for path in files]
    doubled = min((name for name, count in Counter(names).items() if count > 1), default=None)
    if doubled is not None:
        first = [str(path) for path, name in zip(files, names, strict=True) if name == doubled]
        raise DataError(f"{' and '.join(first)} come from the same film; read a folder with only one format")
    tables = [_of_file(path) for path in files]
    for table, name in zip(tables, names, strict=True):
        table.insert(0, "film", pandas.array([name] * len(table), dtype="string"))
    return pandas.concat(tables, ignore_index=True)


def _films(folder: Path) -> dict[Path, str]:
    """Keypoint file -> film, as batches have written it down in `folder` or below."""
    found: dict[Path, str] = {}
    for ledger in (path for path in sorted(folder.rglob(LEDGER)) if path.is_file()):
        below = "" if ledger.parent == folder else ledger.parent.relative_to(folder).as_posix() + "/"
        for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                found |= {ledger.parent / output: below + entry["film"] for output in entry["outputs"]}
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # a torn line of a batch that was killed
    return found


def _is_shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _suffix(path: Path) -> str | None:
    """The longest of our suffixes that the name ends in."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), None)


def _of_file(path: Path) -> "pandas.DataFrame":
    suffix = _suffix(path)
    if suffix is None:
        raise DataError(f"{path} does not end in one of {', '.join(READERS)}; write one with fkp-track --keypoints")
    try:
        path.stat()
        return _ours(READERS[suffix](path))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or _one_line(error)}") from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{path} is not a keypoint file from fkp: {_one_line(error)}; expected what --keypoints writes"
        ) from error


def _ours(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """`table` with our columns in our order and types.  Raises ValueError for numbers that cannot be."""
    whole = ("frame", "face")
    table = table.reindex(columns=list(TABLE))
    for name in (name for name in TABLE if name != "image"):
        table[name] = table[name].astype("float64")
    for name in whole:
        odd = table.index[~(table[name] % 1 == 0)]
        if len(odd):
            raise ValueError(f"row {odd[0] + 1} has {name} {table[name][odd[0]]}, expected a whole number")
    return table.astype(dict.fromkeys(whole, "int64") | {"image": "string"})


def _one_line(error: Exception) -> str:
    text = " ".join((f"it has no {error}" if isinstance(error, KeyError) else str(error)).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _frame_of(rows: Iterator[dict[str, Any]]) -> "pandas.DataFrame":
    import pandas

    return pandas.DataFrame(list(rows), columns=list(TABLE))


def _read_jsonl(path: Path) -> "pandas.DataFrame":
    with path.open(encoding="utf-8") as lines:
        return _frame_of(_rows(lines))


def _rows(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file.  Raises ValueError with the number of a line that is not as it should be."""
    header = json.loads(next(lines, "null"))
    if not isinstance(header, dict) or header.get("fkp") != VERSION:
        raise ValueError(f'its first line is not a header with "fkp": {VERSION}')
    names = _names(header)
    for number, line in enumerate(lines, start=2):
        try:
            record = json.loads(line)
            frame = {key: record.get(key) for key in ("frame", "time", "image")}
            yield from (frame | _face(face, names) for face in record["faces"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"line {number}: {error!r}") from error


def _names(header: Mapping[str, Any]) -> Sequence[str]:
    """The keypoints in the order in which a file has them.  Raises ValueError if they are not ours."""
    names = header.get("keypoints", list(KEYPOINTS))
    if sorted(names) != sorted(KEYPOINTS):
        raise ValueError(f"its keypoints are {', '.join(map(str, names))}, expected our {len(KEYPOINTS)}")
    if header.get("space", "frame px") != "frame px":
        raise ValueError(f"its keypoints are in {header['space']}, expected frame px")
    return list(names)


def _face(face: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """One face of a record as values of columns.  Raises ValueError, TypeError, KeyError if it is not whole."""
    row = {"face": face["id"], "score": face["score"]}
    for name, (x, y) in zip(names, face["points"], strict=True):
        row |= {f"{name}_x": x, f"{name}_y": y}
    row |= {f"{name}_sigma": sigma for name, sigma in zip(names, face["sigma"], strict=True)}
    row |= dict(zip(BOX, face["box"], strict=True))
    row |= {} if face["pose"] is None else {f"pose_{part}": face["pose"][part] for part in POSE_PARTS}
    row |= {name: face["signals"][name] for name in Signals._fields} if face.get("signals") else {}
    for name, value in row.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{name} is {value!r}, expected a number")
    return row


def _read_coco(path: Path) -> "pandas.DataFrame":
    document = json.loads(path.read_text(encoding="utf-8"))
    names = document["categories"][0]["keypoints"] if isinstance(document, dict) and "images" in document else []
    images = {image["id"]: image for image in document["images"]} if names else {}
    if sorted(names) != sorted(KEYPOINTS):
        raise ValueError(f"its category does not have our {len(KEYPOINTS)} keypoints")
    return _frame_of(_coco_row(each, names, images[each["image_id"]]) for each in document["annotations"])


def _coco_row(annotation: Mapping[str, Any], names: Sequence[str], image: Mapping[str, Any]) -> dict[str, Any]:
    left, top, width, height = annotation["bbox"]
    face = {
        "id": annotation["track_id"],
        "score": annotation["score"],
        "points": list(zip(annotation["keypoints"][::3], annotation["keypoints"][1::3], strict=True)),
        "sigma": annotation["sigma"],
        "box": [left, top, round(left + width, 3), round(top + height, 3)],
        "pose": annotation["pose"],
        "signals": annotation.get("signals"),
    }
    name = None if image["file_name"] == f"frame_{image['frame']:06}.png" else image["file_name"]
    return {"frame": image["frame"], "time": image["time"], "image": name} | _face(face, names)


def _read_csv(path: Path) -> "pandas.DataFrame":
    table = _whole_csv(path)
    _require_columns(table.columns)
    holes = table[[name for name in TABLE if name not in MAY_LACK]].isna().to_numpy()
    if holes.any():
        row, column = (int(index[0]) for index in holes.nonzero())
        raise ValueError(f"line {row + 2} has no {[name for name in TABLE if name not in MAY_LACK][column]}")
    return table


def _whole_csv(path: Path) -> "pandas.DataFrame":
    """Raises ValueError for a file that ends in mid-line: its last number may be cut."""
    import pandas

    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        if size and file.read() != b"\n":
            raise ValueError("its last line is cut off; get a complete copy, or delete that line")
    return pandas.read_csv(path)


def _read_openface(path: Path) -> "pandas.DataFrame":
    """13 of the keypoints and the pose; the eye centres, sigma, the box and signals are not in that format."""
    table = _whole_csv(path)
    missing = [name for name in OPENFACE_COLUMNS if name not in table.columns and name != "image"]
    if missing:
        raise ValueError(f"it has no column {missing[0]}, as OpenFace's files have")
    seen = table[table["success"] == 1]
    ours = {f"{name}_{axis}": seen[f"{axis}_{number}"] for number, name in IBUG.items() for axis in "xy"}
    turns = dict(zip(("pitch", "yaw", "roll"), POSE[3:], strict=True))
    ours |= {f"pose_{part}": seen[column] * (180 / math.pi) for part, column in turns.items()}
    ours |= {f"pose_{part}": seen[column] for part, column in zip("xyz", POSE[:3], strict=True)}
    same = {"face": "face_id", "time": "timestamp", "score": "confidence"}
    ours |= {name: seen[column] for name, column in same.items()} | {"frame": seen["frame"] - 1}
    if "image" in seen.columns:
        ours["image"] = seen["image"]
    import pandas

    return pandas.DataFrame(ours).reset_index(drop=True)


def _read_parquet(path: Path) -> "pandas.DataFrame":
    """Only our columns, and only if their size is plausible: a small file may claim any number of rows."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        _require_columns(file.schema_arrow.names)
        needed, held = file.metadata.num_rows * 8 * len(TABLE), path.stat().st_size
        if needed > SMALL_BYTES and needed > LARGEST_RATIO * held:
            raise ValueError(f"its {held:,} bytes claim to be {file.metadata.num_rows:,} rows")
        return file.read(columns=[name for name in TABLE if name in file.schema_arrow.names]).to_pandas()


READERS: dict[str, Callable[[Path], "pandas.DataFrame"]] = {
    ".coco.json": _read_coco,
    ".openface.csv": _read_openface,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""By suffix, the longer ones first."""


def _require_columns(names: Any) -> None:
    missing = [name for name in TABLE if name not in names and name not in MAY_BE_ABSENT]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
