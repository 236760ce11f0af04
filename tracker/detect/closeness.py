"""How closely a detector looks: at everything it can see, or only as closely as the followed faces need.

A detector that may shrink the picture further sees a large face as surely in a third of the time.  Nobody whose face is
small is followed then, but somebody may come: so a few glances are followed by a close look, and whatever is unusual
calls for one at once.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.detect.ondemand import Watch

GLANCES = 2
"""Looks between two close ones while every face is followed surely.  A small face that comes without a stir (see
`ondemand.changed`) is found 0.1 s later by a detector that looks 30 times a second, 1.5 s by one that rests."""


class Closeness:
    """Called once for each look that is due."""

    def __init__(self, watch: "Watch", glances: int) -> None:
        self._watch = watch
        self._glances = glances
        self._since_close = glances

    def __call__(self) -> float | None:
        """The side of the smallest face's region that must be found, frame px; None for all that can be."""
        if self._since_close < self._glances and self._watch.is_sure():
            self._since_close += 1
            return min(region.side for region in self._watch.regions())
        self._since_close = 0
        return None
