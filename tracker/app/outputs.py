"""Every output of a run, opened together and closed together."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from tracker.backends.contract import Backend
from tracker.backends.weights import Weights
from tracker.detectors.contract import Detector
from tracker.drawing.draw import draw
from tracker.errors import SinkError
from tracker.options import STDOUT, FormatName, Options
from tracker.sinks.contract import Annotate, Sink, extra
from tracker.sinks.keypoints.record import Header
from tracker.sinks.keypoints.registry import FORMATS, RECORDS, format_of
from tracker.sinks.playback import Paced
from tracker.sinks.window import open_window
from tracker.sources.contract import SourceInfo
from tracker.support.address import Address
from tracker.support.atomic import clear_leftovers, open_partial
from tracker.support.process import undisturbed

log = logging.getLogger(__name__)


def header_of(info: SourceInfo, weights: Weights, backend: Backend, detector: Detector, options: Options) -> Header:
    """What every keypoint file says of its own origin."""
    return Header(
        source=options.called or info.name,
        width=info.width,
        height=info.height,
        weights_sha256=weights.sha256,
        backend=backend.name,
        detector=detector.name,
        fov_deg=options.fov,
        mirrored=options.mirror,
    )


@contextmanager
def open_sinks(options: Options, info: SourceInfo, header: Header) -> Iterator[list[Sink]]:
    """Every output of `options`, opened; each is closed at the end even where another one fails, and whenever Ctrl-C
    arrives.

    Raises SinkError, before any frame is read, for an output that exists or cannot be written.
    """
    files = [path for path in options.keypoints if path != STDOUT]
    if isinstance(options.rerun, Path):
        files.append(options.rerun)
    for path in files:  # all are tried before the first is begun
        open_partial(path, overwrite=options.overwrite).discard()
    if options.out is not None and info.kind != "images":
        files.append(options.out)
    clear_leftovers(files, keep=info.kind == "camera")
    with ExitStack() as afterwards, ExitStack() as stack:

        def use(sink: Sink) -> Sink:
            return stack.enter_context(closing(sink))

        streams = [use(sink) for sink in open_streams(options, info)]
        pictures = []
        with undisturbed():  # a file that is begun is one that will be closed
            if options.out is not None:
                pictures.append(use(open_picture(options.out, info, options.overwrite)))
            if isinstance(options.rerun, Path):
                streams.append(use(open_rerun_sink(options.rerun, info, options.overwrite)))
            pictures += [use(sink) for sink in open_previews(options, info)]
            if options.show:
                pictures.append(use(open_window(f"fkp-track: {info.name}", info, pace=not options.writes_files)))
            records = [use(open_record(path, options.format, header, options.overwrite)) for path in options.keypoints]
        stack.callback(afterwards.enter_context, undisturbed())  # the first thing done at the end
        look = partial(draw, style=options.style, show_sigma=options.show_sigma, show_pose=options.show_pose)
        annotated = [Annotate(look, pictures)] if pictures else []
        watched_elsewhere = options.streams and not options.show and not options.writes_files
        paced = [Paced()] if watched_elsewhere and info.can_run_ahead else []
        yield [*streams, *records, *annotated, *paced]


def open_streams(options: Options, info: SourceInfo) -> Iterator[Sink]:
    """The outputs that give results to other programs, with the frame as it is.  Raises SinkError where one cannot."""
    if options.udp is not None:
        from tracker.sinks.keypoints.udp import open_udp

        yield open_udp(options.udp)
    if options.osc is not None:
        with extra("osc"):
            from tracker.sinks.keypoints.osc import open_osc
        yield open_osc(options.osc)
    if isinstance(options.rerun, Address):
        yield open_rerun_sink(options.rerun, info, options.overwrite)


def open_rerun_sink(place: Path | Address, info: SourceInfo, overwrite: bool) -> Sink:
    """A Rerun viewer that listens, or a file for one.  Raises SinkError where none answers or it cannot be written."""
    with extra("rerun"):
        from tracker.sinks.rerun import open_rerun
    return open_rerun(place, info.name, overwrite=overwrite)


def open_previews(options: Options, info: SourceInfo) -> Iterator[Sink]:
    """The outputs that show the annotated picture elsewhere.  Raises SinkError where one cannot."""
    if options.serve is not None:
        with extra("serve"):
            from tracker.sinks.page import open_serve
        server = open_serve(options.serve, info)
        log.info("live at %s", server.url)
        yield server
    if options.virtual_camera:
        with extra("virtual-camera"):
            from tracker.sinks.virtual_camera import open_virtual_camera
        camera = open_virtual_camera(info)
        log.info("live in the virtual camera %s", camera.device)
        yield camera


def open_record(path: Path, asked: FormatName | None, header: Header, overwrite: bool) -> Sink:
    """A file of keypoints, or stdout, in the format that its name and the user say.  Raises SinkError for neither."""
    name = format_of(path, asked)
    if name is None:
        raise SinkError(f"{path} ends in none of {', '.join(RECORDS)}, and no format was given")
    return FORMATS[name].open(path, header, overwrite)


def open_picture(path: Path, info: SourceInfo, overwrite: bool) -> Sink:
    """Annotated pictures: a film for whatever moves, pictures for pictures."""
    if info.kind == "images":
        from tracker.sinks.images import open_images

        return open_images(path, info, overwrite=overwrite)
    from tracker.sinks.film import open_video

    return open_video(path, info, overwrite=overwrite)
