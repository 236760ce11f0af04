"""A thread that works behind the loop: it processes items one by one, in order."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """Calls `work` with each item in a thread.  When it is `depth` items behind, `put` waits or, with `drop`, discards.

    After `work` has raised, it is not called again: further items are discarded, and `failure` holds the exception.
    """

    def __init__(self, work: Callable[[T], None], *, depth: int, drop: bool = False) -> None:
        self.failure: Exception | None = None
        self._work = work
        self._drop = drop
        self._waiting: queue.Queue[T | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name="fkp-sink", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add one item, which must not be None."""
        with suppress(queue.Full):
            self._waiting.put(item, block=not self._drop)

    def close(self, patience_s: float | None = None) -> bool:
        """Wait until all items are processed; a second call does nothing.

        False if `work` is stuck for longer than about `patience_s`; its thread is then abandoned.
        """
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._waiting.put(None, timeout=patience_s)
            self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self.failure is None:
                try:
                    self._work(item)
                except Exception as error:
                    self.failure = error
