"""Frames on standard input, from another program: `ffmpeg ... -f matroska - | fkp-track -`.

In: a format that describes itself (YUV4MPEG2, Matroska, MPEG-TS, ...) or, with a width and a height, raw pictures of
3 bytes BGR per px.  Out: every frame, as of a film.  A pipe can be read only once.
"""

import sys
from fractions import Fraction

import av

from tracker.errors import SourceError
from tracker.sources.contract import Source
from tracker.sources.film import LENIENT, MOST_PIXELS, film_of

DEFAULT_RATE = 30.0
"""Frames per second of bare pictures."""


def open_pipe(width: int | None, height: int | None, fps: float | None, stream: int | None = None) -> Source:
    """Wait for the first frame; bare pictures come at `fps` per second.

    Raises SourceError when nothing comes, or what comes is no film.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise SourceError("nothing is sent to standard input; try: ffmpeg -i FILM -f matroska - | fkp-track -")
    bare = width is not None and height is not None
    rate = Fraction(fps or DEFAULT_RATE).limit_denominator(1001)
    options = {"video_size": f"{width}x{height}", "framerate": str(rate), "pixel_format": "bgr24"} if bare else {}
    try:
        container = av.open(
            f"pipe:{sys.stdin.fileno()}",
            format="rawvideo" if bare else None,
            options=options | {"protocol_whitelist": "pipe"} | MOST_PIXELS,
            **LENIENT,
        )
    except av.FFmpegError as error:
        raise SourceError(
            f"standard input is not a film: {error.strerror}; for bare pictures (-f rawvideo -pix_fmt bgr24) add "
            "--width and --height"
        ) from error
    return film_of("standard input", container, stream)
