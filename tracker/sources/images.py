"""Pictures from disk: one, or a folder of them in the order a person would count.

Out: Frames, BGR uint8, turned upright, timestamp 0, named after their file, with their colour profile; sizes may
differ.  Of a file with several pictures the first one.
"""

import itertools
import logging
import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from tracker.errors import SourceError
from tracker.sources.contract import TOO_LARGE, Source, SourceInfo, existing
from tracker.types import Frame, Image

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of pictures, lower case."""

HEIF = frozenset({".avif", ".heic", ".heif", ".hif"})
"""Pictures that are encoded like films."""

PAGED = frozenset({".png", ".tif", ".tiff", ".webp"})
"""Formats whose files may contain several pictures."""

OTHERS = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".emf", ".eps", ".exr", ".gif", ".hdr", ".ico", ".jxl", ".jxr", ".nef"}
    | {".orf", ".pcx", ".pef", ".psd", ".raf", ".raw", ".rw2", ".srw", ".svg", ".tga", ".xcf"}
)
"""Formats that are not read; for a folder, the number of such files is logged."""


def open_images(path: Path) -> Source:
    """Open a picture or a folder and read the first picture.

    Raises SourceError when `path` is missing, the folder holds no pictures, or none of them can be read.
    """
    paths = _pictures(path)
    unreadable: list[SourceError] = []
    frames = _read(paths, unreadable)
    first = next(frames, None)
    if first is None:
        none = f"{path}: none of its {len(paths)} pictures can be read; the first one, " if len(paths) > 1 else ""
        raise SourceError(f"{none}{paths[0]}: {unreadable[0]}")
    height, width = first.image.shape[:2]
    info = SourceInfo("images", str(path), width, height, None, len(paths), path)
    closed = threading.Event()
    shown = itertools.takewhile(lambda _: not closed.is_set(), itertools.chain([first], frames))
    return Source(info, shown, closed.set, lambda: len(unreadable))


def _pictures(path: Path) -> Sequence[Path]:
    if not existing(path).is_dir():
        return [path]
    try:
        inside = [item for item in path.iterdir() if not item.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{path} cannot be listed: {error.strerror}; check its permissions") from error
    pictures = [item for item in inside if item.suffix.lower() in SUFFIXES]
    if not pictures:
        raise SourceError(f"{path} contains no pictures; looked for {', '.join(sorted(SUFFIXES))}")
    tell_left_out(path, (item for item in inside if item.suffix.lower() in OTHERS))
    return sorted(pictures, key=_natural)


def tell_left_out(folder: Path, files: Iterable[Path]) -> None:
    """Log once how many files of a folder are left out, by suffix."""
    counts = Counter(file.suffix.lower() for file in files)
    if counts:
        listed = ", ".join(f"{suffix}: {count}" for suffix, count in counts.most_common())
        film = "; a GIF is tracked as a film if you name it" if ".gif" in counts else ""
        log.warning("%s: pictures left out: %s%s", folder, listed, film)


def _natural(path: Path) -> tuple[list[tuple[str, int]], str]:
    """Sorting key under which img2 comes before img10."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", path.name)
    return [(text.casefold(), int(number or 0)) for text, number in parts], path.name


Picture = tuple[Image, bytes]
"""(H, W, 3) BGR, upright, and the ICC profile of its colours."""


def _read(paths: Sequence[Path], unreadable: list[SourceError]) -> Iterator[Frame]:
    """The pictures that can be read, numbered from 0; for the others, the reason is put in `unreadable`, and logged."""
    index = 0
    for path in paths:
        try:
            image, profile = _decode(path)
        except SourceError as error:
            unreadable.append(error)
            if len(paths) > 1:
                log.warning("skipped %s: %s", path, error)
            continue
        yield Frame(image, index, 0.0, path.name, profile)
        index += 1


def _decode(path: Path) -> Picture:
    """Raises SourceError with the reason only.  Not cv2.imread: on Windows it fails for names beyond the code page."""
    suffix = path.suffix.lower()
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError("it is a folder, a pipe or a device, not a file")
    try:
        content = np.fromfile(path, np.uint8)
        if suffix in HEIF and content[4:8].tobytes() == b"ftyp":
            from tracker.sources.heif import decode  # PyAV is loaded only for these

            image, profile = decode(path)
            return image, for_colours(profile)
        picture = _with_profile(content)
        if suffix in PAGED and picture is not None and (pages := cv2.imcount(str(path))) > 1:
            log.warning("%s holds %d pictures; only the first one is tracked", path, pages)
    except (OSError, cv2.error) as error:
        told = TOO_LARGE if "CV_IO_MAX_IMAGE_" in str(error) else getattr(error, "strerror", None)
        raise SourceError(told or _why_not(path)) from error
    if picture is None:
        raise SourceError(_why_not(path))
    return picture


def _why_not(path: Path) -> str:
    if path.stat().st_size == 0:
        return "it is empty; copy it again"
    if cv2.haveImageReader(str(path)):
        return (
            "it is cut off, damaged or of a kind that OpenCV cannot read; copy it again, or convert it to JPEG or PNG"
        )
    return "it is no picture that OpenCV can read; check that its content is one, e.g. JPEG or PNG"


def _with_profile(content: Image) -> Picture | None:
    """None if it is no picture.  OpenCV before version 4.12 does not return the profile."""
    if not hasattr(cv2, "imdecodeWithMetadata"):
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        return None if image is None else (image, b"")
    image, kinds, found = cv2.imdecodeWithMetadata(content, flags=cv2.IMREAD_COLOR)
    if image is None:
        return None
    metadata = dict(zip(list(kinds), found, strict=True))
    return image, for_colours(metadata.get(cv2.IMAGE_METADATA_ICCP, np.empty(0, np.uint8)).tobytes())


def for_colours(profile: bytes) -> bytes:
    """The ICC profile, unless it is one for gray or printed pictures: all images here are in colour."""
    return profile if profile[16:20] == b"RGB " else b""
