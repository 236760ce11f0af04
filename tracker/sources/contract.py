"""The contract of a source of frames, and what it says about itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Literal

from tracker.errors import SourceError
from tracker.types import Frame

Kind = Literal["film", "camera", "images", "demo"]
"""How frames are related: from one film or camera, or unrelated pictures."""

TOO_LARGE = "it has more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows (200 million unless you set it)"
"""Why a picture or a film that would fill the memory is refused."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known about a source before its first frame."""

    kind: Kind
    name: str
    """What the user gave: the path, the camera's number, `demo`."""
    width: int
    """Of the upright picture, px as stored: a sample aspect ratio is not applied.  Images: of the first one."""
    height: int
    rate: Fraction | None
    """Nominal frames per second; None for images and cameras, and if a film does not say."""
    frames: int | None
    """Approximate number of frames, for progress; None if unknown."""
    path: Path | None = None
    """The film, for its audio; the picture or folder; None for camera and demo."""
    stream: int | None = None
    """Film: FFmpeg's number of the picture that is read."""
    sample_aspect: Fraction = Fraction(1)
    """Width of a px of the upright picture as it is meant to be shown, in units of its height."""
    started: datetime | None = None
    """Time of day at timestamp 0, with its zone: of a camera or stream; of a film when it was made, if it says so."""
    clock_zero: float | None = None
    """Camera: `time.perf_counter()` at timestamp 0, so that latency = now - clock_zero - timestamp.  Else None."""

    @property
    def can_run_ahead(self) -> bool:
        """Whether frames can arrive faster than real time; a viewer then has to slow them down."""
        return self.kind in ("film", "demo")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Frames, once, in order; use it in a `with` block.

    Iterating raises SourceError when reading breaks off for good.
    """

    info: SourceInfo
    frames: Iterable[Frame]
    close: Callable[[], object]
    """Frees everything and ends a waiting iteration; may be called twice, and from another thread."""
    count_skipped: Callable[[], int] = lambda: 0

    @property
    def skipped(self) -> int:
        """How much could not be read so far: corrupt packets, unreadable pictures."""
        return self.count_skipped()

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def existing(path: Path) -> Path:
    """Returns `path`.  Raises SourceError if it does not exist."""
    try:
        path.stat()
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            why = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
        raise SourceError(f"{path} {why}; give a film, a picture, a folder of pictures, or try --demo") from error
    return path
