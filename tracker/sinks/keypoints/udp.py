r"""Keypoints as UDP datagrams of JSON: for each frame the line a JSONL file would hold, also without faces.

`jsonl` describes its shape; each ends in "\n".  A frame whose faces do not fit in 8192 bytes (about ten do)
is sent as several datagrams with the same `frame`, all but the last with `"more": true`.
"""

from collections.abc import Iterator
from typing import Any

from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.datagrams import LARGEST_BYTES, open_datagrams
from tracker.sinks.keypoints.record import as_json, record_of
from tracker.support.address import Address


def open_udp(address: Address) -> Sink:
    """Records to the program that listens at `address`.  Raises SinkError when no network leads there."""
    return open_datagrams(address, lambda tracked: payloads(record_of(tracked)))


def payloads(record: dict[str, Any]) -> Iterator[bytes]:
    """The JSON of one frame, its faces divided evenly among as many datagrams as they need."""
    content = as_json(record).encode() + b"\n"
    faces = record["faces"]
    if len(content) <= LARGEST_BYTES or len(faces) < 2:
        yield content
        return
    half = len(faces) // 2
    yield from payloads({**record, "faces": faces[:half], "more": True})
    yield from payloads({**record, "faces": faces[half:]})
