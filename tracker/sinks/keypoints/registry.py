"""The formats of keypoint files: the suffixes that mean each, and who opens it.  No format is imported until then."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tracker.sinks.modules import module
from tracker.support.address import flows

if TYPE_CHECKING:
    from tracker.sinks.contract import Sink
    from tracker.sinks.keypoints.record import Header

FormatName = Literal["jsonl", "csv", "parquet", "openface", "coco"]


class Format(NamedTuple):
    """One way to write keypoints down."""

    suffixes: tuple[str, ...]
    """Suffixes of its files.  The longest match decides; among equal ones, the first format below."""
    open: Callable[[Path, "Header", bool], "Sink"]
    """(path or STDOUT, header, overwrite) -> sink.  Raises SinkError."""


FORMATS: dict[FormatName, Format] = {
    "jsonl": Format((".jsonl",), lambda *asked: module("keypoints.jsonl").open_jsonl(*asked)),
    "csv": Format((".csv",), lambda *asked: module("keypoints.csv").open_csv(*asked)),
    "parquet": Format((".parquet",), lambda *asked: module("keypoints.parquet", "parquet").open_parquet(*asked)),
    "openface": Format((".openface.csv", ".csv"), lambda *asked: module("keypoints.openface").open_openface(*asked)),
    "coco": Format((".coco.json", ".json"), lambda *asked: module("keypoints.coco").open_coco(*asked)),
}
"""Every format by the name a user types."""

RECORDS: tuple[str, ...] = tuple(dict.fromkeys(suffix for format in FORMATS.values() for suffix in format.suffixes))
"""Every suffix of a keypoint file."""


def format_of(path: Path, asked: FormatName | None) -> FormatName | None:
    """The format to write `path` in; None if neither its name nor the user says.

    The format `asked` for applies to stdout, to names with one of its suffixes and to names without a known suffix.  A
    name with another format's suffix keeps that format, so that several formats can be written at once.
    """
    name = path.name.lower()
    said = max(
        ((suffix, known) for known, format in FORMATS.items() for suffix in format.suffixes if name.endswith(suffix)),
        key=lambda match: len(match[0]),
        default=(None, "jsonl" if flows(path) else None),
    )[1]
    nameless = flows(path) or said is None
    may_bear = nameless or (asked is not None and name.endswith(FORMATS[asked].suffixes))
    return asked if asked is not None and may_bear else said
