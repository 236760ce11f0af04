"""How our programs start and end: signals, exit codes, and one message for failures that users can fix."""

import ctypes
import errno
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tracker.errors import FkpError, PipeClosed
from tracker.support.printable import printable

log = logging.getLogger(__name__)

HANGUP = {"win32": "SIGBREAK"}.get(sys.platform, "SIGHUP")
"""The signal of a closed terminal or a lost connection."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.Signals[HANGUP])

PATIENCE_S = 3.0
"""A second signal this long after the first ends the program immediately."""

NEEDED_BYTES = 1_500_000_000
"""Of address space, most of it never used; an annotated film needs 1.2 GB."""

NO_LIBRARY = ("cannot open shared object file", "DLL load failed", "Library not loaded")
"""Error texts of Linux, Windows and macOS when a compiled module misses a system library."""
NO_MEMORY = ("failed to map segment", "annot allocate memory")
"""The same if there is no room for a library that is there."""
_LIBRARIES = {
    "linux": "that belongs to a desktop: apt-get install libgl1 libglib2.0-0, or without windows: "
    "pip install --force-reinstall --no-deps opencv-python-headless",
    "win32": "install Microsoft's Visual C++ Redistributable (x64), and on Windows N the Media Feature Pack",
}


class Stopped(BaseException):
    """One of `STOPS` arrived.  Not an `Exception`, so that no handler of failures catches it."""

    latest: "Stopped | None" = None
    """Compiled libraries may swallow what is raised while they run, and say instead that they were interrupted."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        Stopped.latest = self


def run_program(app: Callable[[], object], name: str, *, extra: str | None = None) -> None:
    """Run the command line `app`; exit with the documented code if it fails or is stopped.

    `extra` is the optional part of the installation whose packages the program needs.
    """
    try:
        for number in STOPS:
            if number in STOPS[:2] or signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants no hangup
                signal.signal(number, _stop)
        _occupy_standard_streams()
        _warn_of_little_memory(name)
        _watch_for_impatience(name)
        _outlive_the_console()
        app()
    except PipeClosed as quiet:
        sys.exit(quiet.exit_code)
    except FkpError as error:
        if Stopped.latest is not None and isinstance(error.__cause__, InterruptedError):
            sys.exit(Stopped.latest.exit_code)
        _tell(name, str(error))
        sys.exit(error.exit_code)
    except (OSError, MemoryError) as error:
        log.debug("refused here", exc_info=True)
        _tell(name, _refusal(error))
        sys.exit(FkpError.exit_code)
    except ImportError as error:
        if isinstance(error.__cause__, Stopped):  # compiled modules say so when a signal arrives while they start
            sys.exit(error.__cause__.exit_code)
        _tell(name, f"{error}; {_way_out(error, extra)}")
        sys.exit(FkpError.exit_code)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _tell(name: str, message: str) -> None:
    print(f"{name}: {printable(message)}", file=sys.stderr)


def _warn_of_little_memory(name: str) -> None:
    """Without it, libraries crash or call good films damaged."""
    if sys.platform != "win32":
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
        if 0 <= allowed < NEEDED_BYTES:
            told = f"{allowed // 10**6:,} MB of memory (ulimit -v), and may need {NEEDED_BYTES // 10**6:,}"
            _tell(name, f"warning: this program may use only {told}; it can fail in any way: ulimit -v unlimited")


def _occupy_standard_streams() -> None:
    """A closed one would hand its number to the next file, and what a library says would end up in there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:  # 2>&-
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and cameras may be beyond a console's code page
        sys.stdout.reconfigure(errors="backslashreplace")


def _refusal(error: OSError | MemoryError) -> str:
    """What the operating system did not grant, and what to do."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({str(error) or 'none left'}); close other programs"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files ({error}); allow more of them: ulimit -n 1024"
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "the current folder was deleted or may not be entered; change to another one"
    return f"the system refused: {error}"


def _way_out(error: ImportError, extra: str | None) -> str:
    """What to install; raises other import failures again, because they are bugs."""
    if any(says in str(error) for says in NO_LIBRARY):
        return _LIBRARIES.get(sys.platform, "install that library")
    if any(says in str(error) for says in NO_MEMORY):
        return "there is not enough memory; close other programs"
    ours = (error.name or "").partition(".")[0] in ("tracker", "train", "weights")
    if extra is None or ours or not isinstance(error, ModuleNotFoundError):
        raise error
    return f'this needs more than the base installation: pip install "fkp[{extra}]"'


@contextmanager
def undisturbed(on_stop: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Delay signals until the end of the block, so that they leave nothing half changed.

    `on_stop` is called when the first of them arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    arrived: list[int] = []
    wanted = [each for each in STOPS if callable(signal.getsignal(each))]

    def note(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            on_stop()
        arrived.append(number)

    handlers: dict[int, Any] = {each: signal.signal(each, note) for each in wanted}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    for number in arrived[:1]:
        handlers[number](number, None)  # raised again it would look like a second one


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in STOPS:
        signal.signal(each, _ignore)  # from here on the outputs are being finished, which a second Ctrl-C must not end
    raise Stopped(number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN this still wakes the watcher."""


def _watch_for_impatience(name: str) -> None:
    """Let a late second signal end the program at once, even while the main thread waits inside a library."""
    hears, speaks = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(speaks, False)
    signal.set_wakeup_fd(speaks, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(name, hears), name="fkp-signals", daemon=True).start()


def _watch(name: str, hears: int) -> None:
    first_s: float | None = None
    while byte := os.read(hears, 1):
        if byte[0] not in STOPS:
            continue
        now = time.monotonic()
        if first_s is not None and now - first_s > PATIENCE_S:
            os.write(2, f"{name}: ended at once; unfinished files keep their partial names\n".encode())
            os._exit(128 + byte[0])
        first_s = now if first_s is None else first_s


def _outlive_the_console() -> None:
    """Windows ends a program as soon as its handler for the closing window returns: finish the outputs first."""
    if sys.platform != "win32":
        return
    import _thread

    def handle(event: int) -> bool:
        if event < 2:  # Ctrl-C and Ctrl-Break, which Python hears itself
            return False
        _thread.interrupt_main(signal.SIGTERM)
        time.sleep(60)  # Windows grants 5 s, or until the program has ended
        return True

    global _console_handler  # noqa: PLW0603, Windows calls it until the end
    _console_handler = ctypes.WINFUNCTYPE(ctypes.c_bool, ctypes.c_uint32)(handle)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(_console_handler, True)


_console_handler: Any = None
