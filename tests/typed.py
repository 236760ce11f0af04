"""What users get from the names that the package offers.  mypy checks it; nothing runs it."""

import numpy as np
from typing_extensions import assert_type

from tracker import Tracked, Tracker, load_weights, track_video
from tracker.backends.weights import Weights

assert_type(next(track_video("a.mp4")), Tracked)
assert_type(Tracker().image(np.zeros((480, 640, 3), np.uint8)), Tracked)
assert_type(load_weights(), Weights)
