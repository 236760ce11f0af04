"""One run of the tracker: its options, the resources it opens and closes, and the frames that flow between them.

In: `Options`.  Out: whatever outputs they name.  What happens to a frame is the business of the stages.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tracker.address import Address
from tracker.errors import SinkError
from tracker.formats import FORMATS, RECORDS, STDOUT, FormatName, format_of

if TYPE_CHECKING:  # numpy, OpenCV and the runtimes are imported when a run starts, so that --help answers at once
    from tracker.backends import Backend
    from tracker.detect import Detector
    from tracker.progress import Tally
    from tracker.sinks import Sink
    from tracker.sinks.records import Header
    from tracker.sources import Kind, SourceInfo
    from tracker.types import Frame, Tracked
    from tracker.weights import Weights

log = logging.getLogger(__name__)

DetectorName = Literal["yunet", "mediapipe"]
BackendName = Literal["auto", "tensorrt", "tensorrt-rtx", "cuda", "cpu"]
Precision = Literal["fp32", "fp16"]
Smoothing = Literal["offline", "live", "off"]
StyleName = Literal["classic", "dots", "lines", "mesh", "none"]
ApiName = Literal["v4l2", "dshow", "msmf", "avfoundation", "gstreamer"]
Privacy = Literal["blur", "pixelate", "hide"]
PeerName = Literal["mediapipe"]

DEFAULT_FOV_DEG = 65.0
"""A usual webcam."""
DETECT_SIZE = 320
"""Finds what has 26 px between the eyes in 640x480; see the README."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run of `fkp-track` depends on."""

    source: Path | None = None
    """A film, a picture or a folder of pictures; None for the camera or the demo."""
    called: str | None = None
    """What the outputs say of where they come from, where that is not `source`."""
    camera: int = 0
    width: int | None = None
    """Of a camera's pictures, px, as the camera is asked for; like `height` and `fps` None for what it likes."""
    height: int | None = None
    fps: float | None = None
    backend_api: ApiName | None = None
    """What OpenCV opens cameras with; None for the fastest here."""
    demo: bool = False
    out: Path | None = None
    keypoints: tuple[Path, ...] = ()
    """Files, or STDOUT."""
    format: FormatName | None = None
    """Of those keypoints whose name leaves it open; see `formats.format_of`."""
    show: bool = False
    udp: Address | None = None
    """Where to send JSON datagrams."""
    osc: Address | None = None
    """Where to send Open Sound Control."""
    serve: Address | None = None
    """Where to show a page; port 0 takes a free one."""
    rerun: Path | Address | None = None
    """An .rrd file, or where a Rerun viewer listens."""
    virtual_camera: bool = False
    overwrite: bool = False
    detector: DetectorName = "yunet"
    detect_every: int | Literal["auto"] | None = None
    """Ask the detector on every n-th frame or when it is needed; in between the faces' own keypoints are followed.

    None: when needed, but on every frame where heads are covered.
    """
    detect_size: int = DETECT_SIZE
    """Long side of the picture that the detector sees, px."""
    smooth: Smoothing | None = None
    """None: offline where a film becomes a file, else live."""
    lead_ms: float = 0.0
    """How far ahead live smoothing shows the points, to make up for what camera and screen take."""
    style: StyleName = "classic"
    show_sigma: bool = False
    privacy: Privacy | None = None
    """What is done to the pictures so that nobody is recognised."""
    mirror: bool = False
    backend: BackendName = "auto"
    precision: Precision = "fp32"
    """On a GPU."""
    keep_compiled: bool = True
    """Whether what TensorRT compiles is kept in the user's cache."""
    weights: Path | None = None
    """None for the weights that ship with the package."""
    threads: int = 1
    fov: float = DEFAULT_FOV_DEG
    """The camera's field of view, degrees, along the longer side of the picture; for head poses."""
    show_pose: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files and folders to make; those of a batch may be URLs, which are no `Path`."""
        recording = self.rerun if isinstance(self.rerun, Path) else None
        return tuple(each for each in (self.out, *self.keypoints, recording) if each is not None)

    @property
    def writes_files(self) -> bool:
        """Whether something is made that stays: then nothing needs to be shown, and a film runs as fast as it can."""
        return bool(self.files)

    @property
    def tells_poses(self) -> bool:
        """Whether an output says or shows where heads face."""
        told = (self.udp, self.osc, self.serve, self.rerun)
        return bool(self.keypoints) or self.show_pose or any(place is not None for place in told)

    @property
    def covers_heads(self) -> bool:
        """Whether a face that is overlooked would be seen by everybody."""
        return self.privacy in ("blur", "pixelate")

    @property
    def pace(self) -> int | Literal["auto"]:
        """`detect_every`, settled."""
        return self.detect_every or (1 if self.covers_heads else "auto")

    @property
    def streams(self) -> bool:
        """Whether another program listens or watches, now."""
        places = (self.udp, self.osc, self.serve, self.rerun)
        return self.virtual_camera or any(isinstance(place, Address) for place in places)


def run(options: Options, tally: "Tally", *, bar: bool = True) -> None:
    """Track the source into every output asked for, counting into `tally`; with `bar` a terminal shows progress.

    Raises FkpError; whatever ends the run, the outputs are finished and closed before this returns.
    """
    import cv2

    from tracker.backends import Settings, choose_backend
    from tracker.pose import posed
    from tracker.progress import open_progress
    from tracker.sinks import Quit
    from tracker.sources import open_source
    from tracker.sources.camera import Wish
    from tracker.weights import load

    cv2.setNumThreads(options.threads)
    weights = load(options.weights)
    wish = Wish(options.width, options.height, options.fps, options.backend_api)
    settings = Settings(threads=options.threads, precision=options.precision, keep=options.keep_compiled)
    with (
        open_source(options.source, camera=options.camera, demo=options.demo, wish=wish) as source,
        closing((chosen := choose_backend(options.backend, weights, settings)).backend) as backend,
        closing(open_detector_for(options)) as detector,
        open_sinks(options, source.info, header_of(source.info, weights, backend, detector, options)) as sinks,
        open_progress(source.info, visible=bar and not options.show and STDOUT not in options.keypoints) as advance,
        suppress(Quit),
    ):
        if chosen.refused:
            log.info("not used: %s", chosen.refused)
        log.info("backend %s, detector %s, weights %s", backend.name, detector.name, weights.sha256[:12])
        kind = source.info.kind
        results = follow(source, kind, detector, backend, options)
        try:
            for tracked in posed(results, options.fov) if options.tells_poses else results:
                for sink in sinks:
                    sink.write(tracked)
                tally.count(tracked, kind)
                advance()
        finally:
            tally.skipped = source.skipped


def open_detector_for(options: Options) -> "Detector":
    """The detector of `options`; where heads are covered it also tells of what it only half believes to be a face.

    Raises BackendUnavailable, WeightsError.
    """
    from tracker.conceal import SUSPICION
    from tracker.detect import THRESHOLDS, open_detector

    threshold = SUSPICION * THRESHOLDS[options.detector] if options.covers_heads else None
    return open_detector(options.detector, threshold=threshold, input_size=options.detect_size, threads=options.threads)


def follow(
    frames: "Iterable[Frame]", kind: "Kind", detector: "Detector", backend: "Backend", options: Options
) -> "Iterable[Tracked]":
    """One result per frame, in order, smoothed as asked.

    `kind` says what the frames are to each other.  Of `options` count those that no resource is opened with.
    """
    from tracker.conceal import AHEAD_S, concealed
    from tracker.detect import THRESHOLDS, paced
    from tracker.detect.closeness import GLANCES
    from tracker.detect.wary import Wary
    from tracker.identity import EachAlone, Identity
    from tracker.locate import Locate
    from tracker.offline import offline
    from tracker.pipeline import track
    from tracker.smooth import PoseAndShape, unsmoothed
    from tracker.sources import mirrored

    frames, locate = mirrored(frames) if options.mirror else frames, Locate(backend)
    wary = Wary(detector, THRESHOLDS[options.detector] if options.covers_heads else 0.0)
    if kind == "images":  # they have nothing to do with each other
        results = track(frames, wary, EachAlone(), locate, unsmoothed)
        return concealed(results, options.privacy, wary, hold_s=0.0)
    smooth = options.smooth or ("offline" if options.writes_files and kind == "film" else "live")
    identity = Identity()
    detect = paced(wary, options.pace, identity, glances=0 if options.covers_heads else GLANCES)
    live = PoseAndShape(lead_s=options.lead_ms / 1000) if smooth == "live" else unsmoothed
    results = track(frames, detect, identity, locate, live)
    may_be_late = kind == "film" and (options.writes_files or smooth == "offline")
    shown = concealed(results, options.privacy, wary, ahead_s=AHEAD_S if may_be_late else 0.0)
    return offline(shown) if smooth == "offline" else shown


def header_of(
    info: "SourceInfo", weights: "Weights", backend: "Backend", detector: "Detector", options: Options
) -> "Header":
    """What every keypoint file says of its own origin."""
    from tracker.sinks.records import Header

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
def open_sinks(options: Options, info: "SourceInfo", header: "Header") -> Iterator[list["Sink"]]:
    """Every output of `options`, opened; each is closed at the end even where another one fails, and whenever Ctrl-C
    arrives.

    Raises SinkError, before any frame is read, for an output that exists or cannot be written.
    """
    from tracker.draw import draw
    from tracker.program import undisturbed
    from tracker.sinks import Annotate, Sink
    from tracker.sinks.files import clear_leftovers, open_partial
    from tracker.sinks.pace import Paced
    from tracker.sinks.window import open_window

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


def open_streams(options: Options, info: "SourceInfo") -> "Iterator[Sink]":
    """The outputs that give results to other programs, with the frame as it is.  Raises SinkError where one cannot."""
    from tracker.sinks import extra

    if options.udp is not None:
        from tracker.sinks.udp import open_udp

        yield open_udp(options.udp)
    if options.osc is not None:
        with extra("osc"):
            from tracker.sinks.osc import open_osc
        yield open_osc(options.osc)
    if isinstance(options.rerun, Address):
        yield open_rerun_sink(options.rerun, info, options.overwrite)


def open_rerun_sink(place: Path | Address, info: "SourceInfo", overwrite: bool) -> "Sink":
    """A Rerun viewer that listens, or a file for one.  Raises SinkError where none answers or it cannot be written."""
    from tracker.sinks import extra

    with extra("rerun"):
        from tracker.sinks.rerun import open_rerun
    return open_rerun(place, info.name, overwrite=overwrite)


def open_previews(options: Options, info: "SourceInfo") -> "Iterator[Sink]":
    """The outputs that show the annotated picture elsewhere.  Raises SinkError where one cannot."""
    from tracker.sinks import extra

    if options.serve is not None:
        with extra("serve"):
            from tracker.sinks.serve import open_serve
        server = open_serve(options.serve, info)
        log.info("live at %s", server.url)
        yield server
    if options.virtual_camera:
        with extra("virtual-camera"):
            from tracker.sinks.virtual_camera import open_virtual_camera
        camera = open_virtual_camera(info)
        log.info("live in the virtual camera %s", camera.device)
        yield camera


def open_record(path: Path, asked: FormatName | None, header: "Header", overwrite: bool) -> "Sink":
    """A file of keypoints, or stdout, in the format that its name and the user say.  Raises SinkError for neither."""
    name = format_of(path, asked)
    if name is None:
        raise SinkError(f"{path} ends in none of {', '.join(RECORDS)}, and no format was given")
    return FORMATS[name].open(path, header, overwrite)


def open_picture(path: Path, info: "SourceInfo", overwrite: bool) -> "Sink":
    """Annotated pictures: a film for whatever moves, pictures for pictures."""
    if info.kind == "images":
        from tracker.sinks.images import open_images

        return open_images(path, info, overwrite=overwrite)
    from tracker.sinks.video import open_video

    return open_video(path, info, overwrite=overwrite)
