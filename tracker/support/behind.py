"""A thread that works behind the loop: items go in, in order, and are worked off one by one."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Behind(Generic[T]):
    """Calls `work` with each item in a thread, at most `depth` items behind; then `put` waits, or with `drop` lets go.

    After `work` has raised, it is not called again: the items are dropped, and `failure` says why.
    """

    def __init__(self, work: Callable[[T], None], *, depth: int, drop: bool = False) -> None:
        self.failure: Exception | None = None
        self._work = work
        self._drop = drop
        self._waiting: queue.Queue[T | None] = queue.Queue(depth)
        self._thread = threading.Thread(target=self._run, name="fkp-sink", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over one item, which must not be None."""
        with suppress(queue.Full):
            self._waiting.put(item, block=not self._drop)

    def close(self, patience_s: float | None = None) -> bool:
        """Wait until everything handed over has been worked off; a second call does nothing.

        False where `work` is stuck for longer than about `patience_s`; its thread is then left to itself.
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
