"""Our programs as tests start them: `fkp-track` as a process of its own, `fkp-train` in this one, which has torch."""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from train import cli

FKP_TRACK = (sys.executable, "-m", "tracker.commands.track")
TRACK = "from tracker.commands.track import main; main()"
BENCH = "from tracker.commands.bench import main; main()"


def fkp_track(*args: str | Path, cwd: Path, timeout: float | None = 300, **how: object) -> subprocess.CompletedProcess:
    """Run it to its end on a machine without a display; `how` goes to `subprocess.run`."""
    if how:
        command = [*FKP_TRACK, *map(str, args)]
        how |= {"capture_output": True, "text": True}
        return subprocess.run(command, cwd=cwd, env=headless(), timeout=timeout, check=False, **how)
    return run_code(TRACK, "fkp-track", *args, cwd=cwd, timeout=timeout)


def run_code(
    code: str, name: str, *args: str | Path, cwd: Path | None = None, timeout: float | None = 300, **environment: str
) -> subprocess.CompletedProcess:
    """Run Python code as the program `name`, in a child of a process that has loaded ours; without fork, in a new one.

    `environment` is there when the code runs, but not when the interpreter and our modules start.
    """
    words, known = [name, *map(str, args)], headless() | environment
    folder = str(cwd or Path.cwd())
    if sys.platform == "linux":
        return _forked({"code": code, "words": words, "cwd": folder, "environment": known}, timeout)
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = {name!r}\n{code}", *words[1:]]
    texts = {"capture_output": True, "text": True}
    return subprocess.run(command, cwd=folder, env=known, timeout=timeout, check=False, **texts)


def _forked(run: dict[str, object], timeout: float | None) -> subprocess.CompletedProcess:
    """The run as a child of the nursery; both are killed if it takes too long."""
    nursery = _nursery()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        print(json.dumps(run | {"out": out.name, "err": err.name}), file=nursery.stdin, flush=True)
        if not select.select([nursery.stdout], [], [], timeout)[0]:
            os.killpg(nursery.pid, signal.SIGKILL)
            _nursery.cache_clear()
            raise subprocess.TimeoutExpired(run["words"], timeout)
        code = int(nursery.stdout.readline())
        said = (file.read().decode(errors="surrogateescape") for file in (out, err))
        return subprocess.CompletedProcess(run["words"], code, *said)


@cache
def _nursery() -> subprocess.Popen:
    command = [sys.executable, Path(__file__).with_name("nursery.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    nursery = subprocess.Popen(command, env=_environment(), start_new_session=True, **pipes)
    atexit.register(nursery.communicate)  # it ends with its stdin
    return nursery


@cache
def _environment() -> dict[str, str]:
    """That of the first run, in which the nursery starts."""
    return headless()


def headless() -> dict[str, str]:
    """The environment without a display."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "PYTEST_CURRENT_TEST")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """As on a disk that fills up, the last write that fits takes what there is room for."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wait_until(true: Callable[[], bool], minutes: int = 2) -> None:
    """Ask again and again whether what another process brings about has come to pass."""
    for _ in range(1200 * minutes):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"it did not come to pass in {minutes} min")


def fkp_train(*args: str | Path) -> int:
    """Run it to its end; returns the exit code."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fkp-train", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return int(end.value.code or 0)
