"""HEIC and AVIF: pictures that are encoded like films.

In: a file.  Out: the upright picture, BGR uint8, and its ICC profile.  FFmpeg reads pictures in one piece; phones cut
theirs into tiles, which only libheif (the extra `heic`) reads.
"""

from pathlib import Path

import av
import numpy as np

from tracker.errors import SourceError
from tracker.sources.film import Orientation, chosen_picture, open_container
from tracker.types import Image

MOST_STREAMS = 2
"""A picture and its transparency or its thumbnail; if there are more, they are tiles of one picture."""

_BROKEN = "it holds no picture that can be decoded; is it complete?"


def decode(path: Path) -> tuple[Image, bytes]:
    """(H, W, 3) BGR and the profile, empty if there is none.  Raises SourceError with only the reason."""
    try:
        import pillow_heif
    except ImportError:
        return _by_ffmpeg(path), b""
    if path.suffix.lower() == ".avif":
        return _by_ffmpeg(path), b""
    try:
        found = pillow_heif.open_heif(path, convert_hdr_to_8bit=True, bgr_mode=True)
        image = np.ascontiguousarray(np.asarray(found)[..., :3])
    except (ValueError, RuntimeError, SyntaxError, EOFError, OSError) as error:
        raise SourceError(_BROKEN) from error
    return image, found.info.get("icc_profile") or b""


def _by_ffmpeg(path: Path) -> Image:
    try:
        with open_container(path) as container:
            if len(container.streams.video) > MOST_STREAMS:
                raise SourceError('it is cut into tiles, as phones do it; to read those, pip install "fkp[heic]"')
            picture = next(container.decode(chosen_picture(str(path), container, 0)))
            image = picture.to_ndarray(format="bgr24")
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise SourceError(_BROKEN) from error
    return np.ascontiguousarray(Orientation.of(picture).apply(image))
