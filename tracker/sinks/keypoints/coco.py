"""Keypoints as one JSON document in COCO's keypoint format, for annotation tools and trainers.

Images and annotations are those of https://cocodataset.org/#format-data: a bbox is left, top, width, height, a keypoint
x, y, 2 (visible).  Frames of a film are named as CVAT and others extract them, `frame_000000.png`.  In addition to
the format, annotations have score, track_id, sigma, pose and signals, and images have frame and time.

Annotations are written first, as they arrive; images wait in memory, about 150 bytes each.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from tracker.drawing.skeleton import PAIRS
from tracker.sinks.contract import Sink, Writer
from tracker.sinks.keypoints.record import Header, as_json, open_output, record_of
from tracker.spec import KEYPOINTS
from tracker.types import Tracked

VISIBLE = 2
CATEGORY_ID = 1


def open_coco(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a COCO document.  Raises SinkError as `open_output` does."""
    output = open_output(path, overwrite=overwrite)
    output.parts_are_readable = False
    skeleton = [[start + 1, end + 1] for start, end in PAIRS]
    kind = {"id": CATEGORY_ID, "name": "face", "supercategory": "person", "keypoints": KEYPOINTS, "skeleton": skeleton}
    info = {"description": "facial keypoints by fkp", **dataclasses.asdict(header)}
    output.write(f'{{"info": {as_json(info)},\n"categories": {as_json([kind])},\n"annotations": [')
    images: list[str] = []
    ids = itertools.count(1)  # pycocotools takes 0 for none

    def write(tracked: Tracked) -> None:
        output.has_frames = True
        record = record_of(tracked)
        height, width = tracked.frame.image.shape[:2]
        name = record.get("image", f"frame_{record['frame']:06}.png")
        image = {"id": record["frame"], "file_name": name, "width": width, "height": height}
        images.append(as_json(image | {"frame": record["frame"], "time": record["time"]}))
        for face, number in zip(record["faces"], ids, strict=False):
            before = "," if number > 1 else ""
            output.write(f"{before}\n{as_json({'id': number, 'image_id': record['frame'], **_annotation(face)})}")

    def close() -> None:
        if not output.closed:
            joined = ",\n".join(images)
            output.write(f'\n],\n"images": [\n{joined}\n]}}\n')
            output.close()

    return Writer(write, close)


def _annotation(face: dict[str, Any]) -> dict[str, Any]:
    """A face of a record, in COCO's terms."""
    left, top, right, bottom = face["box"]
    width, height = round(right - left, 3), round(bottom - top, 3)
    return {
        "category_id": CATEGORY_ID,
        "bbox": [left, top, width, height],
        "area": round(width * height, 3),
        "iscrowd": 0,
        "num_keypoints": len(KEYPOINTS),
        "keypoints": [value for x, y in face["points"] for value in (x, y, VISIBLE)],
        "score": face["score"],
        "track_id": face["id"],
        "sigma": face["sigma"],
        "pose": face["pose"],
        **{name: face[name] for name in ("signals",) if name in face},
    }
