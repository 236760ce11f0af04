"""Our programs as tests start them: `fkp-track` as a process of its own, `fkp-train` in this one, which has torch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from train import cli

FKP_TRACK = (sys.executable, "-m", "tracker.cli")


def fkp_track(*args: str | Path, cwd: Path, timeout: float | None = 60, **how: object) -> subprocess.CompletedProcess:
    """Run it to its end on a machine without a display; `how` goes to `subprocess.run`."""
    command = [*FKP_TRACK, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=headless(), capture_output=True, text=True, timeout=timeout, check=False, **how
    )


def headless() -> dict[str, str]:
    """The environment without a display."""
    return {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}


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
