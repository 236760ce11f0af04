"""Every output: its opener and what it needs.  No sink is imported before it is requested."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tracker.sinks.extra import extra
from tracker.sinks.keypoints.registry import FormatName, open_record

if TYPE_CHECKING:
    from tracker.sinks.contract import Sink
    from tracker.sinks.keypoints.record import Header
    from tracker.sources.contract import SourceInfo
    from tracker.support.address import Address

log = logging.getLogger(__name__)


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


def _udp(place: "Address", request: Request) -> "Sink":
    from tracker.sinks.keypoints.udp import open_udp

    return open_udp(place)


def _osc(place: "Address", request: Request) -> "Sink":
    with extra("osc"):
        from tracker.sinks.keypoints.osc import open_osc
    return open_osc(place)


def _lsl(name: str, request: Request) -> "Sink":
    with extra("lsl"):
        from tracker.sinks.keypoints.lsl import open_lsl
    return open_lsl(name, request.info, request.header)


def _rerun(place: "Path | Address", request: Request) -> "Sink":
    with extra("rerun"):
        from tracker.sinks.rerun import open_rerun
    return open_rerun(place, request.info.name, overwrite=request.overwrite)


def _serve(place: "Address", request: Request) -> "Sink":
    with extra("serve"):
        from tracker.sinks.page import open_serve
    server = open_serve(place, request.info, token=request.serve_token)
    log.info("live at %s", server.url)
    return server


def _virtual_camera(asked: bool, request: Request) -> "Sink":
    with extra("virtual-camera"):
        from tracker.sinks.virtual_camera import open_virtual_camera
    camera = open_virtual_camera(request.info)
    log.info("live in the virtual camera %s", camera.device)
    return camera


def _out(path: Path, request: Request) -> "Sink":
    """A film for moving sources, pictures for pictures."""
    if request.info.kind == "images":
        from tracker.sinks.images import open_images

        return open_images(path, request.info, overwrite=request.overwrite)
    from tracker.sinks.film import open_video

    return open_video(path, request.info, overwrite=request.overwrite, anonymous=request.anonymous, mute=request.mute)


def _show(asked: bool, request: Request) -> "Sink":
    from tracker.sinks.window import open_window

    return open_window(f"fkp-track: {request.info.name}", request.info, pace=request.pace)


def _keypoints(path: Path, request: Request) -> "Sink":
    return open_record(path, request.format, request.header, request.overwrite)


OUTPUTS: dict[str, Output] = {
    "out": Output(_out, pictures=True),
    "udp": Output(_udp, live=True, poses=True),
    "osc": Output(_osc, live=True, poses=True),
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
