"""Where results go: films, pictures, records, a window.  Each kind has its own module and opener.

In: one `Tracked` per frame, in order.  Points stay in frame px; sinks that show the picture take `tracked.frame.image`
as it is; `Annotate` draws once for all of them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.core.square import as_shown
from tracker.types import Tracked


class Sink(Protocol):
    """The contract.  Implementations do not inherit from it; use them in `contextlib.closing`."""

    def write(self, tracked: Tracked) -> None:
        """Take one frame's result.  From now on the arrays belong to the sink; nobody changes them.

        Raises SinkError when it cannot be written, `Quit` when the viewer wants to stop.
        """
        ...

    def close(self) -> None:
        """Finish the output, also after a failure; a second call does nothing.

        A file calls `PartialFile.deliver` when it is complete.  It gets its name when every output is finished and the
        run has succeeded.

        Raises SinkError when the output cannot be finished and `write` has not raised already.
        """
        ...


class Quit(Exception):
    """The viewer asked to stop.  This is no failure: the run ends as if the source had ended."""


class Annotate:
    """Draws the result on the picture once and passes it to `sinks` in order; put a window last: it may `Quit`."""

    def __init__(self, draw: Callable[[Tracked], NDArray[np.uint8]], sinks: Sequence[Sink]) -> None:
        self._draw = draw
        self._sinks = tuple(sinks)

    def write(self, tracked: Tracked) -> None:
        """Pass on `tracked` with its frame's image replaced by the annotated one, (H, W, 3) uint8 BGR."""
        annotated = replace(tracked, frame=replace(tracked.frame, image=self._draw(tracked)))
        for sink in self._sinks:
            sink.write(annotated)

    def close(self) -> None:
        """Close every inner sink, even where another one fails; then raise the failure."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


class Shown:
    """Hands results on in square pixels, to sinks whose pictures people look at as they are."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def write(self, tracked: Tracked) -> None:
        """Hand on `tracked` and its picture as they are meant to be shown."""
        shown = as_shown(tracked)
        for sink in self._sinks:
            sink.write(shown)

    def close(self) -> None:
        """Close every inner sink, even where another one fails; then raise the failure."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)
