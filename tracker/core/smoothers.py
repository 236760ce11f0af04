"""Every smoother of keypoints, by the name a user types.  None is imported before it is chosen."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tracker.core.loop import Smooth
    from tracker.types import Tracked

Smoothing = Literal["offline", "live", "off"]


class Smoother(NamedTuple):
    """One smoother of keypoints."""

    open: "Callable[[float], Smooth]"
    """(how far ahead to predict, s) -> the stage of the loop."""
    afterwards: "Callable[[Iterable[Tracked]], Iterable[Tracked]] | None" = None
    """Smooths finished results by looking ahead; None if it does not."""


_OFF = Smoother(lambda lead_s: import_module("tracker.core.smoothing").unsmoothed)
SMOOTHERS: dict[Smoothing, Smoother] = {
    "offline": Smoother(_OFF.open, lambda results: import_module("tracker.core.smoothing_offline").offline(results)),
    "live": Smoother(lambda lead_s: import_module("tracker.core.smoothing").PoseAndShape(lead_s=lead_s)),
    "off": _OFF,
}
"""Every smoother by the name a user types."""


def default_smoothing(*, film: bool, into_files: bool) -> Smoothing:
    """The default: looking ahead takes time, which is available if a film becomes a file."""
    return "offline" if film and into_files else "live"
