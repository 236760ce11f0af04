"""Real-time facial keypoint tracker: 15 keypoints on every face of a film, camera or picture.

`import tracker` is cheap; the names below are fetched from their modules when first asked for.
"""

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.api import Tracker, track_video
    from tracker.backends.choice import open_backend
    from tracker.backends.weights import load as load_weights
    from tracker.core.association import Identity
    from tracker.core.landmarks import Locate
    from tracker.core.loop import track
    from tracker.core.smoothing import PoseAndShape
    from tracker.detectors.registry import open_detector
    from tracker.errors import FkpError
    from tracker.sources.registry import open_source
    from tracker.spec import INDEX, KEYPOINTS, MIRROR
    from tracker.types import Tracked

__version__ = "0.1.0"

if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    warnings.warn(
        "onnxruntime was imported before tracker, so its usage reporting is on; import tracker first, "
        "or set ORT_DISABLE_TELEMETRY=1 before Python starts",
        stacklevel=2,
    )
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime reports its use to its makers unless it finds this when it is imported.  Set it to 0 to let it."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "200000000")
"""A picture of some kilobytes can claim gigabytes.  OpenCV reads this when it is imported, then sizes before pixels."""

__all__ = [
    "INDEX",
    "KEYPOINTS",
    "MIRROR",
    "FkpError",
    "Identity",
    "Locate",
    "PoseAndShape",
    "Tracked",
    "Tracker",
    "__version__",
    "load_weights",
    "open_backend",
    "open_detector",
    "open_source",
    "track",
    "track_video",
]

_HOME = {
    "INDEX": "tracker.spec",
    "KEYPOINTS": "tracker.spec",
    "MIRROR": "tracker.spec",
    "FkpError": "tracker.errors",
    "Identity": "tracker.core.association",
    "Locate": "tracker.core.landmarks",
    "PoseAndShape": "tracker.core.smoothing",
    "Tracked": "tracker.types",
    "Tracker": "tracker.api",
    "load_weights": "tracker.backends.weights",
    "open_backend": "tracker.backends.choice",
    "open_detector": "tracker.detectors.registry",
    "open_source": "tracker.sources.registry",
    "track": "tracker.core.loop",
    "track_video": "tracker.api",
}
_ORIGINAL = {"load_weights": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tracker' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), _ORIGINAL.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
