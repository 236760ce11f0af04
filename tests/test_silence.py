"""Nothing is reported to anybody: what native libraries leave behind is looked for too, not only Python's sockets."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from films import write_film

PATIENCE_S = 120
LOOK_S = 12
"""ONNX Runtime's usage report looks up its host after ten seconds."""


def at_home(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user whose home is `home` and who has set nothing else."""
    ours = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "ORT_DISABLE_TELEMETRY")}
    return {name: value for name, value in ours.items() if not name.startswith("XDG_")} | {
        "HOME": str(home),
        **variables,
    }


def test_who_imported_onnx_runtime_first_is_warned(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import onnxruntime, tracker"]
    done = subprocess.run(command, env=at_home(tmp_path), capture_output=True, text=True, check=True)
    assert "import tracker first" in done.stderr
    quiet = at_home(tmp_path, ORT_DISABLE_TELEMETRY="1")
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    assert done.stderr == ""


STAY = f"""
import runpy, sys, time
began = time.monotonic()
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    time.sleep(max(0, {LOOK_S} - time.monotonic() + began))
"""
"""Runs a module like `python -m`, and stays until whatever its libraries do later has happened too."""

LEARN = f"""
import time, torch
import train.judge.report, train.judge.charts, train.rebuild, train.export.onnx
torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
time.sleep({LOOK_S})
"""

TRACK = ("-c", STAY, "tracker.commands.track")
COMMANDS: dict[str, tuple[str, ...]] = {
    "film": (*TRACK, "in.mp4", "--out", "o.mp4", "--keypoints", "o.jsonl", "--keypoints", "o.csv"),
    "parquet": (*TRACK, "in.mp4", "--keypoints", "o.parquet"),
    "rerun": (*TRACK, "in.mp4", "--rerun", "o.rrd"),
    "page": (*TRACK, "in.mp4", "--serve", "0"),
    "batch": (*TRACK, "in.mp4", "in2.mp4", "--keypoints", "made", "--jobs", "2"),
    "doctor": (*TRACK, "--doctor"),
    "training": ("-c", LEARN),
}
NEEDS = {"parquet": "pyarrow", "rerun": "rerun", "page": "uvicorn", "training": "torch"}

WRITES = re.compile(r'(?:creat|mkdir|open)(?:at)?\(.*?"([^"]*)".*(?:0[0-7]{3}|O_WRONLY|O_RDWR|O_CREAT)\S* ?.*= \d+$')
"""A call that makes a file or a folder, or opens a file for writing."""
STRACE = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=network,?open,openat,?creat,?mkdir,mkdirat")


def can_trace() -> bool:
    return shutil.which("strace") is not None and not subprocess.run([*STRACE, "true"], check=False).returncode


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, "subprocess.Popen[bytes]"]]:
    """Every command under strace, side by side, each with an empty home: its folder and its process."""
    running = {}
    if not can_trace():
        return {}
    for name, command in COMMANDS.items():
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            continue
        folder = tmp_path_factory.mktemp(name)
        for place in ("home", "tmp", "work"):
            (folder / place).mkdir()
        gray = np.full((64, 64, 3), 90, np.uint8)
        for film in ("in.mp4", "in2.mp4"):
            write_film(folder / "work" / film, [gray] * 20)
        variables = at_home(folder / "home", TMPDIR=str(folder / "tmp"), PYTHONDONTWRITEBYTECODE="1")
        variables.pop("DISPLAY", None)
        with (folder / "stderr").open("wb") as stderr:
            running[name] = folder, subprocess.Popen(
                [*STRACE, "-o", str(folder / "calls"), sys.executable, *command],
                cwd=folder / "work", env=variables, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip
    return running


@pytest.fixture(scope="module")
def traces(started: dict[str, tuple[Path, "subprocess.Popen[bytes]"]]) -> dict[str, tuple[Path, list[str]]]:
    """The folder and the system calls of every command."""
    if not started:
        pytest.skip("needs strace 5.3 or newer and the right to use it")
    for name, (folder, process) in started.items():
        assert process.wait(PATIENCE_S) in (0, 1), (name, (folder / "stderr").read_text())
    return {name: (folder, (folder / "calls").read_text().splitlines()) for name, (folder, _) in started.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["tracker.backends.onnxruntime", "train", "tracker.commands.track", "tracker.app.run"]
)
def test_onnx_runtime_writes_nothing_at_home(first: str, started: object, tmp_path: Path) -> None:
    """While the commands have `started` and wait."""
    code = f"import {first}, onnxruntime, time; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], env=at_home(tmp_path), check=True, timeout=PATIENCE_S)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_looks_anything_up_or_connects_to_anybody(
    name: str, traces: dict[str, tuple[Path, list[str]]]
) -> None:
    calls = _calls_of(name, traces)[1]
    reached = [call for call in calls if re.search(r"(?:connect|sendto|sendmsg|sendmmsg)\(.*AF_INET", call)]
    assert reached == []
    bound = [call for call in calls if "bind(" in call and "AF_INET" in call]
    assert len(bound) == (name == "page")
    assert all('"127.0.0.1"' in call for call in bound)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_leaves_a_file_but_its_outputs(name: str, traces: dict[str, tuple[Path, list[str]]]) -> None:
    folder, calls = _calls_of(name, traces)
    assert [path for place in ("home", "tmp") for path in (folder / place).rglob("*")] == []
    written = [found[1] for call in calls if (found := WRITES.search(call))]
    allowed = (str(folder), "/dev/", "/proc/self/")
    assert [path for path in written if path.startswith("/") and not path.startswith(allowed)] == []


def _calls_of(name: str, traces: dict[str, tuple[Path, list[str]]]) -> tuple[Path, list[str]]:
    if name not in traces:
        pytest.skip(f"needs {NEEDS[name]}")
    folder, calls = traces[name]
    assert len(calls) > 100, "strace has seen nothing"
    return folder, calls


def test_the_trace_sees_what_native_code_does(tmp_path: Path) -> None:
    """The look-up that ONNX Runtime made, without its switch: this is what the tests above would find."""
    if not can_trace():
        pytest.skip("needs strace 5.3 or newer and the right to use it")
    code = "import ctypes; ctypes.CDLL(None).getaddrinfo(b'fkp.invalid', None, None, ctypes.byref(ctypes.c_void_p()))"
    calls = tmp_path / "calls"
    subprocess.run([*STRACE, "-o", str(calls), sys.executable, "-c", code], check=True, timeout=PATIENCE_S)
    assert re.search(r"sa_family=AF_INET6?\b", calls.read_text())
