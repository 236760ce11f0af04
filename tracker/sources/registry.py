"""Where frames come from: a film, pictures, a camera, or the demo that needs none of them.

`open_source` picks; each kind has its own opener.  All raise SourceError when there is nothing to read.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.sources.contract import Source
from tracker.support.address import STDIN, StreamUrl
from tracker.types import Frame

if TYPE_CHECKING:
    from tracker.sources.camera import Wish


def open_source(
    source: Path | StreamUrl | None,
    *,
    camera: int | StreamUrl = 0,
    demo: bool = False,
    wish: "Wish | None" = None,
    stream: int | None = None,
) -> Source:
    """The demo if requested; else the stream, film, picture or folder at `source`; else camera `camera`.

    `wish` says how a camera should send its pictures, `stream` which picture of a film with several is meant.
    """
    if demo:
        return open_demo()
    if source is None:
        if not isinstance(camera, StreamUrl):
            return open_camera(camera, wish)
        source = camera
    if isinstance(source, StreamUrl):
        from tracker.sources.stream import open_stream

        return open_stream(source, stream)
    if source == STDIN:
        from tracker.sources.pipe import open_pipe

        return open_pipe(*(wish[:3] if wish else (None, None, None)), stream)
    from tracker.sources.images import SUFFIXES

    if os.path.isdir(source) or source.suffix.lower() in SUFFIXES:
        return open_images(source)
    return open_film(source, stream)


def open_film(path: Path, stream: int | None = None) -> Source:
    """A film with every frame at its true time; see `tracker.sources.film`."""
    from tracker.sources import film  # PyAV is loaded only for films

    return film.open_film(path, stream)


def open_images(path: Path) -> Source:
    """A picture or a folder of pictures; see `tracker.sources.images`."""
    from tracker.sources import images

    return images.open_images(path)


def open_camera(index: int = 0, wish: "Wish | None" = None) -> Source:
    """The newest frames of a camera; see `tracker.sources.camera`."""
    from tracker.sources import camera

    return camera.open_camera(index, wish or camera.AS_IT_LIKES)


def open_demo() -> Source:
    """Ten seconds of a synthetic person in front of a webcam; see `tracker.sources.demo`."""
    from tracker.sources import demo

    return demo.open_demo()


def mirrored(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Each frame mirrored.  Results are mirrored too: a right eye becomes a left one."""
    import cv2

    for frame in frames:
        yield replace(frame, image=cv2.flip(frame.image, 1))
