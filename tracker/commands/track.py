"""`fkp-track`: the command line.

It turns words into one `Options` and leaves the work to `tracker.app.run`.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import typer

from tracker import __version__
from tracker.batch.storage import place
from tracker.commands.help import CONTEXT, PlainCommand
from tracker.commands.parameters import filled_in, from_words, keyword, parameters, taking, values
from tracker.errors import FkpError
from tracker.options import INPUT, MACHINE, Batch, Options
from tracker.sinks.keypoints.registry import RECORDS, format_of
from tracker.support.address import STDIN, STDOUT, StreamUrl, stream_url
from tracker.support.atomic import free_name
from tracker.support.printable import PrintableFormatter
from tracker.support.process import run_program
from tracker.support.same_file import Sources, folded

log = logging.getLogger(__name__)

WRITTEN_FILMS = (".mp4", ".mov", ".mkv")
"""The keys of `tracker.sinks.film.FORMATS`, which brings PyAV along."""

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  fkp-track                                   camera 0 in a window
  fkp-track talk.mp4 --out tracked.mp4        an annotated film, with sound
  fkp-track talk.mp4 --keypoints points.csv   keypoints for a spreadsheet
  fkp-track talk.mp4 --out b.mp4 --blur       a film with blurred heads
  fkp-track photos/ --out annotated/          a folder of pictures
  fkp-track films/ --keypoints points/        every film in a folder
"""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fkp {__version__}")
        raise typer.Exit


class Command(PlainCommand):
    """A command in which some options may stand without their value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line; -o is what many programs call --out."""
        return super().parse_args(ctx, filled_in(["--out" if word == "-o" else word for word in args], Options))


def source_place(text: str) -> Path | StreamUrl:
    """Where frames come from, as typed."""
    return stream_url(text) or place(text)


SOURCES = typer.Argument(
    metavar="SOURCE",
    parser=source_place,
    help="A film, a picture, a folder of pictures, the URL of a stream, or - for frames on standard input.  "
    "A folder of films or several sources make a batch.",
    rich_help_panel=INPUT,
)
LIST_CAMERAS = typer.Option(
    "--list-cameras", help="List the cameras with their sizes and rates.", rich_help_panel=INPUT
)
DOCTOR = typer.Option(
    "--doctor", help="Check what works on this machine, and say how to fix what does not.", rich_help_panel=MACHINE
)
VERBOSE = typer.Option("-v", "--verbose", count=True, show_default=False, help="Say more; -vv says everything.")
VERSION = typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")


@app.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@taking(
    keyword("sources", list[Path] | None, None, SOURCES),
    *parameters(Options),
    *parameters(Batch),
    keyword("list_cameras", bool, False, LIST_CAMERAS),
    keyword("doctor", bool, False, DOCTOR),
    keyword("verbose", int, 0, VERBOSE),
    keyword("version", bool, False, VERSION),
)
def command(**words: Any) -> None:
    """Follow the 15 keypoints of every face in a film, a camera or pictures.

    Keys in the window: q or Esc quits, s saves a snapshot, space pauses or shows the next picture.
    """
    _log_to_stderr(words["verbose"])
    if words["doctor"]:
        from tracker.app.doctor import examine

        raise typer.Exit(examine())
    if words["list_cameras"]:
        _print_cameras()
        raise typer.Exit
    named = tuple(words["sources"] or ())
    options = from_words(Options, words)
    _refuse_outputs_as_sources(named)
    if options.demo + (options.camera is not None) + bool(named) > 1:
        raise typer.BadParameter("give only one of SOURCE, --camera and --demo")
    _refuse_idle_options(named, options)
    from tracker.batch.plan import is_batch

    split = values(Batch, words)
    if split or is_batch(named, options):
        _run_batch(Batch(sources=named, each=options, **split))
        return
    options = replace(options, source=next(iter(named), None))
    _refuse_clashing_outputs(options)
    _run_and_report(_with_window_or_file(options))


def main() -> None:
    """The program: runs the command line and exits with the documented code."""
    run_program(partial(app, windows_expand_args=False), "fkp-track")


def _log_to_stderr(verbose: int) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(PrintableFormatter("%(name)s: %(message)s" if verbose else "fkp-track: %(message)s"))
    logging.basicConfig(level=level, handlers=[to_stderr])
    always = (log.name, "tracker.app.run", "tracker.batch", "tracker.backends", "tracker.sinks")
    for told in map(logging.getLogger, always):  # what is done and by whom; all the rest with -v
        told.setLevel(min(level, logging.INFO))


def _print_cameras() -> None:
    from tracker.sources.listing import find_cameras

    for found in (cameras := find_cameras()):
        print(found)
    if not cameras:
        log.warning("no camera found; connect one, or try: fkp-track --demo")


def _refuse_idle_options(sources: Sequence[Path], options: Options) -> None:
    """A lead for points that are not live, or wishes for a camera if there is none."""
    films = [source for source in sources if not isinstance(source, StreamUrl)]
    looks_ahead = options.smooth is None and bool(films) and options.writes_files
    if options.lead_ms and (looks_ahead or options.smooth in ("offline", "off")):
        raise typer.BadParameter("works only with live points; add --smooth live", param_hint="--lead")
    given = [name for name in ("width", "height", "fps", "backend_api") if getattr(options, name) is not None]
    other = options.demo or isinstance(options.camera, StreamUrl) or (sources and STDIN not in sources)
    if given and other:
        raise typer.BadParameter(
            "works only with cameras and frames on standard input", param_hint=f"--{given[0].replace('_', '-')}"
        )


def _refuse_outputs_as_sources(sources: Sequence[Path]) -> None:
    """A number or a second film that does not exist was meant as something else."""
    files = [source for source in sources if isinstance(source, Path) and source != STDIN]
    missing = [file for file in files if not os.path.lexists(file)]
    for source in missing:
        if str(source).isdecimal():
            raise typer.BadParameter(f"{source} is no file; camera {source} is --camera {source}")
    last = sources[-1] if sources else Path()
    if len(sources) > 1 and missing == [last] and last.suffix.lower() in (*WRITTEN_FILMS, *RECORDS):
        option = "--out" if last.suffix.lower() in WRITTEN_FILMS else "--keypoints"
        raise typer.BadParameter(f"{last} does not exist; to write it: {option} {last}")


def _refuse_clashing_outputs(options: Options) -> None:
    """An output of an unknown kind, or one that would replace the source or another output, is a usage error."""
    formats = {path: format_of(path, options.format) for path in options.keypoints}
    for path in (path for path, format in formats.items() if format is None):
        raise typer.BadParameter(
            f"{path} does not end in one of {', '.join(RECORDS)}; add --format", param_hint="--keypoints"
        )
    if options.format is not None and options.format not in formats.values():
        raise typer.BadParameter(f"{options.format} applies to none of the --keypoints outputs", param_hint="--format")
    for one, other in combinations(options.files, 2):
        if folded(one) == folded(other):
            same = f"two outputs are {one}" if one == other else f"{one} and {other} are the same to some file systems"
            raise typer.BadParameter(f"{same}; give each its own name")
    if not isinstance(options.source, Path) or options.source == STDIN:
        return
    sources = Sources([options.source])
    for path in options.files:
        if sources.are_replaced_by(path) or (
            options.source.is_file() and folded(path) == folded(options.source.parent)
        ):
            raise typer.BadParameter(f"{path} would replace the source; give another name")


def _with_window_or_file(options: Options) -> Options:
    """Choose an output if the user chose none: a window, or for a demo without a display a film."""
    if options.show is not None or options.writes_files or options.streams:
        return options
    if options.demo:
        from tracker.sinks.window import why_no_window

        if (reason := why_no_window()) is not None:
            film = free_name(Path("fkp-demo.mp4"))
            log.info("no window (%s): writing the demo to %s", reason, film)
            return replace(options, out=film)
    return replace(options, show=True)


def _run_and_report(options: Options) -> None:
    from tracker.app.progress import Tally
    from tracker.app.run import run

    tally, made = Tally(), options.files
    try:
        run(options, tally)
    except Exception:
        made = ()
        raise
    finally:
        if tally.frames:
            outputs = ", ".join("stdout" if path == STDOUT else str(path) for path in made)
            log.info("%s%s", tally, f" -> {outputs}" if outputs else "")


def _run_batch(batch: Batch) -> None:
    if not batch.sources:
        raise typer.BadParameter("a batch needs at least one SOURCE")
    if any(isinstance(source, StreamUrl) or source == STDIN for source in batch.sources):
        raise typer.BadParameter("a stream or standard input is tracked by itself, not in a batch")
    if batch.each.show or batch.each.streams or batch.each.rerun is not None or STDOUT in batch.each.keypoints:
        raise typer.BadParameter(
            "a batch only writes files (--out, --keypoints); to watch or to send, track one film at a time"
        )
    out = batch.each.out
    if out is not None and len(batch.sources) == 1 and not out.suffix and not os.path.exists(out):
        log.info("%s becomes a folder for annotated films; a name that ends in .mp4 is one film", out)
    if not batch.each.writes_files:
        raise typer.BadParameter("a batch needs --keypoints DIR, --out DIR or both")
    from tracker.batch.run import run_batch

    if run_batch(batch):
        raise typer.Exit(FkpError.exit_code)


if __name__ == "__main__":
    main()
