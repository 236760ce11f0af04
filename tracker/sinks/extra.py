"""The optional packages of an output."""

from collections.abc import Iterator
from contextlib import contextmanager

from tracker.errors import SinkError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import packages of the extra `name`.  Raises SinkError if they are missing."""
    try:
        yield
    except ImportError as error:
        raise SinkError(f'this output needs an extra ({error}): pip install "fkp[{name}]"') from error
