"""Films at their own speed, for whoever watches."""

import time

import numpy as np
import pytest

from tracker.sinks.pace import Pace, Paced
from tracker.types import Frame, Tracked


def test_films_run_at_their_own_speed():
    pace = Pace()
    assert pace.wait_s(now=100.0, timestamp=5.0) == 0
    assert pace.wait_s(now=100.01, timestamp=5.04) == pytest.approx(0.03)
    assert pace.wait_s(now=100.04, timestamp=5.08) == pytest.approx(0.04)


def test_after_a_pause_nothing_is_skipped():
    pace = Pace()
    pace.wait_s(now=100.0, timestamp=0.0)
    pace.skip(60.0)
    assert pace.wait_s(now=160.01, timestamp=0.04) == pytest.approx(0.03)


def test_a_slow_run_does_not_hurry_to_catch_up():
    pace = Pace()
    pace.wait_s(now=100.0, timestamp=0.0)
    assert pace.wait_s(now=101.0, timestamp=0.04) == 0
    assert pace.wait_s(now=101.01, timestamp=0.08) == pytest.approx(0.03)


def test_a_film_takes_at_least_as_long_as_it_lasts():
    sink = Paced()
    nobody = np.zeros((0, 15, 2), np.float32)
    began = time.perf_counter()
    for index, timestamp in enumerate([10.0, 10.1, 10.2]):
        frame = Frame(np.zeros((2, 2, 3), np.uint8), index, timestamp)
        sink.write(Tracked(frame, (), nobody, nobody[..., 0]))
    assert time.perf_counter() - began >= 0.2
