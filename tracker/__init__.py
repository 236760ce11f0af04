"""Real-time facial keypoint tracker: 15 keypoints on every face of a film, camera or picture.

`import tracker` is cheap; the names below are fetched from their modules when first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "FkpError": "tracker.errors",
    "KEYPOINTS": "tracker.spec",
    "MIRROR": "tracker.spec",
    "Identity": "tracker.identity",
    "Locate": "tracker.locate",
    "OneEuro": "tracker.smooth",
    "load_weights": "tracker.weights",
    "open_backend": "tracker.backends",
    "open_detector": "tracker.detect",
    "open_source": "tracker.sources",
    "track": "tracker.pipeline",
}
_ORIGINAL = {"load_weights": "load"}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604, names of a literal dict


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tracker' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), _ORIGINAL.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
