"""Our programs as tests start them: `fkp-track` as a process of its own, `fkp-train` in this one, which has torch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from train import cli

FKP_TRACK = (sys.executable, "-m", "tracker.commands.track")


def fkp_track(*args: str | Path, cwd: Path, timeout: float | None = 60, **how: object) -> subprocess.CompletedProcess:
    """Run it to its end on a machine without a display; `how` goes to `subprocess.run`."""
    command = [*FKP_TRACK, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=headless(), capture_output=True, text=True, timeout=timeout, check=False, **how
    )


def headless() -> dict[str, str]:
    """The environment without a display."""
    return {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}


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
