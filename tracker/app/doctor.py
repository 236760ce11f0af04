"""`fkp-track --doctor`: what works on this machine, and hints for what does not.

Every line is a real check: things are opened, not guessed from what is installed.  Findings go to stdout.
"""

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime as ort

from tracker.backends.choice import open_backend
from tracker.backends.registry import BACKENDS
from tracker.backends.tensorrt import outlook
from tracker.backends.tensorrt.cache import cached_in, compiled_dir
from tracker.backends.tensorrt.guard import PACKAGES, dotted, find_gpu
from tracker.backends.weights import load
from tracker.detectors.registry import DETECTORS, open_detector
from tracker.errors import FkpError, SourceError
from tracker.sinks.film import ENCODERS, encodes
from tracker.sinks.window import why_no_window
from tracker.sources.listing import find_cameras

READ = ("h264", "hevc", "vp9", "av1", "mpeg4", "wmv2", "mjpeg", "aac", "mp3", "opus")
"""Decoders that most films need."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    topic: str
    works: bool
    detail: str
    """The finding, or why it does not work and what to do."""
    needed: bool = True
    """Whether tracking a film on the CPU depends on it."""

    def __str__(self) -> str:
        mark = "ok" if self.works else "FAIL" if self.needed else "no"
        return f"{mark:<5}{self.topic:<22}{self.detail}"


def examine() -> int:
    """Print every finding; returns 0 if everything that tracking needs works, else 1."""
    findings = []
    for check in (_versions, _extras, _parts, _codecs, _display, _cameras):
        for finding in check():
            print(finding)
            findings.append(finding)
    return int(any(finding.needed and not finding.works for finding in findings))


def _versions() -> Iterator[Finding]:
    yield Finding("fkp", True, f"{metadata.version('fkp')}, Python {platform.python_version()}, {platform.platform()}")
    libraries = f"numpy {np.__version__}, opencv {cv2.__version__}, onnxruntime {ort.__version__}, av {av.__version__}"
    yield Finding("libraries", True, libraries)
    quiet = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    hint = "ONNX Runtime's is off" if quiet else "ONNX Runtime's is on; set ORT_DISABLE_TELEMETRY=1 to stop it"
    yield Finding("usage reporting", quiet, hint, needed=False)


def _extras() -> Iterator[Finding]:
    """The extras: which are completely installed and which are not."""
    needs: dict[str, list[str]] = {}
    for requirement in metadata.requires("fkp") or ():
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"](.+?)['\"]", requirement)
        system = re.search(r"sys_platform == ['\"](.+?)['\"]", requirement)
        if name is not None and extra is not None and (system is None or system[1] == sys.platform):
            needs.setdefault(extra[1], []).append(name[0])
    lacking = [extra for extra, names in needs.items() if not all(map(_is_installed, names))]
    yield Finding("extras", True, f"have {', '.join(sorted(needs.keys() - lacking)) or 'none'}", needed=False)
    if lacking:
        missing = f"missing {', '.join(sorted(lacking))}; tracker/README.md says what for"
        yield Finding("extras", False, f'{missing}: pip install "fkp[{min(lacking)}]"', needed=False)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _parts() -> Iterator[Finding]:
    """Network, runtimes and detectors, and what TensorRT compiled earlier."""
    yield _finding("weights", _weights_summary)
    yield _finding("model card", _card_summary)
    yield _finding("GPU", _gpu_summary, needed=False)
    for name in BACKENDS:
        yield _finding(f"backend {name}", partial(_backend_name, name), needed=name == "cpu")
    for path, described in cached_in(compiled_dir()):
        yield Finding("compiled", True, f"{path}: {described}", needed=False)
    for name in DETECTORS:
        yield _finding(f"detector {name}", partial(_detector_name, name), needed=name == "yunet")


def _weights_summary() -> str:
    weights = load()
    return f"{weights.path.name} {len(weights.onnx) / 1e6:.2f} MB, sha256 {weights.sha256[:12]}, matches its card"


def _card_summary() -> str:
    card = load().card
    rmse = card.get("metrics", {}).get("kaggle_weighted")
    error = "unknown error" if rmse is None else f"{rmse:.2f} px Kaggle-weighted on its hold-out"
    return f"{card.get('name')} {card.get('version')}, {card.get('parameters'):,} parameters, {error}"


def _gpu_summary() -> str:
    gpu = find_gpu()
    return f"{gpu.name}, compute capability {dotted(gpu.capability)}, driver for CUDA {dotted(gpu.cuda)}"


def _backend_name(choice: str) -> str:
    if choice in PACKAGES:  # opening it would compile an engine
        return outlook(choice, load())
    with closing(open_backend(choice, load())) as backend:
        return backend.name


def _detector_name(name: str) -> str:
    with closing(open_detector(name)) as detector:
        return detector.name


def _codecs() -> Iterator[Finding]:
    missing = [name for name in READ if name not in av.codecs_available]
    again = "pip install --force-reinstall av"
    yield Finding("decoders", not missing, f"missing {', '.join(missing)}; {again}" if missing else ", ".join(READ))
    writing = [name for name in ENCODERS if encodes(name)]
    yield Finding("encoders", bool(writing), ", ".join(writing) or f"none for H.264, so no annotated films; {again}")


def _display() -> Iterator[Finding]:
    reason = why_no_window()
    toolkit = cv2.currentUIFramework() or "no window system"
    hint = f"a window can open ({toolkit})" if reason is None else f"{reason}; write files with --out, or use --serve"
    yield Finding("display", reason is None, hint, needed=False)


def _cameras() -> Iterator[Finding]:
    try:
        cameras = find_cameras()
    except SourceError as error:
        yield Finding("cameras", False, str(error), needed=False)
        return
    if not cameras:
        none = "none found; plug one in, try fkp-track --camera 0, 1 or 2, or --demo"
        yield Finding("cameras", False, none, needed=False)
    for camera in cameras:
        device = Path(f"/dev/video{camera.number}")
        locked = device.exists() and not os.access(device, os.R_OK | os.W_OK)
        told = "no permission; sudo usermod -aG video $USER, then log in again" if locked else camera.modes
        yield Finding(f"camera {camera.number}", not locked, f"{camera.name}: {told}", needed=False)


def _finding(topic: str, check: Callable[[], str], *, needed: bool = True) -> Finding:
    """The check's answer, or its failure as a finding."""
    try:
        return Finding(topic, True, check(), needed)
    except FkpError as error:
        return Finding(topic, False, str(error), needed)
