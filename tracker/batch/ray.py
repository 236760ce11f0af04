"""Tasks run by a Ray cluster: the same work as in `processes`, on other machines.

Nodes need this program with the extra `ray`, and the films and output folders under the same paths or by URL.  A task
whose worker or node dies restarts elsewhere; the outputs of the dead one stay in its stage and get no name.
"""

import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

from tracker.app.progress import Tally
from tracker.backends.registry import BACKENDS
from tracker.batch.plan import Task
from tracker.batch.work import Outcome, perform, speak_of
from tracker.errors import BackendUnavailable, first_line
from tracker.options import Options

RETRIES = 3
"""How often a film is restarted after its worker died."""

KNOCK_S = 10.0
"""How long a machine may take to answer."""

ADMISSION_S = 60.0
"""How long a cluster may take to accept a connection, including Ray's own start of a few seconds."""

VISIT = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"
"""The code of the trial connection."""

WAIT_S = 1.0
"""The longest delay of Ctrl-C."""


def on_ray(
    tasks: Iterable[Task], each: Options, address: str, most: int | None, progressed: Callable[[int], object]
) -> Generator[tuple[Task, Outcome], None, None]:
    """Each task with its outcome, as they end; at most `most` at a time, else as many as the cluster has room for.

    `progressed` is told of newly finished frames.  Every film takes `each.threads` processors of the cluster and, for a
    backend of a GPU asked for by name, one GPU.  Closing it ends the work in progress.  Raises BackendUnavailable when
    there is no cluster at `address`.
    """
    level = logging.getLogger().level
    ray = _connect(address, verbose=level < logging.WARNING)
    attempt = ray.remote(_attempt).options(
        num_cpus=each.threads,
        num_gpus=int(each.backend != "auto" and BACKENDS[each.backend].gpu),
        max_retries=RETRIES,
        scheduling_strategy="SPREAD",
    )
    waiting = iter(tasks)
    running: dict[Any, Task] = {}
    with redirect_stdout(sys.stderr):  # Ray prints which workers died, and stdout carries only data
        try:
            while True:
                while (most is None or len(running) < most) and (task := next(waiting, None)) is not None:
                    running[attempt.remote(*_absolute(task, each), level)] = task
                if not running:
                    return
                for ended in ray.wait(list(running), timeout=WAIT_S)[0]:
                    outcome = _outcome(ray, ended)
                    progressed(outcome.frames)
                    yield running.pop(ended), outcome
        finally:
            for begun in running:
                ray.cancel(begun, force=True)
            ray.shutdown()


def _absolute(task: Task, each: Options) -> tuple[Task, Options]:
    """The same for a process in another folder; `auto` is the processor, because no GPU is reserved for it."""
    weights = None if each.weights is None else each.weights.absolute()
    backend = "cpu" if each.backend == "auto" else each.backend
    return replace(task, source=task.source.absolute()), replace(each, weights=weights, backend=backend)


def _attempt(task: Task, each: Options, level: int) -> Outcome:
    """What runs on a node."""
    speak_of(task, level)
    return perform(task, each, Tally())


def _connect(address: str, *, verbose: bool) -> Any:
    """The module `ray`, connected; with `verbose` stderr of the nodes' workers comes here."""
    try:
        import ray
    except ImportError as error:
        raise BackendUnavailable(str(error), 'pip install "fkp[ray]"') from error
    # Ray sets handlers of its own when it starts; ours finish the batch and know the exit codes.
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=verbose, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"there is no Ray cluster at {address}: {first_line(error)}"
        raise BackendUnavailable(reason, "start one with `ray start --head`, and give the address it says") from error
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    return ray


def _knock(address: str) -> None:
    """Raises OSError if no cluster accepts a connection.

    Ray tries for minutes and cannot be interrupted, so first the machine is contacted and a process tries to connect.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_S).close()
    try:
        visit = subprocess.run(
            [sys.executable, "-c", VISIT, address], capture_output=True, text=True, timeout=ADMISSION_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"no cluster answers within {ADMISSION_S:g} s") from error
    if visit.returncode:
        raise OSError((visit.stderr.splitlines() or ["the visit failed"])[-1])


def _outcome(ray: Any, ended: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayError as error:
        told = str(error).strip().splitlines()[-1]
        return Outcome(failure=f"Ray gave it up: {told}", code=BackendUnavailable.exit_code, details=str(error))
    return outcome
