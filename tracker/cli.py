"""`fkp-track`: the command line.

It turns words into one `Options`, opens and closes every resource of the run, and turns failures into one message and
an exit code.  What happens to a frame is the business of the stages.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracker.program import run_program

if TYPE_CHECKING:  # numpy, OpenCV and the runtimes are imported when a run starts, so that --help answers at once
    from tracker.backends import Backend
    from tracker.detect import Detector
    from tracker.progress import Tally
    from tracker.sinks import Sink
    from tracker.sinks.records import Header
    from tracker.sources import Source, SourceInfo
    from tracker.types import Tracked
    from tracker.weights import Weights

log = logging.getLogger(__name__)

DetectorName = Literal["yunet", "mediapipe"]
BackendName = Literal["auto", "cuda", "cpu"]
Smoothing = Literal["offline", "live", "off"]
RECORDS = (".jsonl", ".csv")
"""Suffixes of keypoint files, each naming its format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything a run of `fkp-track` depends on."""

    source: Path | None = None
    """A film, a picture or a folder of pictures; None for the camera or the demo."""
    camera: int = 0
    demo: bool = False
    out: Path | None = None
    keypoints: tuple[Path, ...] = ()
    show: bool = False
    overwrite: bool = False
    detector: DetectorName = "yunet"
    detect_every: int | Literal["auto"] = 1
    """Ask the detector on every n-th frame or when it is needed; in between the faces' own keypoints are followed."""
    smooth: Smoothing | None = None
    """None: offline where a film becomes a file, else live."""
    backend: BackendName = "auto"
    weights: Path | None = None
    """None for the weights that ship with the package."""
    threads: int = 1


def run(options: Options, tally: "Tally") -> None:
    """Track the source into every output asked for, counting into `tally`.

    Raises FkpError; whatever ends the run, the outputs are finished and closed before this returns.
    """
    import cv2

    from tracker.backends import open_backend
    from tracker.detect import open_detector
    from tracker.progress import open_progress
    from tracker.sinks import Quit
    from tracker.sources import open_source
    from tracker.weights import load

    cv2.setNumThreads(options.threads)
    weights = load(options.weights)
    with (
        open_source(options.source, camera=options.camera, demo=options.demo) as source,
        closing(open_backend(options.backend, weights, threads=options.threads)) as backend,
        closing(open_detector(options.detector, threads=options.threads)) as detector,
        open_sinks(options, source.info, header_of(source.info, weights, backend, detector)) as sinks,
        open_progress(source.info, visible=not options.show) as advance,
        suppress(Quit),
    ):
        log.info("backend %s, detector %s, weights %s", backend.name, detector.name, weights.sha256[:12])
        for tracked in follow(source, detector, backend, options):
            for sink in sinks:
                sink.write(tracked)
            tally.count(tracked)
            tally.skipped = source.skipped
            advance()


def follow(source: "Source", detector: "Detector", backend: "Backend", options: Options) -> "Iterable[Tracked]":
    """One result per frame of `source`, in order, smoothed as asked."""
    from tracker.detect import paced
    from tracker.identity import EachAlone, Identity
    from tracker.locate import Locate
    from tracker.offline import offline
    from tracker.pipeline import track
    from tracker.smooth import OneEuro, unsmoothed

    locate = Locate(backend)
    if source.info.kind == "images":  # they have nothing to do with each other
        return track(source, detector, EachAlone(), locate, unsmoothed)
    into_file = options.out is not None or bool(options.keypoints)
    smooth = options.smooth or ("offline" if into_file and source.info.kind == "film" else "live")
    identity = Identity()
    detect = paced(detector, options.detect_every, identity)
    results = track(source, detect, identity, locate, OneEuro() if smooth == "live" else unsmoothed)
    return offline(results) if smooth == "offline" else results


def header_of(info: "SourceInfo", weights: "Weights", backend: "Backend", detector: "Detector") -> "Header":
    """What every keypoint file says of its own origin."""
    from tracker.sinks.records import Header

    return Header(
        source=info.name,
        width=info.width,
        height=info.height,
        weights_sha256=weights.sha256,
        backend=backend.name,
        detector=detector.name,
    )


@contextmanager
def open_sinks(options: Options, info: "SourceInfo", header: "Header") -> Iterator[list["Sink"]]:
    """Every output of `options`, opened; each is closed at the end even where another one fails.

    Raises SinkError, before any frame is read, for an output that exists or cannot be written.
    """
    from tracker.draw import draw
    from tracker.sinks import Annotate, Sink
    from tracker.sinks.files import refuse_existing
    from tracker.sinks.window import open_window

    for path in options.keypoints:  # all are looked at before the first is begun
        refuse_existing(path, overwrite=options.overwrite)
    with ExitStack() as stack:

        def use(sink: Sink) -> Sink:
            return stack.enter_context(closing(sink))

        pictures = []
        if options.out is not None:
            pictures.append(use(open_picture(options.out, info, options.overwrite)))
        if options.show:
            only_watched = options.out is None and not options.keypoints
            pictures.append(use(open_window(f"fkp-track: {info.name}", info, pace=only_watched)))
        records = [use(open_record(path, header, options.overwrite)) for path in options.keypoints]
        yield [*records, Annotate(draw, pictures)] if pictures else records


def open_record(path: Path, header: "Header", overwrite: bool) -> "Sink":
    """A file of keypoints in the format that its suffix names."""
    if path.suffix.lower() == ".csv":
        from tracker.sinks.csv import open_csv

        return open_csv(path, header, overwrite)
    from tracker.sinks.jsonl import open_jsonl

    return open_jsonl(path, header, overwrite)


def open_picture(path: Path, info: "SourceInfo", overwrite: bool) -> "Sink":
    """Annotated pictures: a film for whatever moves, pictures for pictures."""
    if info.kind == "images":
        from tracker.sinks.images import open_images

        return open_images(path, info, overwrite=overwrite)
    from tracker.sinks.video import open_video

    return open_video(path, info, overwrite=overwrite)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def _print_version(asked: bool) -> None:
    if asked:
        from tracker import __version__

        print(f"fkp {__version__}")
        raise typer.Exit


def every(text: str) -> int | Literal["auto"]:
    """How often to detect, as typed.  Raises BadParameter."""
    if text == "auto":
        return "auto"
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise typer.BadParameter(f"{text} is neither a number from 1 nor auto", param_hint="--detect-every")


@app.command()
def command(
    *,
    source: Annotated[
        Path | None, typer.Argument(metavar="[SOURCE]", help="A film, a picture or a folder of pictures.")
    ] = None,
    camera: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Camera to use; 0 where no SOURCE is given.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="A synthetic camera: needs neither camera nor film.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE_OR_DIR", help="Annotated film; for pictures a picture or a folder.")
    ] = None,
    keypoints: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Keypoints as .jsonl or .csv; may be given again.")
    ] = None,
    show: Annotated[
        bool | None,
        typer.Option("--show/--no-show", help="A live window.  [default: shown when there is no other output]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    detector: Annotated[DetectorName, typer.Option(help="What finds faces.")] = "yunet",
    detect_every: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Detect on every N-th frame, or when needed; else follow the keypoints."),
    ] = "1",
    smooth: Annotated[
        Smoothing | None,
        typer.Option(
            help="Steady the points: offline looks 0.3 s ahead and has no lag, live knows the past alone.  "
            "[default: offline where a film becomes a file, else live]"
        ),
    ] = None,
    no_smooth: Annotated[bool, typer.Option("--no-smooth", hidden=True, help="--smooth off")] = False,
    backend: Annotated[BackendName, typer.Option(help="What runs the network; auto takes the fastest here.")] = "auto",
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Another network: its .onnx with the .json card beside it.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processor threads for detector, network and picture operations.")
    ] = 1,
    verbose: Annotated[int, typer.Option("-v", count=True, help="Say more; -vv: everything.")] = 0,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Check what works on this machine, with a hint for what does not.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Follow the 15 keypoints of every face in a film, a camera or pictures.

    Keys in the window: q or Esc quits, s takes a snapshot, space pauses and goes on to the next picture.
    """
    _log_to_stderr(verbose)
    if doctor:
        from tracker.doctor import examine

        raise typer.Exit(examine())
    options = Options(
        source=source,
        camera=0 if camera is None else camera,
        demo=demo,
        out=out,
        keypoints=tuple(keypoints or ()),
        overwrite=overwrite,
        detector=detector,
        detect_every=every(detect_every),
        smooth="off" if no_smooth else smooth,
        backend=backend,
        weights=weights,
        threads=threads,
    )
    _refuse_two_sources(options, camera_given=camera is not None)
    _refuse_clashing_outputs(options)
    _run_and_report(_with_window_or_file(options, show))


def main() -> None:
    """The program: runs the command line and exits with the documented code."""
    run_program(app, "fkp-track")


def _log_to_stderr(verbose: int) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s" if verbose else "fkp-track: %(message)s")
    log.setLevel(min(level, logging.INFO))  # what the run does is said always, why the stages did so with -v


def _refuse_two_sources(options: Options, *, camera_given: bool) -> None:
    if options.demo + camera_given + (options.source is not None) > 1:
        raise typer.BadParameter("give one of SOURCE, --camera and --demo")


def _refuse_clashing_outputs(options: Options) -> None:
    """An output of an unknown kind, or one that would replace the source or another output, is a usage error."""
    for path in options.keypoints:
        if path.suffix.lower() not in RECORDS:
            raise typer.BadParameter(f"{path} ends in none of {', '.join(RECORDS)}", param_hint="--keypoints")
    outputs = [path.resolve() for path in (*options.keypoints, options.out) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise typer.BadParameter("two outputs have the same name")
    if options.source is None or options.out is None:
        return
    source = options.source.resolve()
    if source in outputs or (source.is_file() and source.parent in outputs):
        raise typer.BadParameter(f"{options.out} would replace the source; give another name", param_hint="--out")


def _with_window_or_file(options: Options, show: bool | None) -> Options:
    """Settle what the run gives out where the user left it open: a window, or for a demo without a display a film."""
    if show is not None or options.out is not None or options.keypoints:
        return replace(options, show=bool(show))
    if options.demo:
        from tracker.sinks.files import free_name
        from tracker.sinks.window import has_display

        if not has_display():
            film = free_name(Path("fkp-demo.mp4"))
            log.info("no display here: the demo goes to %s", film)
            return replace(options, out=film)
    return replace(options, show=True)


def _run_and_report(options: Options) -> None:
    from tracker.progress import Tally

    tally = Tally()
    try:
        run(options, tally)
    finally:
        if tally.frames:
            outputs = ", ".join(str(path) for path in (options.out, *options.keypoints) if path is not None)
            log.info("%s%s", tally, f" -> {outputs}" if outputs else "")


if __name__ == "__main__":
    main()
