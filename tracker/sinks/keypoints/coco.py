"""Keypoints as one JSON document in COCO's keypoint format, for annotation tools and trainers.

Images and annotations are those of https://cocodataset.org/#format-data: a bbox is left, top, width, height, a keypoint
x, y, 2 (visible).  Frames of a film are named as CVAT and others extract them, `frame_000000.png`.  In addition to
the format, annotations have score, track_id, sigma, pose and signals, and images have frame and time.

Annotations are written first, as they arrive; images wait in memory, about 150 bytes each.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tracker.drawing.skeleton import PAIRS
from tracker.sinks.contract import Sink
from tracker.sinks.keypoints.record import Header, Output, open_output, record_of
from tracker.spec import KEYPOINTS
from tracker.types import Tracked

VISIBLE = 2
CATEGORY_ID = 1


class Coco:
    """A COCO document being written."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._images: list[str] = []
        self._faces = 0

    def write(self, tracked: Tracked) -> None:
        """Append the frame's annotations.  Raises SinkError when they cannot be written."""
        self._output.has_frames = True
        record = record_of(tracked)
        height, width = tracked.frame.image.shape[:2]
        name = record.get("image", f"frame_{record['frame']:06}.png")
        image = {"id": record["frame"], "file_name": name, "width": width, "height": height}
        self._images.append(_json(image | {"frame": record["frame"], "time": record["time"]}))
        for face in record["faces"]:
            before = "," if self._faces else ""
            self._faces += 1  # ids begin at 1: pycocotools takes 0 for none
            self._output.write(
                f"{before}\n{_json({'id': self._faces, 'image_id': record['frame'], **_annotation(face)})}"
            )

    def close(self) -> None:
        """Write the images and move the file into place, unless writing failed; a second call does nothing."""
        if not self._output.closed:
            images = ",\n".join(self._images)
            self._output.write(f'\n],\n"images": [\n{images}\n]}}\n')
            self._output.close()


def open_coco(path: Path, header: Header, overwrite: bool) -> Sink:
    """Begin a COCO document.  Raises SinkError when `path` exists without `overwrite`, or cannot be written."""
    output = open_output(path, overwrite=overwrite)
    skeleton = [[start + 1, end + 1] for start, end in PAIRS]
    face = {"id": CATEGORY_ID, "name": "face", "supercategory": "person", "keypoints": KEYPOINTS, "skeleton": skeleton}
    info = {"description": "facial keypoints by fkp", **dataclasses.asdict(header)}
    output.write(f'{{"info": {_json(info)},\n"categories": {_json([face])},\n"annotations": [')
    return Coco(output)


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


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
