"""`fkp-track`: the command line.

It turns words into one `Options` and leaves the work to `tracker.app.run`.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from tracker.batch.run import Batch, is_batch, run_batch
from tracker.batch.storage import place
from tracker.commands.help import BATCH, CONTEXT, INPUT, LIVE, LOOKS, MACHINE, OUTPUT, TRACKING, PlainCommand
from tracker.errors import FkpError
from tracker.options import (
    DEFAULT_FOV_DEG,
    DETECT_SIZE,
    STDOUT,
    ApiName,
    BackendName,
    DetectorName,
    FormatName,
    Options,
    Precision,
    Privacy,
    Smoothing,
    StyleName,
)
from tracker.sinks.keypoints.registry import RECORDS, format_of
from tracker.support.address import LOOPBACK, Address, parse_address
from tracker.support.process import run_program

log = logging.getLogger(__name__)

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

USUAL = {
    "--serve": ("8010", r"(\S+:)?\d+"),
    "--rerun": (f"{LOOPBACK}:9876", r".+\.rrd|\S+:\d+"),
}
"""Options that may stand alone, each with what it then means and a pattern of the values that may follow it."""

EXAMPLES = """\b
Examples:
  fkp-track                                   camera 0 in a window
  fkp-track talk.mp4 --out tracked.mp4        an annotated film, with sound
  fkp-track talk.mp4 --keypoints points.csv   keypoints for a spreadsheet
  fkp-track photos/ --out annotated/          a folder of pictures
  fkp-track films/ --keypoints points/        every film below a folder
"""


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


def address(text: str) -> Address:
    """Where to send to, as typed.  Raises BadParameter."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def listening_address(text: str) -> Address:
    """Where to listen, as typed: on this machine alone where no host is named.  Raises BadParameter."""
    try:
        return parse_address(text, host=LOOPBACK, lowest_port=0)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def rerun_place(text: str) -> Path | Address:
    """A file or a viewer, as typed.  Raises BadParameter."""
    return Path(text) if text.endswith(".rrd") else address(text)


def filled_in(words: list[str]) -> list[str]:
    """The command line with the usual value after each option of `USUAL` that stands without one."""
    filled = []
    for word, following in pairwise([*words, ""]):
        filled.append(word)
        usual, value = USUAL.get(word, ("", ""))
        if usual and not re.fullmatch(value, following):
            filled.append(usual)
    return filled


class Command(PlainCommand):
    """Some options may stand without their value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        return super().parse_args(ctx, filled_in(args))


@app.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
def command(
    *,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE",
            parser=place,
            help="A film, a picture or a folder of pictures; a folder of films or several of these make a batch.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    camera: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Camera number N; 0 where nothing else is named.", rich_help_panel=INPUT),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A synthetic camera of ten seconds.", rich_help_panel=INPUT)
    ] = False,
    list_cameras: Annotated[
        bool, typer.Option("--list-cameras", help="List cameras with their sizes and rates.", rich_help_panel=INPUT)
    ] = False,
    width: Annotated[
        int | None,
        typer.Option(min=1, metavar="PX", help="Width to ask the camera for.", rich_help_panel=INPUT),
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=1, metavar="PX", help="Height to ask the camera for.", rich_help_panel=INPUT)
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=1, metavar="N", help="Frames per second to ask the camera for.", rich_help_panel=INPUT),
    ] = None,
    backend_api: Annotated[
        ApiName | None,
        typer.Option(
            metavar="NAME", help=f"Open the camera with {', '.join(get_args(ApiName))}.", rich_help_panel=INPUT
        ),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mirror the picture, and left and right with it.", rich_help_panel=INPUT)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            parser=place,
            help="Annotated film; for pictures a picture or a folder, for films a folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    keypoints: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            parser=place,
            help="Keypoints as .jsonl, .csv, .parquet, .openface.csv or .coco.json; - is stdout.  May be given again.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format: Annotated[
        FormatName | None,
        typer.Option(
            help="Format of --keypoints whose name does not tell it.  [default: jsonl]", rich_help_panel=OUTPUT
        ),
    ] = None,
    show: Annotated[
        bool | None,
        typer.Option(
            "--show/--no-show",
            help="A live window.  [default: shown when there is no other output]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.", rich_help_panel=OUTPUT)
    ] = False,
    udp: Annotated[
        Address | None,
        typer.Option(
            parser=address,
            metavar="HOST:PORT",
            help="Keypoints to another program, one JSON datagram per frame.",
            rich_help_panel=LIVE,
        ),
    ] = None,
    osc: Annotated[
        Address | None,
        typer.Option(
            parser=address, metavar="HOST:PORT", help="The same in Open Sound Control messages.", rich_help_panel=LIVE
        ),
    ] = None,
    serve: Annotated[
        Address | None,
        typer.Option(
            parser=listening_address,
            metavar="[[HOST:]PORT]",
            help="A page with the live picture, at http://127.0.0.1:8010 unless said otherwise.",
            rich_help_panel=LIVE,
        ),
    ] = None,
    virtual_camera: Annotated[
        bool,
        typer.Option(
            "--virtual-camera", help="The annotated picture as a camera for video calls.", rich_help_panel=LIVE
        ),
    ] = False,
    rerun: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE.rrd|HOST:PORT]",
            help="Pictures and keypoints to the Rerun viewer on this machine, to a file for it, or to one elsewhere.",
            rich_help_panel=LIVE,
        ),
    ] = None,
    style: Annotated[StyleName, typer.Option(help="What is drawn on a face.", rich_help_panel=LOOKS)] = "classic",
    show_sigma: Annotated[
        bool, typer.Option("--show-sigma", help="Draw each point's uncertainty, two sigma wide.", rich_help_panel=LOOKS)
    ] = False,
    show_pose: Annotated[
        bool,
        typer.Option("--show-pose", help="Draw each head's axes: left, up, forward.", rich_help_panel=LOOKS),
    ] = False,
    blur: Annotated[bool, typer.Option("--blur", help="Blur every head.", rich_help_panel=LOOKS)] = False,
    pixelate: Annotated[bool, typer.Option("--pixelate", help="Pixelate every head.", rich_help_panel=LOOKS)] = False,
    hide_video: Annotated[
        bool, typer.Option("--hide-video", help="Show keypoints on black.", rich_help_panel=LOOKS)
    ] = False,
    detector: Annotated[DetectorName, typer.Option(help="What finds faces.", rich_help_panel=TRACKING)] = "yunet",
    detect_every: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Look for faces on every N-th frame, or when needed; between, follow their keypoints.  "
            "[default: auto; every frame with --blur and --pixelate]",
            rich_help_panel=TRACKING,
        ),
    ] = None,
    detect_size: Annotated[
        int,
        typer.Option(
            min=32,
            metavar="PX",
            help="Long side of the picture that yunet sees: 640 finds faces half as large in four times the time.",
            rich_help_panel=TRACKING,
        ),
    ] = DETECT_SIZE,
    smooth: Annotated[
        Smoothing | None,
        typer.Option(
            help="Steady the points: offline looks 0.3 s ahead and has no lag, live knows the past alone.  "
            "[default: offline where a film becomes a file, else live]",
            rich_help_panel=TRACKING,
        ),
    ] = None,
    no_smooth: Annotated[bool, typer.Option("--no-smooth", hidden=True, help="--smooth off")] = False,
    lead: Annotated[
        float,
        typer.Option(
            min=0,
            max=100,
            metavar="MS",
            help="Show live points where they will be so much later, as camera and screen are late.",
            rich_help_panel=TRACKING,
        ),
    ] = 0.0,
    fov: Annotated[
        float,
        typer.Option(
            min=1,
            max=170,
            metavar="DEGREES",
            help="The camera's field of view along the longer side, for head poses.",
            rich_help_panel=TRACKING,
        ),
    ] = DEFAULT_FOV_DEG,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            help="Films at a time.  [default: one per two processors]",
            rich_help_panel=BATCH,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on the Ray cluster at HOST:PORT or ray://HOST:PORT, or on this machine's: auto.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    backend: Annotated[
        BackendName,
        typer.Option(help="What runs the network; auto takes the fastest here.", rich_help_panel=MACHINE),
    ] = "auto",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Another network: its .onnx with the .json card beside it, or their folder.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="Numbers of the network on a GPU; the processor runs fp32.", rich_help_panel=MACHINE),
    ] = "fp32",
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Neither use nor keep what TensorRT compiled for this GPU.", rich_help_panel=MACHINE
        ),
    ] = False,
    threads: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Processor threads for detector, network and picture operations.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    doctor: Annotated[
        bool,
        typer.Option(
            "--doctor", help="Check what works on this machine, with a hint for what does not.", rich_help_panel=MACHINE
        ),
    ] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, show_default=False, help="Say more; -vv says everything.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Follow the 15 keypoints of every face in a film, a camera or pictures.

    Keys in the window: q or Esc quits, s takes a snapshot, space pauses and goes on to the next picture.
    """
    _log_to_stderr(verbose)
    if doctor:
        from tracker.app.doctor import examine

        raise typer.Exit(examine())
    if list_cameras:
        _print_cameras()
        raise typer.Exit
    options = Options(
        camera=0 if camera is None else camera,
        width=width,
        height=height,
        fps=fps,
        backend_api=backend_api,
        demo=demo,
        out=out,
        keypoints=tuple(keypoints or ()),
        format=format,
        udp=udp,
        osc=osc,
        serve=serve,
        virtual_camera=virtual_camera,
        rerun=None if rerun is None else rerun_place(rerun),
        overwrite=overwrite,
        detector=detector,
        detect_every=None if detect_every is None else every(detect_every),
        detect_size=detect_size,
        smooth="off" if no_smooth else smooth,
        lead_ms=lead,
        style=style,
        show_sigma=show_sigma,
        privacy=_privacy(blur=blur, pixelate=pixelate, hide=hide_video),
        mirror=mirror,
        backend=backend,
        precision=precision,
        keep_compiled=not no_cache,
        weights=weights,
        threads=threads,
        fov=fov,
        show_pose=show_pose,
    )
    named = tuple(sources or ())
    _refuse_two_sources(named, options, camera_given=camera is not None)
    _refuse_blind_spots(options)
    _refuse_idle_lead(named, options)
    _refuse_camera_options(named, options)
    if jobs is not None or ray is not None or is_batch(named, options):
        _run_batch(Batch(sources=named, each=options, jobs=jobs, ray=ray), show)
        return
    options = replace(options, source=next(iter(named), None))
    _refuse_clashing_outputs(options)
    _run_and_report(_with_window_or_file(options, show))


def main() -> None:
    """The program: runs the command line and exits with the documented code."""
    run_program(app, "fkp-track")


def _log_to_stderr(verbose: int) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(name)s: %(message)s" if verbose else "fkp-track: %(message)s")
    always = (log.name, "tracker.app", run_batch.__module__, "tracker.backends", "tracker.sinks")
    for told in map(logging.getLogger, always):  # what is done and by whom; all the rest with -v
        told.setLevel(min(level, logging.INFO))


def _privacy(**asked: bool) -> Privacy | None:
    """The one way of hiding people that was asked for."""
    ways = [way for way in get_args(Privacy) if asked[way]]
    if len(ways) > 1:
        raise typer.BadParameter("give one of --blur, --pixelate and --hide-video")
    return ways[0] if ways else None


def _print_cameras() -> None:
    from tracker.sources.listing import find_cameras

    for found in (cameras := find_cameras()):
        print(found)
    if not cameras:
        log.warning("there is no camera here; connect one, or try: fkp-track --demo")


def _refuse_camera_options(sources: Sequence[Path], options: Options) -> None:
    given = [name for name in ("width", "height", "fps", "backend_api") if getattr(options, name) is not None]
    if given and (sources or options.demo):
        raise typer.BadParameter("is for cameras alone", param_hint=f"--{given[0].replace('_', '-')}")


def _refuse_blind_spots(options: Options) -> None:
    if options.covers_heads and options.pace != 1:
        raise typer.BadParameter(
            "between two looks a newcomer would be seen; leave it out with --blur and --pixelate",
            param_hint="--detect-every",
        )


def _refuse_idle_lead(sources: Sequence[Path], options: Options) -> None:
    looks_ahead = options.smooth is None and bool(sources) and options.writes_files
    if options.lead_ms and (looks_ahead or options.smooth in ("offline", "off")):
        raise typer.BadParameter("is for live points; add --smooth live", param_hint="--lead")


def _refuse_two_sources(sources: Sequence[Path], options: Options, *, camera_given: bool) -> None:
    if options.demo + camera_given + bool(sources) > 1:
        raise typer.BadParameter("give one of SOURCE, --camera and --demo")


def _refuse_clashing_outputs(options: Options) -> None:
    """An output of an unknown kind, or one that would replace the source or another output, is a usage error."""
    formats = {path: format_of(path, options.format) for path in options.keypoints}
    for path in (path for path, format in formats.items() if format is None):
        raise typer.BadParameter(
            f"{path} ends in none of {', '.join(RECORDS)}; say its --format", param_hint="--keypoints"
        )
    if options.format is not None and options.format not in formats.values():
        raise typer.BadParameter(f"no --keypoints is {options.format}; - is standard output", param_hint="--format")
    outputs = [path.resolve() for path in options.files]
    if len(set(outputs)) < len(outputs):
        raise typer.BadParameter("two outputs have the same name")
    if options.source is None:
        return
    source = options.source.resolve()
    for path, output in zip(options.files, outputs, strict=True):
        if output == source or (source.is_file() and output == source.parent):
            raise typer.BadParameter(f"{path} would replace the source; give another name")


def _with_window_or_file(options: Options, show: bool | None) -> Options:
    """Settle what the run gives out where the user left it open: a window, or for a demo without a display a film."""
    if show is not None or options.writes_files or options.streams:
        return replace(options, show=bool(show))
    if options.demo:
        from tracker.sinks.window import has_display
        from tracker.support.atomic import free_name

        if not has_display():
            film = free_name(Path("fkp-demo.mp4"))
            log.info("no display here: the demo goes to %s", film)
            return replace(options, out=film)
    return replace(options, show=True)


def _run_and_report(options: Options) -> None:
    from tracker.app.progress import Tally
    from tracker.app.run import run

    tally = Tally()
    try:
        run(options, tally)
    finally:
        if tally.frames:
            outputs = ", ".join("stdout" if path == STDOUT else str(path) for path in options.files)
            log.info("%s%s", tally, f" -> {outputs}" if outputs else "")


def _run_batch(batch: Batch, show: bool | None) -> None:
    if not batch.sources:
        raise typer.BadParameter("a batch needs at least one SOURCE")
    if show or batch.each.streams or batch.each.rerun is not None or STDOUT in batch.each.keypoints:
        raise typer.BadParameter(
            "a batch makes files alone, --out and --keypoints; watch or send on one film at a time"
        )
    if not batch.each.writes_files:
        raise typer.BadParameter("several films need --keypoints DIR, --out DIR or both")
    if run_batch(batch):
        raise typer.Exit(FkpError.exit_code)


if __name__ == "__main__":
    main()
