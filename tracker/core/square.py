"""Pictures with pixels that are not square: detection and display use square pixels, results use the stored ones.

In: Frames as they are stored, with the shape of their pixels.  The network does not know squeezed faces: their yaw is
off by up to 7 degrees if pixels are twice as wide as high, by 0.1 in square ones.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from tracker.types import Box, Face, Frame, Image, Tracked


def shown_scale(aspect: float) -> tuple[float, float]:
    """By what columns and rows grow so that pixels `aspect` times as wide as high become square; nothing shrinks."""
    return max(aspect, 1.0), max(1 / aspect, 1.0)


def shown_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Width and height of a picture in square pixels."""
    across, down = shown_scale(aspect)
    return round(width * across), round(height * down)


def squared(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames in square pixels; each keeps what was stored."""
    for frame in frames:
        yield frame if frame.aspect == 1 else _square(frame)


def as_stored(results: Iterable[Tracked], *, changed: bool) -> Iterator[Tracked]:
    """Results on `squared` frames in stored px; `changed` says that their pictures are not only larger."""
    for tracked in results:
        stored = tracked.frame.stored
        if stored is None:
            yield tracked
            continue
        height, width = stored.image.shape[:2]
        image = _resized(tracked.frame.image, width, height) if changed else stored.image
        across, down = shown_scale(stored.aspect)
        yield _scaled(tracked, replace(stored, image=image), 1 / across, 1 / down)


def as_shown(tracked: Tracked) -> Tracked:
    """A result in stored px in square ones."""
    frame = tracked.frame
    return tracked if frame.aspect == 1 else _scaled(tracked, _square(frame), *shown_scale(frame.aspect))


def _square(frame: Frame) -> Frame:
    height, width = frame.image.shape[:2]
    image = _resized(frame.image, *shown_size(width, height, frame.aspect))
    return replace(frame, image=image, aspect=1.0, stored=frame)


def _resized(image: Image, width: int, height: int) -> Image:
    shrinks = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _scaled(tracked: Tracked, frame: Frame, across: float, down: float) -> Tracked:
    """The same faces in px that are `across` times as narrow and `down` times as low."""
    size = math.sqrt(across * down)
    return replace(
        tracked,
        frame=frame,
        faces=tuple(_scaled_face(face, across, down) for face in tracked.faces),
        keypoints=tracked.keypoints * np.array([across, down], np.float32),
        sigma=tracked.sigma * np.float32(size),
    )


def _scaled_face(face: Face, across: float, down: float) -> Face:
    box, region = face.box, face.region
    return replace(
        face,
        box=Box(box.left * across, box.top * down, box.right * across, box.bottom * down),
        region=replace(region, x=region.x * across, y=region.y * down, side=region.side * math.sqrt(across * down)),
    )
