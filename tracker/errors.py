"""Every failure a user can cause or meet, each with the exit code of the command line.

A message says what happened, what was seen and expected, and what to do next.  `ValueError` and `TypeError` are
bugs of ours or of a caller's code, shown with their traceback.
"""


class FkpError(Exception):
    """Anything the command line reports in one message, without a traceback."""

    exit_code = 1


class SourceError(FkpError):
    """A film, image, folder or camera cannot be read."""

    exit_code = 3


class WeightsError(FkpError):
    """A model file or its card is missing, altered or does not fit the contract."""

    exit_code = 4


class BackendError(FkpError):
    """A runtime failed."""

    exit_code = 5


class BackendUnavailable(BackendError):
    """A runtime cannot be used on this machine; `auto` continues with the next one."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        """The reason, without the remedy."""


class SinkError(FkpError):
    """An output cannot be written."""

    exit_code = 6


class PipeClosed(FkpError):
    """The reader of our standard output has gone, for example `head`: the run ends without a message."""

    exit_code = 141


class DataError(FkpError):
    """Training or test data, or a keypoint file that is read back, is not what it should be."""

    exit_code = 7


def reason_of(error: OSError) -> str:
    """What the system says, without the file's name, which our messages have anyway."""
    return error.strerror or str(error)


def first_line(error: Exception) -> str:
    """What a library says that says too much."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
