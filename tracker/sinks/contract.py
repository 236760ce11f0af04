"""The contract of an output, and how several share what is done to a result before they get it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple, Protocol

from tracker.types import Image, Tracked


class Sink(Protocol):
    """The contract.  Implementations do not inherit from it; use them in `contextlib.closing`."""

    def write(self, tracked: Tracked) -> None:
        """Take one frame's result.  From now on the arrays belong to the sink; nobody changes them.

        Raises SinkError when it cannot be written, `Quit` when the viewer wants to stop.
        """
        ...

    def close(self) -> None:
        """Finish the output, also after a failure; a second call does nothing.

        A file calls `PartialFile.deliver` when it is complete.  It gets its name when the whole run has succeeded.

        Raises SinkError when the output cannot be finished and `write` has not raised already.
        """
        ...


class Writer(NamedTuple):
    """A sink made of functions."""

    write: Callable[[Tracked], None]
    close: Callable[[], None] = lambda: None


class Quit(Exception):
    """The viewer asked to stop.  This is no failure: the run ends as if the source had ended."""


def through(change: Callable[[Tracked], Tracked], sinks: Sequence[Sink]) -> Sink:
    """Passes results on to `sinks`, in order, changed once for all of them.  Put a window last: it may `Quit`.

    Every one is closed, even if another one fails; then the failure is raised.
    """

    def write(tracked: Tracked) -> None:
        changed = change(tracked)
        for sink in sinks:
            sink.write(changed)

    def close() -> None:
        with ExitStack() as stack:
            for sink in sinks:
                stack.callback(sink.close)

    return Writer(write, close)


def annotated(draw: Callable[[Tracked], Image], tracked: Tracked) -> Tracked:
    """`tracked` with what `draw` makes of it, (H, W, 3) uint8 BGR, as its picture."""
    return replace(tracked, frame=replace(tracked.frame, image=draw(tracked)))
