"""Films at their own speed, for whoever watches."""

import time
from pathlib import Path

import numpy as np
import pytest
from films import nobody

from tracker.app.outputs import OUTPUTS, open_sinks
from tracker.errors import SinkError
from tracker.options import Options
from tracker.sinks.keypoints.record import Header
from tracker.sinks.playback import Pace, Paced
from tracker.sources.contract import Kind, SourceInfo
from tracker.support.address import Address
from tracker.types import Frame


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


@pytest.mark.parametrize(
    ("kind", "held"), [("film", True), ("demo", True), ("camera", False), ("images", False)], ids=str
)
def test_what_others_watch_is_held_to_its_own_speed_unless_it_has_one(kind: Kind, held: bool):
    """A camera gives frames when it has them: held back by its slowest one it would never be in time again."""
    info = SourceInfo(kind, "it", 640, 480, None, None)
    header = Header("it", 640, 480, "", "", "", 65.0)
    with open_sinks(Options(udp=Address("127.0.0.1", 9)), info, header) as sinks:
        assert any(isinstance(sink, Paced) for sink in sinks) == held


def test_an_output_that_is_refused_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody is called or listened to for a run that cannot begin."""
    started = []
    monkeypatch.setitem(OUTPUTS, "udp", OUTPUTS["udp"]._replace(open=lambda *asked: started.append(asked)))
    (tmp_path / "out.jsonl").touch()
    options = Options(udp=Address("127.0.0.1", 9), keypoints=(tmp_path / "out.jsonl",))
    info, header = SourceInfo("film", "it", 640, 480, None, None), Header("it", 640, 480, "", "", "", 65.0)
    with pytest.raises(SinkError, match="exists already"), open_sinks(options, info, header):
        pass
    assert started == []


def test_a_film_takes_at_least_as_long_as_it_lasts():
    sink = Paced()
    began = time.perf_counter()
    for index, timestamp in enumerate([10.0, 10.1, 10.2]):
        sink.write(nobody(Frame(np.zeros((2, 2, 3), np.uint8), index, timestamp)))
    assert time.perf_counter() - began >= 0.2
