"""Every smoother of keypoints, by the name a user types.  None is imported before it is chosen."""

from collections.abc import Callable, Iterable
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


def _live(lead_s: float) -> "Smooth":
    from tracker.core.smoothing import PoseAndShape

    return PoseAndShape(lead_s=lead_s)


def _off(lead_s: float) -> "Smooth":
    from tracker.core.smoothing import unsmoothed

    return unsmoothed


def _offline(results: "Iterable[Tracked]") -> "Iterable[Tracked]":
    from tracker.core.smoothing_offline import offline

    return offline(results)


SMOOTHERS: dict[Smoothing, Smoother] = {
    "offline": Smoother(_off, _offline),
    "live": Smoother(_live),
    "off": Smoother(_off),
}
"""Every smoother by the name a user types."""


def default_smoothing(*, film: bool, into_files: bool) -> Smoothing:
    """The default: looking ahead takes time, which is available if a film becomes a file."""
    return "offline" if film and into_files else "live"
