"""Nothing is reported to anybody: what native libraries leave behind is looked for too, not only Python's sockets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE_S = 120


def at_home(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user whose home is `home` and who has set nothing else."""
    ours = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "ORT_DISABLE_TELEMETRY")}
    return {name: value for name, value in ours.items() if not name.startswith("XDG_")} | {
        "HOME": str(home),
        **variables,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["tracker.backends.onnxruntime", "train", "tracker.commands.track", "tracker.app.run"]
)
def test_onnx_runtime_writes_nothing_at_home(first: str, tmp_path: Path) -> None:
    code = f"import {first}, onnxruntime, time; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], env=at_home(tmp_path), check=True, timeout=PATIENCE_S)
    assert list(tmp_path.rglob("*")) == []


def test_who_imported_onnx_runtime_first_is_warned(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import onnxruntime, tracker"]
    done = subprocess.run(command, env=at_home(tmp_path), capture_output=True, text=True, check=True)
    assert "import tracker first" in done.stderr
    quiet = at_home(tmp_path, ORT_DISABLE_TELEMETRY="1")
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    assert done.stderr == ""
