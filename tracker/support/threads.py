"""Threads beside the loop: one that works ahead of it for one reader, and one that works behind it."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs the generator `items` in a thread, at most `depth` items ahead of the reader.

    When the reader is slower, the thread waits or, with `newest_only`, discards old items.  An exception of the
    generator is raised again in the reader, after the items before it.  The generator is closed in its thread.
    """

    def __init__(self, items: Generator[T, None, None], *, depth: int, newest_only: bool = False) -> None:
        self._items = items
        self._depth = depth
        self._newest_only = newest_only
        self._ready: deque[T] = deque(maxlen=depth)
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fkp-source", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                # On Windows, Ctrl-C does not interrupt a wait without a timeout.
                while not self._changed.wait_for(self._has_news, timeout=0.5):
                    pass
                if self._closed or not self._ready:
                    break
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None and not self._closed:
            raise self._error

    def close(self, timeout_s: float = 2.0) -> bool:
        """Wake the thread and the reader and wait for the thread; False when it is stuck longer than `timeout_s`."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _has_news(self) -> bool:
        return bool(self._ready) or self._ended or self._closed

    def _run(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    if not self._hand_over(item):
                        break
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, item: T) -> bool:
        """Queue one item; False when the reader wants no more."""
        with self._changed:
            if not self._newest_only:
                self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
            if self._closed:
                return False
            self._ready.append(item)  # a full deque drops its oldest
            self._changed.notify_all()
        return True


class Behind(Generic[T]):
    """Calls `work` with each item in a thread.  When it is `depth` items behind, `put` waits or, with `drop`, discards.

    After `work` has raised, it is not called again: further items are discarded, and `failure` holds the exception.
    """

    def __init__(self, work: Callable[[T], None], *, depth: int, drop: bool = False) -> None:
        self.failure: Exception | None = None
        self._work = work
        self._drop = drop
        # A signal in the middle of a Queue.put may leave its reader asleep for ever; a SimpleQueue has no middle.
        self._waiting: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(depth):
            self._free.put(None)
        self._thread = threading.Thread(target=self._run, name="fkp-sink", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add one item, which must not be None."""
        with suppress(queue.Empty):
            self._free.get(block=not self._drop)
            self._waiting.put(item)

    def close(self, patience_s: float | None = None) -> Exception | None:
        """Wait until all items are processed; returns what `work` has raised.

        A RuntimeError if it is stuck for longer than `patience_s`; its thread is then abandoned.
        """
        self._waiting.put(None)
        self._thread.join(patience_s)
        return RuntimeError("it takes nothing") if self._thread.is_alive() else self.failure

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            self._free.put(None)
            if self.failure is None:
                try:
                    self._work(item)
                except Exception as error:
                    self.failure = error
