"""The stages of `tracker.core` composed for one run according to its options: frames in, `Tracked` out, frame px."""

import math
from collections.abc import Iterable

from tracker.backends.contract import Backend
from tracker.core.association import EachAlone, Identity
from tracker.core.landmarks import Locate
from tracker.core.loop import Identify, track
from tracker.core.privacy import AHEAD_S, FAINT, SUSPICION, Stretches, concealed
from tracker.core.schedule import LookPlan, Schedule, Stills, schedule_of
from tracker.core.smoothers import SMOOTHERS, default_smoothing
from tracker.core.smoothing import unsmoothed
from tracker.core.square import as_stored, squared
from tracker.detectors.contract import Detector
from tracker.detectors.registry import DETECTORS, open_detector
from tracker.detectors.search import Search, seen_from, seen_whole_from
from tracker.geometry import SIDE_IOD
from tracker.options import Options
from tracker.sources.contract import Kind
from tracker.sources.registry import mirrored
from tracker.types import Frame, Tracked

COVERED_PARTS_S, COVERED_LIVE_TURNS_S = 0.5, 1.0
"""If heads are covered, a film is looked at in all its parts and turns this often, the whole of a live picture in all
turns.  A newcomer in a film is covered `AHEAD_S` before it is found, so nobody shows meanwhile."""


def open_detector_for(options: Options) -> Detector:
    """The detector of `options`; it also reports possible faces of low score, and more of them where heads are covered.

    Raises BackendUnavailable, WeightsError.
    """
    share = FAINT if options.covers_heads else SUSPICION
    threshold = share * DETECTORS[options.detector].threshold
    size = _fixed_size(options)
    return open_detector(options.detector, threshold=threshold, input_size=size, threads=options.threads)


def follow(
    frames: Iterable[Frame],
    kind: Kind,
    detector: Detector,
    backend: Backend,
    options: Options,
    stretches: Stretches | None = None,
) -> Iterable[Tracked]:
    """One result per frame, in order, smoothed according to `options`.

    `kind` says how the frames are related.  Options that open resources are ignored here.
    """
    frames, locate = squared(mirrored(frames) if options.mirror else frames), Locate(backend)
    detect, identity, schedule = stages_of(detector, kind, options)
    if kind == "images":  # they have nothing to do with each other
        results = track(frames, detect, identity, locate, unsmoothed, schedule)
        return concealed(results, options.privacy, hold_s=0.0, stretches=stretches)
    smoother = SMOOTHERS[options.smooth or default_smoothing(film=kind == "film", into_files=options.writes_files)]
    results = track(frames, detect, identity, locate, smoother.open(options.lead_ms / 1000), schedule)
    may_be_late = kind == "film" and (options.writes_files or smoother.afterwards is not None)
    ahead_s = AHEAD_S if may_be_late else 0.0
    shown = concealed(results, options.privacy, ahead_s=ahead_s, stretches=stretches)
    smoothed = shown if smoother.afterwards is None else smoother.afterwards(shown)
    return as_stored(smoothed, changed=options.privacy is not None)


def stages_of(detector: Detector, kind: Kind, options: Options) -> tuple[Search, Identify, Schedule]:
    """The detector, the identities and the schedule for frames of that kind."""
    least, in_parts = DETECTORS[options.detector].threshold, options.detect_size == "auto"
    detect = Search(detector, _fixed_size(options), least=SUSPICION * least, thorough=options.covers_heads)
    if kind == "images":
        return detect, EachAlone(least_score=least), Stills(in_parts=in_parts, all_turns=options.covers_heads)
    identity = Identity(least_score=least, seen_whole_from=seen_whole_from if in_parts else None)
    return detect, identity, schedule_of(options.pace, _looks(kind, options))


def smallest_covered(options: Options, longest: int) -> float:
    """Smallest distance between the eyes, px, at which faces are found if the long side of the picture is `longest`."""
    return 0.0 if options.detect_size == "auto" else seen_from(options.detect_size, longest) / SIDE_IOD


def _fixed_size(options: Options) -> int | None:
    return None if options.detect_size == "auto" else options.detect_size


def _looks(kind: Kind, options: Options) -> LookPlan:
    """How closely to look at moving pictures."""
    in_parts = options.detect_size == "auto"
    if options.covers_heads:
        if kind == "camera" and in_parts:
            return LookPlan(0, in_parts=True, thorough=True, all_parts_s=math.inf, all_turns_s=COVERED_LIVE_TURNS_S)
        return LookPlan(0, all_parts_s=COVERED_PARTS_S if in_parts else None, all_turns_s=COVERED_PARTS_S)
    return LookPlan(in_parts=in_parts, all_parts_s=math.inf if in_parts and kind == "film" else None)
