"""What users get from the names that the package offers.  mypy and pyright check it; nothing runs it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from tracker import (
    FkpError,
    Identity,
    Locate,
    PoseAndShape,
    Tracked,
    Tracker,
    load_weights,
    open_backend,
    open_detector,
    open_source,
    track,
    track_video,
)
from tracker.backends.weights import Weights
from tracker.draw import draw
from tracker.types import Pose

assert_type(next(track_video("a.mp4")), Tracked)
assert_type(Tracker().image(np.zeros((480, 640, 3), np.uint8)), Tracked)
assert_type(load_weights(), Weights)
assert_type(Tracker().image(np.zeros((480, 640, 3), np.uint8)).poses, tuple[Pose | None, ...])
assert_type(FkpError("no").exit_code, int)

with open_source(Path("a.mp4")) as source:
    stages = open_detector("yunet", threads=1), Identity(), Locate(open_backend("auto", load_weights())), PoseAndShape()
    for tracked in track(source, *stages):
        assert_type(tracked, Tracked)
        assert_type(draw(tracked, "lines"), NDArray[np.uint8])
