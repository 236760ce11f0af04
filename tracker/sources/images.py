"""Pictures from disk: one, or a folder of them in the order a person would count.

Out: Frames, BGR uint8, turned upright by their EXIF tag, timestamp 0, named after their file; sizes may differ.
"""

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.errors import SourceError
from tracker.sources.contract import Source, SourceInfo, existing
from tracker.types import Frame

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)
"""Names that mean a picture, lower case."""


class Images(Source):
    """Pictures being read; `skipped` counts those that could not be."""

    def __init__(self, info: SourceInfo, frames: Iterator[Frame], unreadable: list[Path]) -> None:
        self.info = info
        self._frames = frames
        self._unreadable = unreadable
        self._closed = False

    @property
    def skipped(self) -> int:
        return len(self._unreadable)

    def __iter__(self) -> Iterator[Frame]:
        return itertools.takewhile(lambda _: not self._closed, self._frames)

    def close(self) -> None:
        self._closed = True


def open_images(path: Path) -> Images:
    """Open a picture or a folder and read the first picture.

    Raises SourceError when `path` is missing, the folder holds no pictures, or none of them can be read.
    """
    paths = _pictures(path)
    unreadable: list[Path] = []
    frames = _read(paths, unreadable)
    first = next(frames, None)
    if first is None:
        which = "it" if path.is_file() else f"any of its {len(paths)} pictures"
        raise SourceError(f"{path}: OpenCV cannot read {which}; check that the content is a picture, e.g. JPEG or PNG")
    height, width = first.image.shape[:2]
    info = SourceInfo("images", str(path), width, height, None, len(paths), path)
    return Images(info, itertools.chain([first], frames), unreadable)


def _pictures(path: Path) -> Sequence[Path]:
    if not existing(path).is_dir():
        return [path]
    try:
        inside = [item for item in path.iterdir() if item.suffix.lower() in SUFFIXES and not item.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{path} cannot be listed: {error.strerror}; check its permissions") from error
    if not inside:
        raise SourceError(f"{path} contains no pictures; looked for {', '.join(sorted(SUFFIXES))}")
    return sorted(inside, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[str, int]], str]:
    """Sorting key under which img2 comes before img10."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", path.name)
    return [(text.casefold(), int(number or 0)) for text, number in parts], path.name


def _read(paths: Sequence[Path], unreadable: list[Path]) -> Iterator[Frame]:
    """The pictures that can be read, numbered from 0; the others are warned of and put in `unreadable`."""
    index = 0
    for path in paths:
        image = _decode(path)
        if image is None:
            unreadable.append(path)
            log.warning("skipped %s: not a readable picture", path)
            continue
        yield Frame(image, index, 0.0, path.name)
        index += 1


def _decode(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 BGR, or None.  Not cv2.imread: on Windows that fails for names beyond the code page."""
    try:
        image: NDArray[np.uint8] | None = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return image
