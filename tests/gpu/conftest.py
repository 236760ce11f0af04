"""What only a GPU can show.  `pytest -m gpu` runs all of it in under eight minutes and writes REPORT.json beside this.

The report names GPU, driver, versions and network, and holds what was measured by whichever runtime really ran; one
that refused is in it with its reason.
"""

import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tracker.backends.registry import choose_backend
from tracker.backends.settings import Settings
from tracker.backends.tensorrt.guard import Gpu, dotted, find_gpu
from tracker.backends.weights import load
from tracker.errors import BackendUnavailable

REPORT = Path(__file__).with_name("REPORT.json")
PACKAGES = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "torch", "cuda-bindings", "nvidia-cuda-nvrtc", "numpy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder wants a GPU."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    try:
        return find_gpu("tensorrt")
    except BackendUnavailable as refusal:
        pytest.skip(refusal.reason)


@pytest.fixture(scope="session")
def report(gpu: Gpu) -> Iterator[dict[str, Any]]:
    """To be filled by tests; written when all of them are done."""
    content: dict[str, Any] = {
        "gpu": {"name": gpu.name, "capability": dotted(gpu.capability), "driver": gpu.driver},
        "system": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "network_sha256": load().sha256,
        "refused": {},
    }
    yield content
    REPORT.write_text(json.dumps(content, indent=2) + "\n")


@pytest.fixture(scope="session", params=["tensorrt", "tensorrt-rtx", "cuda"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Every runtime for NVIDIA GPUs by the name a user types."""
    return request.param


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def backend(runtime: str, request: pytest.FixtureRequest, report: dict[str, Any]) -> Iterator[Any]:
    """The runtime in each precision; skipped with its reason where it refuses this machine."""
    try:
        opened = choose_backend(runtime, load(), Settings(precision=request.param)).backend
    except BackendUnavailable as refusal:
        report["refused"][f"{runtime} {request.param}"] = str(refusal)
        pytest.skip(str(refusal))
    yield opened
    opened.close()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
