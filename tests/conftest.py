"""Real inputs that every test may ask for: a face, two films of it, the clips when they are at hand."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tracker
from tracker.types import Image

LEARNS = find_spec("torch") is not None
collect_ignore_glob = [] if LEARNS else ["test_train_*.py", "test_tensorrt_build.py"]

# Started in the background by a shell, this process and all its children would ignore the Ctrl-C that many tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"
KERNELS = Path(tracker.__file__).parent / "backends" / "tensorrt"

MOST_WORKERS = 4
"""Processes that the whole suite is divided among; each takes some 500 MB."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Divide the whole suite among processes, if pytest-xdist is installed and no `-n` says otherwise; single files run
    in one process, where they start sooner.
    """
    whole = config.args_source != pytest.Config.ArgsSource.ARGS
    debugging = config.option.usepdb or config.option.collectonly
    inside = "PYTEST_XDIST_WORKER" in os.environ  # a worker must not start workers of its own, without end
    if whole and not inside and not debugging and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = min(MOST_WORKERS, os.cpu_count() or 1)
        config.option.dist = "worksteal"


def pytest_report_header(config: pytest.Config) -> str:
    """What to expect of the time, and what is not tested."""
    untested = "" if LEARNS else "; training is NOT tested: that needs pip install '.[test-all]'"
    if "not slow" in config.option.markexpr:
        return f"fkp: without the slow tests, 1 to 2 minutes on two quiet cores{untested}"
    minutes = "5 to 6" if LEARNS else "3 to 4"
    return f'fkp: the suite takes {minutes} minutes on two quiet cores; pytest -m "not slow" takes 1 to 2{untested}'


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes a GPU or many minutes, unless -m names it."""
    special = [name for name in ("gpu", "long") if name not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in special)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def portrait() -> Image:
    """A frontal face, public domain (NASA's portrait of Eileen Collins): (512, 512, 3) uint8 BGR, yours to change."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[..., ::-1])


@pytest.fixture(scope="session")
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's inputs lie."""
    return tmp_path_factory.mktemp("inputs")


def drifting(frames: int) -> Iterator[Image]:
    """The portrait at half size, 256x256 BGR, moving 1 px to the right every 10 frames."""
    import cv2
    from skimage.data import astronaut

    small = cv2.resize(astronaut()[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA)
    return (np.roll(small, index // 10, axis=1) for index in range(frames))


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a face that drifts, 25 frames with sound."""
    from films import write_film  # which needs PyAV: tests/gpu runs without

    return write_film(tmp_path_factory.mktemp("films") / "face.mp4", drifting(25), rate=25, audio=True)


@pytest.fixture(scope="session")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 1500 such frames, which takes seconds to track."""
    from films import write_film  # which needs PyAV: tests/gpu runs without

    return write_film(tmp_path_factory.mktemp("films") / "long.mp4", drifting(1500), rate=25, audio=True)


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A socket that waits for datagrams on the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def shared() -> Path:
    """The folder with clips and data beside the repository; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the clips and data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def stand_in_driver(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Puts tests/standin/libcuda.cpp, a driver for machines without a GPU, into a folder for LD_LIBRARY_PATH.

    A process that has loaded it by its path finds it by its name, too.
    INIT, VERSION, COUNT, MAJOR and MINOR are what it answers, by default that all is in order.
    """
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    command = [compiler, "-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", f"-I{KERNELS}"]
    source = Path(__file__).with_name("standin") / "libcuda.cpp"
    subprocess.run([*command, f"-Wl,-soname,{library.name}", "-o", library, source, "-ldl"], check=True)

    def answering(**answers: int) -> Path:
        folder = tmp_path_factory.mktemp("driver")
        shutil.copy(library, folder)
        said = {"INIT": 0, "VERSION": 13000, "COUNT": 1, "MAJOR": 8, "MINOR": 9} | answers
        (folder / f"{library.name}.answers").write_text(" ".join(map(str, said.values())))
        return folder

    return answering
