"""Every output: its opener and what it needs.  No sink is imported before it is requested."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tracker.sinks.keypoints.registry import FORMATS, FormatName, format_of
from tracker.sinks.modules import module

if TYPE_CHECKING:
    from tracker.sinks.contract import Sink
    from tracker.sinks.keypoints.record import Header
    from tracker.sources.contract import SourceInfo
    from tracker.support.address import Address


class Request(NamedTuple):
    """What an output may need to know about the run."""

    info: "SourceInfo"
    header: "Header"
    overwrite: bool
    format: FormatName | None
    """The format of keypoint files whose name does not say it."""
    pace: bool
    """Whether a window shows a film at its own speed."""
    anonymous: bool = False
    """Whether the outputs must not reveal who is shown."""
    mute: bool = False
    """Whether the film is written without sound."""
    serve_token: bool = False
    """Whether the page asks for a token on this machine too."""


class Output(NamedTuple):
    """One row: the option's value goes in, a sink comes out."""

    open: Callable[[Any, Request], "Sink"]
    """(value of the option, request) -> sink.  Raises SinkError."""
    live: bool = False
    """Whether another program or a viewer receives it live; does not apply if the value is a file."""
    pictures: bool = False
    """Whether it takes the annotated picture; otherwise it gets the original frame."""
    shown: bool = False
    """Whether people look at its pictures as they are, so that they have square pixels."""
    poses: bool = False
    """Whether it contains or shows head poses."""


def _out(path: Path, run: Request) -> "Sink":
    """A film for moving sources, pictures for pictures."""
    if run.info.kind == "images":
        return module("images").open_images(path, run.info, overwrite=run.overwrite)
    return module("film").open_video(path, run.info, overwrite=run.overwrite, anonymous=run.anonymous, mute=run.mute)


def _lsl(name: str, run: Request) -> "Sink":
    return module("keypoints.lsl", "lsl").open_lsl(name, run.info, run.header)


def _rerun(place: "Path | Address", run: Request) -> "Sink":
    return module("rerun", "rerun").open_rerun(place, run.info.name, overwrite=run.overwrite)


def _serve(place: "Address", run: Request) -> "Sink":
    return module("page", "serve").open_serve(place, run.info, token=run.serve_token)


def _virtual_camera(asked: bool, run: Request) -> "Sink":
    return module("virtual_camera", "virtual-camera").open_virtual_camera(run.info)


def _show(asked: bool, run: Request) -> "Sink":
    return module("window").open_window(f"fkp-track: {run.info.name}", run.info, pace=run.pace)


def _keypoints(path: Path, run: Request) -> "Sink":
    name = format_of(path, run.format)
    assert name is not None, "the command line refuses a name that says no format"
    return FORMATS[name].open(path, run.header, run.overwrite)


OUTPUTS: dict[str, Output] = {
    "out": Output(_out, pictures=True),
    "udp": Output(lambda place, _: module("keypoints.udp").open_udp(place), live=True, poses=True),
    "osc": Output(lambda place, _: module("keypoints.osc", "osc").open_osc(place), live=True, poses=True),
    "lsl": Output(_lsl, live=True, poses=True),
    "rerun": Output(_rerun, live=True, shown=True, poses=True),
    "serve": Output(_serve, live=True, pictures=True, shown=True, poses=True),
    "virtual_camera": Output(_virtual_camera, live=True, pictures=True, shown=True),
    "show": Output(_show, pictures=True, shown=True),
    "keypoints": Output(_keypoints, poses=True),
}
"""Every output by its option in `tracker.options`, in the order in which they are opened.

A window comes after other pictures, because it may end the run.
"""
