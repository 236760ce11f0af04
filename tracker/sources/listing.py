"""`fkp-track --list-cameras`: the cameras, their numbers and what they support.

Names and numbers come from the system, without opening a camera; sizes and rates come from the driver, on Linux only.
Both need packages of the extra `cameras`.
"""

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from tracker.errors import SourceError
from tracker.sources.camera import preferred_api


class Found(NamedTuple):
    """A camera of this machine."""

    number: int
    """The number for `--camera`."""
    name: str
    modes: str
    """Sizes and rates, or why they are unknown."""

    def __str__(self) -> str:
        return f"{self.number:<4}{self.name}: {self.modes}"


def find_cameras() -> list[Found]:
    """Every camera that the API used by default knows, by number.  Raises SourceError without the extra."""
    try:
        from cv2_enumerate_cameras import enumerate_cameras
    except ImportError as error:
        raise SourceError(
            f'cameras cannot be listed: {error}; pip install "fkp[cameras]", or try --camera 0, 1 or 2'
        ) from error
    found = (Found(each.index, str(each.name), _modes_of(each.path)) for each in enumerate_cameras(preferred_api()))
    return sorted(found)


def _modes_of(path: str | None) -> str:
    if sys.platform != "linux" or path is None:
        return "sizes unknown, ask for one with --width and --height"
    try:
        from linuxpy.video.device import Device

        with Device(path) as device:
            return modes(device.info.frame_types)
    except ImportError:
        return 'sizes unknown; pip install "fkp[cameras]"'
    except OSError as error:
        return f"cannot be asked: {error.strerror}; may you read {path}, and does no other program use it?"
    except UnboundLocalError:  # linuxpy 0.25, of a device that also sends something else than pictures
        return "sizes unknown, ask for one with --width and --height"


def modes(frame_types: Iterable[Any]) -> str:
    """The sizes of V4L2's frame types, largest first, each with its highest rate in any pixel format.

    A frame type has `width`, `height`, `min_fps` and `max_fps`, 0 if the driver does not say.
    """
    rates: dict[tuple[int, int], float] = {}
    for each in frame_types:
        size = each.width, each.height
        rates[size] = max(rates.get(size, 0.0), float(each.min_fps), float(each.max_fps))
    shown = [f"{width}x{height}" + (f" at {rate:g}" if rate else "") for (width, height), rate in rates.items()]
    largest_first = sorted(zip(rates, shown, strict=True), reverse=True)
    return ", ".join(text for _, text in largest_first) or "sends no pictures"
