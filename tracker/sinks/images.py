"""Annotated pictures: pictures in, pictures out.

In: `Tracked` whose frame has a name and an annotated image, BGR.  Out: a folder with the same names in the same
formats, or one file for one picture.  Each file appears complete or not at all.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tracker.errors import SinkError
from tracker.sinks.contract import Sink, Writer
from tracker.sources.contract import SourceInfo
from tracker.support.atomic import clear_leftovers, refuse_existing, write_whole
from tracker.types import Image, Tracked

JPEG_QUALITY = 95
FORMATS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)),
    **dict.fromkeys((".jp2", ".png", ".bmp", ".tif", ".tiff"), ()),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, JPEG_QUALITY),
}
"""The suffixes that are written, each with OpenCV's options."""

PROFILED = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp"})
"""The formats that OpenCV writes with a colour profile."""


def open_images(path: Path, info: SourceInfo, *, overwrite: bool) -> Sink:
    """Annotated pictures in the folder `path`, which is created if necessary; one picture may go to a file instead.

    Raises SinkError when a file that would be written exists without `overwrite` or is the source itself, when `path`
    fits neither a folder nor a picture, or when the folder cannot be made.
    """
    assert info.path is not None, "pictures come from a file or a folder"
    into_folder = path.is_dir() or path.suffix.lower() not in FORMATS or not info.path.is_file()
    if into_folder and path.suffix and not path.is_dir():
        if info.path.is_file():
            raise SinkError(f"{path}: cannot write pictures as {path.suffix}, only {', '.join(FORMATS)}")
        raise SinkError(f"{path} looks like a file, but these pictures need a folder; try {path.with_suffix('')}")

    def place(name: str) -> Path:
        return path / output_name(name) if into_folder else path

    pictures = [*info.path.iterdir()] if info.path.is_dir() else [info.path]
    for picture in pictures:
        target = place(picture.name)
        if target.exists() and target.samefile(picture):
            raise SinkError(f"{target} is the source itself; choose another place")
        if picture.is_file():
            refuse_existing(target, overwrite=overwrite)
    folder = path if into_folder else path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    clear_leftovers([place(picture.name) for picture in pictures], keep=False)

    def write(tracked: Tracked) -> None:
        target = place(tracked.frame.name)
        write_whole(target, encode(tracked.frame.image, target, tracked.frame.profile), overwrite=overwrite)

    return Writer(write)  # every picture is complete at once


def output_name(name: str) -> str:
    """The name itself, with `.png` added if its format cannot be written."""
    return name if Path(name).suffix.lower() in FORMATS else f"{name}.png"


def encode(image: Image, target: Path, profile: bytes = b"") -> bytes:
    """A BGR image (H, W, 3) in the format of `target`'s suffix, with its colour profile if that format has one.

    Raises SinkError when the format cannot hold the image.
    """
    suffix = target.suffix.lower()
    encoded, content = False, np.empty(0, np.uint8)
    with suppress(cv2.error):  # OpenCV 4 raises where OpenCV 5 answers False
        if profile and suffix in PROFILED and hasattr(cv2, "imencodeWithMetadata"):
            chunks: Any = [np.frombuffer(profile, np.uint8)]
            kinds = [cv2.IMAGE_METADATA_ICCP]
            encoded, content = cv2.imencodeWithMetadata(suffix, image, kinds, chunks, FORMATS[suffix])
        else:
            encoded, content = cv2.imencode(suffix, image, FORMATS[suffix])
    if not encoded:
        height, width = image.shape[:2]
        raise SinkError(f"cannot write {target}: {width}x{height} px do not fit {suffix}; choose .png")
    return bytes(content)
