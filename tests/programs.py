"""`fkp-track` as a process of its own, for every test that runs it."""

import os
import subprocess
import sys
from pathlib import Path

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
