"""The proof as a test: `pytest -m gpu tests/gpu`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tracker.backends.tensorrt.guard import find_gpu
from tracker.errors import BackendUnavailable


@pytest.mark.gpu
def test_everything_that_a_gpu_can_show(tmp_path: Path) -> None:
    try:
        find_gpu()
    except BackendUnavailable as refusal:
        pytest.skip(str(refusal))
    command = [sys.executable, Path(__file__).with_name("prove.py"), "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
