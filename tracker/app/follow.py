"""The stages of `tracker.core` composed for one run, as its options ask: frames in, `Tracked` out, frame px."""

from collections.abc import Iterable

from tracker.backends.contract import Backend
from tracker.core.association import EachAlone, Identity
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.core.privacy import AHEAD_S, SUSPICION, concealed
from tracker.core.schedule import GLANCES, schedule_of
from tracker.core.smoothers import SMOOTHERS, default_smoothing
from tracker.core.smoothing import unsmoothed
from tracker.detectors.contract import Detector
from tracker.detectors.registry import DETECTORS, open_detector
from tracker.options import Options
from tracker.sources.contract import Kind
from tracker.sources.registry import mirrored
from tracker.types import Frame, Tracked


def open_detector_for(options: Options) -> Detector:
    """The detector of `options`; where heads are covered it also tells of what it only half believes to be a face.

    Raises BackendUnavailable, WeightsError.
    """
    threshold = SUSPICION * DETECTORS[options.detector].threshold if options.covers_heads else None
    return open_detector(options.detector, threshold=threshold, input_size=options.detect_size, threads=options.threads)


def follow(
    frames: Iterable[Frame], kind: Kind, detector: Detector, backend: Backend, options: Options
) -> Iterable[Tracked]:
    """One result per frame, in order, smoothed as asked.

    `kind` says what the frames are to each other.  Of `options` count those that no resource is opened with.
    """
    frames, locate = mirrored(frames) if options.mirror else frames, Locate(backend)
    least = DETECTORS[options.detector].threshold
    if kind == "images":  # they have nothing to do with each other
        results = track(frames, detector, EachAlone(least_score=least), locate, unsmoothed)
        return concealed(results, options.privacy, hold_s=0.0)
    smoother = SMOOTHERS[options.smooth or default_smoothing(film=kind == "film", into_files=options.writes_files)]
    schedule = schedule_of(options.pace, glances=0 if options.covers_heads else GLANCES)
    smooth = smoother.open(options.lead_ms / 1000)
    results = track(frames, detector, Identity(least_score=least), locate, smooth, schedule)
    may_be_late = kind == "film" and (options.writes_files or smoother.afterwards is not None)
    shown = concealed(results, options.privacy, ahead_s=AHEAD_S if may_be_late else 0.0)
    return shown if smoother.afterwards is None else smoother.afterwards(shown)
