"""How each of our programs starts and ends: signals, exit codes, and one message for what a user can mend."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tracker.errors import FkpError, PipeClosed

STOPS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Ctrl-C or SIGTERM arrived.  No `Exception`, so that nothing takes it for a failure it can handle."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def run_program(app: Callable[[], object], name: str, *, extra: str | None = None) -> None:
    """Run the command line `app`; leave with the documented code where it fails or is stopped.

    `extra` is the optional part of the installation whose packages the program needs.
    """
    for number in STOPS:
        signal.signal(number, _stop)
    _occupy_standard_streams()
    try:
        app()
    except PipeClosed as quiet:
        sys.exit(quiet.exit_code)
    except FkpError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ImportError as error:
        if isinstance(error.__cause__, Stopped):  # compiled modules say so when a signal arrives while they start
            sys.exit(error.__cause__.exit_code)
        print(f"{name}: {error}; {_way_out(error, extra)}", file=sys.stderr)
        sys.exit(FkpError.exit_code)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _occupy_standard_streams() -> None:
    """A closed one would hand its number to the next file, and what a library says would end up in there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # 2>&-
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _way_out(error: ImportError, extra: str | None) -> str:
    """What to install; an import that fails for another reason is our bug and is raised again."""
    if "cannot open shared object file" in str(error):
        return "on a bare Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
    ours = (error.name or "").partition(".")[0] in ("tracker", "train", "weights")
    if extra is None or ours or not isinstance(error, ModuleNotFoundError):
        raise error
    return f"this needs more than the base installation: pip install 'fkp[{extra}]'"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is through, so that they leave nothing half changed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    arrived: list[int] = []
    handlers = {each: signal.signal(each, lambda number, _frame: arrived.append(number)) for each in STOPS}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    for number in arrived[:1]:
        signal.raise_signal(number)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)  # from here on the outputs are being finished; a second Ctrl-C must not
    raise Stopped(number)
