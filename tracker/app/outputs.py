"""Every output of a run, opened together and closed together."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from tracker.backends.contract import Backend
from tracker.backends.weights import Weights
from tracker.core.square import as_shown, shown_size
from tracker.detectors.contract import Detector
from tracker.drawing.draw import draw
from tracker.options import Options
from tracker.sinks.contract import Sink, annotated, through
from tracker.sinks.keypoints.record import Header
from tracker.sinks.playback import Paced
from tracker.sinks.registry import OUTPUTS, Output, Request
from tracker.sources.contract import SourceInfo
from tracker.support.address import flows
from tracker.support.atomic import all_or_none, clear_leftovers, open_partial
from tracker.support.process import undisturbed


def header_of(info: SourceInfo, weights: Weights, backend: Backend, detector: Detector, options: Options) -> Header:
    """The origin that every keypoint file states."""
    return Header(
        source=options.called or info.name,
        width=info.width,
        height=info.height,
        weights_sha256=weights.sha256,
        backend=backend.name,
        detector=detector.name,
        fov_deg=options.fov,
        mirrored=options.mirror,
        sample_aspect=round(float(info.sample_aspect), 6),
        started=None if info.started is None else info.started.isoformat(timespec="milliseconds"),
        started_monotonic_s=None if info.clock_zero is None else round(info.clock_zero, 6),
    )


@contextmanager
def open_sinks(options: Options, info: SourceInfo, header: Header) -> Iterator[list[Sink]]:
    """Every output of `options`, opened; each is closed, even if another one fails, and whenever Ctrl-C arrives.

    Raises SinkError, before any frame is read, for an output that exists or cannot be written.
    """
    _try_files(options, info)
    request = Request(
        info,
        header,
        options.overwrite,
        options.format,
        pace=not options.writes_files,
        anonymous=options.privacy is not None,
        mute=options.mute,
        serve_token=options.serve_token,
    )
    in_square_px = request._replace(info=_as_shown(info))
    sinks: dict[tuple[bool, bool], list[Sink]] = defaultdict(list)
    """By whether they get another shape of pixels than the stored one, and whether they get the annotated picture."""
    with ExitStack() as afterwards, all_or_none(), ExitStack() as stack:

        def use(row: Output, place: Any) -> None:
            sink = stack.enter_context(closing(row.open(place, in_square_px if row.shown else request)))
            sinks[row.shown and info.sample_aspect != 1, row.pictures].append(sink)

        asked = [(OUTPUTS[name], place) for name, each in options.outputs.items() for place in _places(each)]
        kept = [(row, place) for row, place in asked if not row.live or isinstance(place, Path)]
        for row, place in asked:
            if (row, place) not in kept:  # whoever listens may be waited for, and Ctrl-C ends that
                use(row, place)
        with undisturbed():  # a file that is opened will be closed
            for row, place in kept:
                use(row, place)
        stack.callback(afterwards.enter_context, undisturbed())  # the first thing done at the end
        look = partial(draw, style=options.drawn_style, show_sigma=options.show_sigma, show_pose=options.show_pose)
        changes = {
            (False, True): lambda tracked: annotated(look, tracked),
            (True, False): as_shown,
            (True, True): lambda tracked: annotated(look, as_shown(tracked)),
        }
        changed = [through(change, sinks[need]) for need, change in changes.items() if sinks[need]]
        watched_elsewhere = options.streams and not options.show and not options.writes_files
        paced = [Paced()] if watched_elsewhere and info.can_run_ahead else []
        yield [*sinks[False, False], *changed, *paced]


def _as_shown(info: SourceInfo) -> SourceInfo:
    """What a source looks like in square pixels."""
    width, height = shown_size(info.width, info.height, float(info.sample_aspect))
    return replace(info, width=width, height=height, sample_aspect=Fraction(1))


def _try_files(options: Options, info: SourceInfo) -> None:
    """Check that every file can be written before the first one is started, and delete leftovers of killed runs."""
    files = [path for path in options.files if path != options.out and not flows(path)]
    for path in files:
        open_partial(path, overwrite=options.overwrite).discard()
    if options.out is not None and info.kind != "images":
        files.append(options.out)
    clear_leftovers(files, keep=info.kind == "camera")


def _places(asked: Any) -> tuple[Any, ...]:
    """The values of an option that may be given again, or its one value; an address is a tuple too, but one place."""
    return asked if type(asked) is tuple else (asked,)
