"""The modules of outputs, imported when an output is requested."""

from importlib import import_module
from typing import Any

from tracker.errors import SinkError


def module(name: str, extra: str = "") -> Any:
    """The module `name` below `tracker.sinks`.  Raises SinkError if packages of `extra` are missing."""
    try:
        return import_module(f"tracker.sinks.{name}")
    except ImportError as error:
        if not extra:
            raise
        raise SinkError(f'this output needs an extra ({error}): pip install "fkp[{extra}]"') from error
