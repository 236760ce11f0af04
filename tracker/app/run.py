"""One run of the tracker: the resources it opens and closes, and the frames that flow between them.

In: `Options`.  Out: the outputs that they name.  The stages decide what happens to a frame.
"""

import logging
from contextlib import closing, suppress

import cv2

from tracker.app.follow import follow, open_detector_for, smallest_covered
from tracker.app.outputs import header_of, open_sinks
from tracker.app.progress import Tally, open_progress
from tracker.backends.choice import choose_backend
from tracker.backends.tensorrt.driver import Driver
from tracker.backends.weights import load
from tracker.core.head_pose import posed
from tracker.core.privacy import Stretches
from tracker.errors import BackendError
from tracker.options import Options
from tracker.sinks.contract import Quit
from tracker.sources.camera import Wish
from tracker.sources.contract import SourceInfo
from tracker.sources.registry import open_source
from tracker.support.address import STDOUT

log = logging.getLogger(__name__)
more = logging.getLogger(__package__)
"""For what only -v shows."""

COVERED_FROM_PX = 14
"""Between the eyes: larger faces must be found if heads are covered."""


def run(options: Options, tally: Tally, *, bar: bool = True) -> None:
    """Track the source into every output asked for, counting into `tally`; with `bar` a terminal shows progress.

    Raises FkpError.  The outputs are finished and closed before this returns, however the run ends.
    """
    cv2.setNumThreads(options.threads)
    weights = load(options.weights)
    wish = Wish(options.width, options.height, options.fps, options.backend_api)
    with (
        open_source(
            options.source, camera=options.camera or 0, demo=options.demo, wish=wish, stream=options.stream
        ) as source,
        closing((chosen := choose_backend(options.backend, weights, options.runtime)).backend) as backend,
        closing(open_detector_for(options)) as detector,
        open_sinks(options, source.info, header_of(source.info, weights, backend, detector, options)) as sinks,
        open_progress(source.info, visible=bar and not options.show and STDOUT not in options.keypoints) as advance,
        suppress(Quit),
    ):
        if chosen.refused:
            (log if _has_nvidia_driver() else more).info("not used: %s", chosen.refused)
        log.info("backend %s, detector %s, weights %s", backend.name, detector.name, weights.sha256[:12])
        kind = source.info.kind
        _warn_of_small_faces(options, source.info)
        stretches = Stretches()
        results = follow(source, kind, detector, backend, options, stretches)
        try:
            for tracked in posed(results, options.fov) if options.tells_poses else results:
                try:
                    for sink in sinks:
                        sink.write(tracked)
                finally:
                    tally.count(tracked, kind)  # a signal may end the writing of a frame that all of them already have
                advance()
        finally:
            tally.skipped = source.skipped
            if stretches:
                log.warning("look at %s: a face was lost or doubtful there", stretches)


def _warn_of_small_faces(options: Options, info: SourceInfo) -> None:
    smallest = smallest_covered(options, max(info.width, info.height))
    if options.covers_heads and smallest > COVERED_FROM_PX:
        log.warning(
            "with --detect-size %s faces of less than %.0f px between the eyes may stay visible in %dx%d; leave it out",
            *(options.detect_size, smallest, info.width, info.height),
        )


def _has_nvidia_driver() -> bool:
    """Whether a GPU may be expected to work here, so that somebody wonders why it does not."""
    try:
        Driver()
    except (OSError, BackendError):
        return False
    return True
