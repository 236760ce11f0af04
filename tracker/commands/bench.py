"""`fkp-bench`: the command line.  It turns words into settings and leaves the work to `tracker.bench`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tracker.commands.help import CONTEXT, INPUT, MACHINE, OUTPUT, TRACKING, PlainCommand
from tracker.commands.track import every
from tracker.options import BackendName, DetectorName, PeerName
from tracker.support.process import run_program
from tracker.support.timing import WARM_UP

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


EXAMPLES = """\b
Examples:
  fkp-bench                          the demo, on this machine
  fkp-bench talk.mp4 --json          a film of yours, for a program to read
  fkp-bench --steadiness             jitter and lag against exact truth
"""


@app.command(cls=PlainCommand, context_settings=CONTEXT, epilog=EXAMPLES)
def command(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="SOURCE", help="A film, or a picture for --steadiness; else the demo.", rich_help_panel=INPUT
        ),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=WARM_UP + 1,
            metavar="N",
            help="Frames to measure at most; of each path with --steadiness.",
            rich_help_panel=INPUT,
        ),
    ] = 300,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Processor threads.", rich_help_panel=MACHINE)] = 1,
    detector: Annotated[DetectorName, typer.Option(help="What finds faces.", rich_help_panel=TRACKING)] = "yunet",
    detect_every: Annotated[
        str,
        typer.Option(metavar="N|auto", help="Detect on every N-th frame, or when needed.", rich_help_panel=TRACKING),
    ] = "auto",
    backend: Annotated[BackendName, typer.Option(help="What runs the network.", rich_help_panel=MACHINE)] = "auto",
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Another network.", rich_help_panel=MACHINE)
    ] = None,
    steadiness: Annotated[
        bool,
        typer.Option(
            "--steadiness", help="Jitter, lag and error on a moved picture; jitter of a film.", rich_help_panel=OUTPUT
        ),
    ] = False,
    peer: Annotated[
        PeerName | None,
        typer.Option(help="Another tracker, if installed, to measure on the same frames.", rich_help_panel=OUTPUT),
    ] = None,
    peer_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Its model, where it brings none: face_landmarker.task.", rich_help_panel=OUTPUT
        ),
    ] = None,
    gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Every runtime for NVIDIA GPUs, side by side; no SOURCE.", rich_help_panel=MACHINE),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Measure latency by stage, film rate, start-up and memory on this machine, or how steady the keypoints are."""
    if peer_model is not None and peer is None:
        raise typer.BadParameter("is the peer's; add --peer mediapipe", param_hint="--peer-model")
    if gpu:
        if source is not None or steadiness:
            raise typer.BadParameter("times networks alone; leave SOURCE and --steadiness out", param_hint="--gpu")
        _measure_gpu(weights, as_json=as_json)
        return
    from tracker.bench.speed import Settings, measure, measure_steadiness, print_table

    settings = Settings(
        source=source,
        frames=frames,
        detector=detector,
        detect_every=every(detect_every),
        backend=backend,
        weights=weights,
        threads=threads,
        peer=peer,
        peer_model=peer_model,
    )
    results = measure_steadiness(settings) if steadiness else measure(settings)
    if as_json:
        print(json.dumps(results, indent=2))
    elif steadiness:
        from tracker.bench.steadiness import print_report

        print_report(results)
    else:
        print_table(results)


def _measure_gpu(weights: Path | None, *, as_json: bool) -> None:
    from tracker.backends.weights import load
    from tracker.bench.gpu import measure as measure_runtimes
    from tracker.bench.gpu import print_runtimes

    results = measure_runtimes(load(weights))
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        print_runtimes(results)


def main() -> None:
    """The program."""
    run_program(app, "fkp-bench")


if __name__ == "__main__":
    main()
