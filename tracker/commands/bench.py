"""`fkp-bench`: the command line.  It turns words into settings and leaves the work to `tracker.bench`."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from tracker.bench.peers import PeerName
from tracker.commands.help import CONTEXT, PlainCommand
from tracker.commands.parameters import from_words, keyword, parameters, taking
from tracker.options import INPUT, MACHINE, OUTPUT, Options
from tracker.support.process import run_program
from tracker.support.timing import WARM_UP

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  fkp-bench                          the demo
  fkp-bench talk.mp4 --json          your film; output for a program to read
  fkp-bench --steadiness             jitter and lag against known positions
"""

SOURCE = typer.Argument(
    metavar="SOURCE", help="A film, or a picture for --steadiness; without it, the demo.", rich_help_panel=INPUT
)
FRAMES = typer.Option(
    min=WARM_UP + 1,
    metavar="N",
    help="Measure at most N frames; with --steadiness, of each path.",
    rich_help_panel=INPUT,
)
STEADINESS = typer.Option(
    "--steadiness",
    help="Measure jitter, lag and error on a moved picture, or jitter of a film.",
    rich_help_panel=OUTPUT,
)
PEER = typer.Option(help="Measure another tracker on the same frames, if it is installed.", rich_help_panel=OUTPUT)
PEER_MODEL = typer.Option(
    metavar="FILE", help="The peer's model file, if it includes none: face_landmarker.task.", rich_help_panel=OUTPUT
)
GPU = typer.Option("--gpu", help="Compare GPU runtimes and the processor; takes no SOURCE.", rich_help_panel=MACHINE)
AS_JSON = typer.Option("--json", help="Print one JSON object instead of a table.", rich_help_panel=OUTPUT)
SHARED = ("threads", "detector", "detect_every", "backend", "weights", "precision", "device", "keep_compiled")
"""Options of a run that are measured too."""


@app.command(cls=PlainCommand, context_settings=CONTEXT, epilog=EXAMPLES)
@taking(
    keyword("source", Path | None, None, SOURCE),
    keyword("frames", int, 300, FRAMES),
    *parameters(Options, SHARED),
    keyword("steadiness", bool, False, STEADINESS),
    keyword("peer", PeerName | None, None, PEER),
    keyword("peer_model", Path | None, None, PEER_MODEL),
    keyword("gpu", bool, False, GPU),
    keyword("as_json", bool, False, AS_JSON),
)
def command(**words: Any) -> None:
    """Measure latency by stage, film rate, start-up and memory on this machine, or how steady the keypoints are."""
    if words["peer_model"] is not None and words["peer"] is None:
        raise typer.BadParameter("is for --peer; add --peer mediapipe", param_hint="--peer-model")
    if words["gpu"] and (words["source"] is not None or words["steadiness"]):
        raise typer.BadParameter("measures networks only; leave out SOURCE and --steadiness", param_hint="--gpu")
    results, show = _measured(from_words(Options, words), words)
    if words["as_json"]:
        print(json.dumps(results, indent=2))
    else:
        show(results)


def _measured(options: Options, words: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[dict[str, Any]], None]]:
    """The results, and what prints them as tables."""
    if words["gpu"]:
        from tracker.backends.weights import load
        from tracker.bench import gpu

        return gpu.measure(load(options.weights), options.runtime), gpu.print_runtimes
    from tracker.bench import speed, steadiness

    asked = {name: words[name] for name in ("source", "frames", "peer", "peer_model")}
    settings = speed.Settings(**asked, options=options)
    if words["steadiness"]:
        return speed.measure_steadiness(settings), steadiness.print_report
    return speed.measure(settings), speed.print_table


def main() -> None:
    run_program(partial(app, windows_expand_args=False), "fkp-bench")


if __name__ == "__main__":
    main()
