"""`fkp-track --doctor`: what works on this machine, and for what does not a hint.

Every line is a check: opened for real, not guessed from what is installed.  Findings go to stdout.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime as ort

from tracker import __version__
from tracker.backends import OPENERS as BACKENDS
from tracker.backends import open_backend
from tracker.backends.tensorrt.cache import compiled_dir, kept_in
from tracker.backends.tensorrt.guard import dotted, find_gpu
from tracker.detect import OPENERS as DETECTORS
from tracker.detect import open_detector
from tracker.errors import FkpError
from tracker.sinks.window import has_display
from tracker.weights import load

CODECS = {"h264": "r", "libx264": "w", "aac": "r"}
"""What films need: read H.264 and AAC, write H.264."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    topic: str
    works: bool
    detail: str
    """What was found, or why it does not work and what to do."""
    needed: bool = True
    """Whether tracking a film on the CPU depends on it."""

    def __str__(self) -> str:
        mark = "ok" if self.works else "FAIL" if self.needed else "no"
        return f"{mark:<5}{self.topic:<22}{self.detail}"


def examine() -> int:
    """Print every finding; 0 when everything that tracking needs works, else 1."""
    findings = []
    for check in (_versions, _weights, _gpu, _backends, _compiled, _detectors, _codecs, _display, _cameras):
        for finding in check():
            print(finding)
            findings.append(finding)
    return int(any(finding.needed and not finding.works for finding in findings))


def _versions() -> Iterator[Finding]:
    yield Finding("fkp", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    libraries = f"numpy {np.__version__}, opencv {cv2.__version__}, onnxruntime {ort.__version__}, av {av.__version__}"
    yield Finding("libraries", True, libraries)


def _weights() -> Iterator[Finding]:
    yield _finding("weights", _weights_summary)


def _weights_summary() -> str:
    weights = load()
    return f"{weights.path.name} {len(weights.onnx) / 1e6:.2f} MB, sha256 {weights.sha256[:12]}, matches its card"


def _gpu() -> Iterator[Finding]:
    yield _finding("GPU", _gpu_summary, needed=False)


def _gpu_summary() -> str:
    gpu = find_gpu("tensorrt")
    return f"{gpu.name}, compute capability {dotted(gpu.capability)}, driver {gpu.driver}"


def _compiled() -> Iterator[Finding]:
    """What TensorRT compiled earlier."""
    for path, described in kept_in(compiled_dir()):
        yield Finding("compiled", True, f"{path}: {described}", needed=False)


def _backends() -> Iterator[Finding]:
    for name in BACKENDS:
        yield _finding(f"backend {name}", partial(_backend_name, name), needed=name == "cpu")


def _backend_name(choice: str) -> str:
    with closing(open_backend(choice, load())) as backend:
        return backend.name


def _detectors() -> Iterator[Finding]:
    for name in DETECTORS:
        yield _finding(f"detector {name}", partial(_detector_name, name), needed=name == "yunet")


def _detector_name(name: str) -> str:
    with closing(open_detector(name)) as detector:
        return detector.name


def _codecs() -> Iterator[Finding]:
    for name, mode in CODECS.items():
        verb = "read" if mode == "r" else "write"
        works = name in av.codecs_available
        hint = f"can {verb}" if works else f"cannot {verb}; this av lacks it, install: pip install --force-reinstall av"
        yield Finding(f"codec {name}", works, hint)


def _display() -> Iterator[Finding]:
    works = has_display()
    hint = "a window can open" if works else "none, so no window; write files with --out and --keypoints"
    yield Finding("display", works, hint, needed=False)


def _cameras() -> Iterator[Finding]:
    if sys.platform != "linux":
        yield Finding("cameras", True, "not listed on this system; try fkp-track --camera 0", needed=False)
        return
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding("cameras", False, "no /dev/video*; plug one in, or try fkp-track --demo", needed=False)
    for device in devices:
        works = os.access(device, os.R_OK | os.W_OK)
        hint = "readable" if works else "no permission; join its group: sudo usermod -aG video $USER, then log in again"
        yield Finding(str(device), works, hint, needed=False)


def _finding(topic: str, check: Callable[[], str], *, needed: bool = True) -> Finding:
    """The check's answer, or its failure as a finding."""
    try:
        return Finding(topic, True, check(), needed)
    except FkpError as error:
        return Finding(topic, False, str(error), needed)
