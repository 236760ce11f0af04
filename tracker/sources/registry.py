"""Picks the source that the user named."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2

from tracker.sources.camera import AS_IT_LIKES, Wish, open_camera
from tracker.sources.contract import Source
from tracker.sources.images import SUFFIXES, open_images
from tracker.support.address import STDIN, StreamUrl, stream_url
from tracker.types import Frame


def open_source(
    source: str | Path | None,
    *,
    camera: int | StreamUrl = 0,
    demo: bool = False,
    wish: Wish | None = None,
    stream: int | None = None,
) -> Source:
    """The demo if requested; else the stream, film, picture or folder at `source`; else camera `camera`.

    `wish` says how a camera should send its pictures, `stream` which picture of a film is meant.  Raises SourceError.
    """
    if demo:
        from tracker.sources.demo import open_demo  # NumPy's random numbers are loaded only for it

        return open_demo()
    if source is None:
        if not isinstance(camera, StreamUrl):
            return open_camera(camera, wish or AS_IT_LIKES)
        source = camera
    if isinstance(source, str):
        source = stream_url(source) or Path(source)
    if isinstance(source, StreamUrl):
        from tracker.sources.stream import open_stream

        return open_stream(source, stream)
    if source == STDIN:
        from tracker.sources.pipe import open_pipe

        return open_pipe(*(wish[:3] if wish else (None, None, None)), stream)
    if os.path.isdir(source) or source.suffix.lower() in SUFFIXES:
        return open_images(source)
    from tracker.sources.film import open_film  # PyAV is loaded only for films

    return open_film(source, stream)


def mirrored(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Each frame mirrored.  Results are mirrored too: a right eye becomes a left one."""
    for frame in frames:
        yield replace(frame, image=cv2.flip(frame.image, 1))
