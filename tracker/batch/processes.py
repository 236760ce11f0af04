"""Tasks run on this machine, each in its own process.

A film that crashes a decoder ends only its own process.  Starting one costs about half a second.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from tracker.app.progress import Tally
from tracker.batch.plan import Task
from tracker.batch.work import Outcome, perform, speak_of
from tracker.options import Options
from tracker.support.process import STOPS

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

BEAT_S = 1.0
"""How often a worker reports its progress."""
GRACE_S = 10.0
"""How long a worker may take to clean up after a stop."""


def in_processes(
    tasks: Iterable[Task], each: Options, jobs: int, progressed: Callable[[int], object]
) -> Generator[tuple[Task, Outcome], None, None]:
    """Each task with its outcome, as they end; `jobs` at a time.  `progressed` is told of newly finished frames.

    Closing it ends the work in progress; no process outlives it, nor the process that called it.
    """
    waiting = iter(tasks)
    running: dict[Connection, tuple[BaseProcess, Task]] = {}
    try:
        while True:
            while len(running) < jobs and (task := next(waiting, None)) is not None:
                mine, process = _start(task, each)
                running[mine] = process, task
            if not running:
                return
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                process, task = running[connection]
                said = _hear(connection, process)
                if isinstance(said, Outcome):
                    _dismiss(connection, process)
                    del running[connection]
                    yield task, said
                else:
                    progressed(said)
    finally:
        for process, _ in running.values():
            process.terminate()
        for connection, (process, _) in running.items():
            _dismiss(connection, process)


def _start(task: Task, each: Options) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    words = (theirs, task, each, logging.getLogger().level)
    process = context.Process(target=_work, args=words, name=f"fkp-batch {task.name}", daemon=True)
    with _deaf_to_ctrl_c():
        process.start()
    theirs.close()  # so that the worker's death is heard as the end of the line
    return mine, process


def _hear(connection: Connection, process: BaseProcess) -> "Outcome | int":
    try:
        said: Outcome | int = connection.recv()
    except (EOFError, OSError):  # the second if it died in the middle of a word
        process.join()
        cause = f"exit code {process.exitcode}"
        with suppress(ValueError):
            cause = signal.Signals(-(process.exitcode or 0)).name
        return Outcome(failure=f"its process died ({cause})", code=1)
    return said


def _dismiss(connection: Connection, process: BaseProcess) -> None:
    process.join(GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
    connection.close()


def _work(connection: Connection, task: Task, each: Options, level: int) -> None:
    """The worker's life: one task."""
    for number in set(STOPS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the parent decides what they mean
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, name="fkp-parent", daemon=True).start()
    speak_of(task, level)
    tally, done = Tally(), threading.Event()
    beat = threading.Thread(target=_report, args=(connection, tally, done), name="fkp-beat", daemon=True)
    beat.start()
    outcome = perform(task, each, tally)
    done.set()
    beat.join()
    connection.send(outcome)


def _report(connection: Connection, tally: Tally, done: threading.Event) -> None:
    told = 0
    while True:
        over = done.wait(BEAT_S)
        frames = tally.frames
        with suppress(OSError):  # nobody listens: the worker is being ended
            connection.send(frames - told)
        told = frames
        if over:
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started inside the block ignore Ctrl-C from the start; this process gets it after the block."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
