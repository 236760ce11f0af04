"""The Lab Streaming Layer, received by a real inlet on this machine."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from films import write_film
from programs import fkp_track
from test_keypoints_record import HEADER, tracked

from tracker.sources.contract import SourceInfo
from tracker.types import Signals

os.environ.setdefault("LSLAPICFG", str(Path(__file__).parent / "data" / "lsl_loopback.cfg"))
pylsl = pytest.importorskip("pylsl")

from tracker.sinks.keypoints.lsl import CHANNELS, KIND, open_lsl, sample_of  # noqa: E402

CHANNELS_OF_POSE = [name for name in CHANNELS if name.startswith("pose_")]


def test_a_sample_is_the_oldest_face_by_name():
    result = tracked(0, 2)
    swapped = replace(result, faces=result.faces[::-1], keypoints=result.keypoints[::-1], sigma=result.sigma[::-1])
    for each in (result, swapped):
        sample = dict(zip(CHANNELS, sample_of(each), strict=True))
        assert sample["face"] == 7
        assert sample["nose_tip_x"] == pytest.approx(result.keypoints[0, 10, 0])
        assert sample["nose_tip_sigma"] == pytest.approx(result.sigma[0, 10])
        assert (sample["pose_yaw"], sample["pose_z"]) == pytest.approx((1.23456, 640.98765))
        assert (sample["eye_open_left"], sample["mouth_open_sigma"]) == pytest.approx((0.3123456, 0.06))


def test_a_frame_without_a_face_is_a_sample_of_no_numbers():
    assert np.isnan(sample_of(tracked(0, 0))).all()
    for lacking, names in (("poses", CHANNELS_OF_POSE), ("signals", Signals._fields)):
        sample = dict(zip(CHANNELS, sample_of(replace(tracked(0, 1), **{lacking: ()})), strict=True))
        assert [name for name, value in sample.items() if np.isnan(value)] == list(names)


def test_an_inlet_on_this_machine_gets_names_units_numbers_and_times():
    name = f"fkptest{os.getpid()}"
    began = time.perf_counter()
    info = SourceInfo("camera", "0", 640, 480, None, None, clock_zero=began)
    sink = open_lsl(name, info, HEADER)
    try:
        found = pylsl.resolve_byprop("name", name, timeout=20)
        assert [(each.type(), each.channel_count()) for each in found] == [(KIND, len(CHANNELS))]
        inlet = pylsl.StreamInlet(found[0])
        inlet.open_stream(timeout=20)
        channel = inlet.info().desc().child("channels").child("channel")
        labels = {}
        while not channel.empty():
            labels[channel.child_value("label")] = channel.child_value("unit")
            channel = channel.next_sibling()
        assert labels == CHANNELS
        results = []
        for index in range(3):
            frame = replace(tracked(index, 1).frame, timestamp=time.perf_counter() - began - 0.25)
            results.append(replace(tracked(index, 1), frame=frame))
            sink.write(results[-1])
        for result in results:
            sample, stamp = inlet.pull_sample(timeout=20)
            assert sample == pytest.approx(sample_of(result), rel=1e-6)
            assert pylsl.local_clock() - stamp == pytest.approx(0.25, abs=0.2)  # the picture is that old
    finally:
        sink.close()
        sink.close()


@pytest.mark.slow
def test_the_command_line_takes_a_name_or_none(portrait: np.ndarray, tmp_path: Path):
    write_film(tmp_path / "in.mp4", [portrait] * 3)
    for words in (("--lsl", "faces", "in.mp4"), ("--lsl", "in.mp4")):
        done = fkp_track(*words, "--keypoints", os.devnull, "--backend", "cpu", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "3 frames" in done.stderr
