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
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from train import cli

FKP_TRACK = (sys.executable, "-m", "tracker.commands.track")


def fkp_track(*args: str | Path, cwd: Path, timeout: float = 60, **how: object) -> subprocess.CompletedProcess:
    """Run it to its end on a machine without a display; `how` goes to `subprocess.run`."""
    words, environment = [*map(str, args)], headless()
    if not how and sys.platform == "linux" and environment == _environment():
        return _forked(words, cwd, timeout)
    command = [*FKP_TRACK, *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False, **how
    )


def _forked(words: list[str], cwd: Path, timeout: float) -> subprocess.CompletedProcess:
    """The run as a child of the nursery; both are killed if it takes too long."""
    nursery = _nursery()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        run = {"words": words, "cwd": str(cwd), "out": out.name, "err": err.name}
        print(json.dumps(run), file=nursery.stdin, flush=True)
        if not select.select([nursery.stdout], [], [], timeout)[0]:
            os.killpg(nursery.pid, signal.SIGKILL)
            _nursery.cache_clear()
            raise subprocess.TimeoutExpired(words, timeout)
        code = int(nursery.stdout.readline())
        said = (Path(file.name).read_text() for file in (out, err))
        return subprocess.CompletedProcess(words, code, *said)


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
