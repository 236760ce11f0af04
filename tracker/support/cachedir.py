"""The folder for cached files: `fkp` in the user's cache directory."""

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """XDG_CACHE_HOME/fkp if that is set, else the platform's usual place; creates nothing."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "fkp"
