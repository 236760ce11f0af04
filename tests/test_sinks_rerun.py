"""Recordings as Rerun's own reader finds them, written to a file and taken by Rerun's own server."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tracker.errors import SinkError
from tracker.spec import KEYPOINTS
from tracker.support.address import Address
from tracker.types import Box, Face, Frame, Pose, Region, Tracked

rr = pytest.importorskip("rerun", reason="needs the extra rerun")

from tracker.sinks.rerun import open_rerun  # noqa: E402

BLUE = (200, 60, 20)
PATIENCE_S = 60
HEADER_BYTES = 1000
"""More than a recording without anything in it has."""


def tracked(index, ids=(4,), *, poses=True, size=(320, 240)):
    random = np.random.default_rng(index)
    return Tracked(
        Frame(np.full((size[1], size[0], 3), BLUE, np.uint8), index, index / 30),
        tuple(Face(each, Region(1, 2, 3, 0), Box(10, 20, 110, 140), 0.875) for each in ids),
        random.uniform(0, 240, (len(ids), 15, 2)).astype(np.float32),
        random.uniform(0.5, 3, (len(ids), 15)).astype(np.float32),
        tuple(Pose(12.5, -4.5, 0.25, 10.0, 20.0, 640.0) if poses else None for _ in ids),
    )


def write_all(sink, results):
    for result in results:
        sink.write(result)
    sink.close()
    sink.close()


def rows(path):
    """By entity, the logged columns in order: [{"frame": index, "Points2D:positions": .., ..}, ..]."""
    chunk = pytest.importorskip("rerun.chunk", reason="needs a newer rerun-sdk to read")
    found = {}
    for each in chunk.RrdReader(path).stream():
        found.setdefault(each.entity_path, []).extend(each.to_record_batch().to_pylist())
    return {path: sorted(logged, key=lambda row: row.get("frame", -1)) for path, logged in found.items()}


def test_a_file_holds_picture_points_boxes_scores_and_poses_of_every_frame(tmp_path):
    results = [tracked(0), tracked(1, (4, 7))]
    write_all(open_rerun(tmp_path / "x.rrd", "talk.mp4", overwrite=False), results)
    logged = rows(tmp_path / "x.rrd")
    assert [row["frame"] for row in logged["/camera/image"]] == [0, 1]
    assert [row["time"].total_seconds() for row in logged["/camera/image"]] == pytest.approx([0, 1 / 30])
    (jpeg,) = logged["/camera/image"][0]["EncodedImage:blob"]
    image = cv2.imdecode(np.array(jpeg, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(image.mean((0, 1)), BLUE, atol=3)
    points = [row for row in logged["/camera/faces/4/points"] if row["Points2D:positions"]]
    for row, result in zip(points, results, strict=True):
        np.testing.assert_allclose(row["Points2D:positions"], result.keypoints[0] + 0.5)
        np.testing.assert_allclose(row["Points2D:radii"], result.sigma[0])
    assert logged["/scores/4"][0]["Scalars:scalars"] == [0.875]
    angles = [logged[f"/poses/7/{name}"][0]["Scalars:scalars"] for name in ("yaw", "pitch", "roll")]
    assert angles == [[12.5], [-4.5], [0.25]]
    (box,) = (row for row in logged["/camera/faces/7/box"] if row["Boxes2D:centers"])
    assert (box["Boxes2D:centers"], box["Boxes2D:half_sizes"]) == ([[60.5, 80.5]], [[50, 60]])
    (context,) = logged["/camera"]
    ((face,),) = context["AnnotationContext:context"]
    names = [each["label"] for each in face["class_description"]["keypoint_annotations"]]
    assert names == list(KEYPOINTS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.rrd"]


def test_a_face_that_has_gone_is_taken_off_the_picture(tmp_path):
    write_all(open_rerun(tmp_path / "x.rrd", "talk.mp4", overwrite=False), [tracked(0), tracked(1, ()), tracked(2, ())])
    logged = rows(tmp_path / "x.rrd")
    for place in ("/camera/faces/4", "/poses/4"):
        assert [(row["frame"], row["Clear:is_recursive"]) for row in logged[place]] == [(1, [True])]


def test_a_head_without_a_pose_has_none_logged(tmp_path):
    write_all(open_rerun(tmp_path / "x.rrd", "talk.mp4", overwrite=False), [tracked(0, poses=False)])
    logged = rows(tmp_path / "x.rrd")
    assert "/camera/faces/4/points" in logged
    assert not [path for path in logged if path.startswith("/poses")]


def test_an_existing_file_is_refused_untouched_or_replaced_at_the_end(tmp_path):
    target = tmp_path / "x.rrd"
    target.write_bytes(b"dear to me")
    with pytest.raises(SinkError, match="exists already; add --overwrite"):
        open_rerun(target, "talk.mp4", overwrite=False)
    sink = open_rerun(target, "talk.mp4", overwrite=True)
    sink.write(tracked(0))
    assert target.read_bytes() == b"dear to me"
    sink.close()
    assert "/camera/image" in rows(target)


def test_without_a_frame_there_is_no_file(tmp_path):
    write_all(open_rerun(tmp_path / "x.rrd", "talk.mp4", overwrite=False), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("waits", ["log", "flush"])
def test_a_file_that_takes_nothing_any_more_is_given_up(waits, tmp_path, monkeypatch):
    """Rerun's own file thread ends on a full disk, and some of its calls then wait for it without end."""
    ended = threading.Event()

    def wait(*_, timeout_sec=None, **__):
        if not ended.wait(timeout_sec if timeout_sec is not None else 30):
            raise RuntimeError("timed out")

    monkeypatch.setattr("tracker.sinks.rerun.FINISH_S", 0.3)
    sink = open_rerun(tmp_path / "x.rrd", "demo", overwrite=False)
    monkeypatch.setattr(rr.RecordingStream, waits, wait)
    sink.write(tracked(0))
    began = time.monotonic()
    with pytest.raises(SinkError, match=r"cannot write .*x\.rrd.*everything written before is in"):
        sink.close()
    assert time.monotonic() - began < 5
    ended.set()
    assert not (tmp_path / "x.rrd").exists()


@pytest.mark.parametrize("frames", [1, 20])
def test_a_frame_that_rerun_refuses_fails_the_run_even_if_it_is_the_last(frames, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no room")

    sink = open_rerun(tmp_path / "x.rrd", "demo", overwrite=False)
    monkeypatch.setattr(rr.RecordingStream, "log", refuse)

    def write_and_close():
        for index in range(frames):
            sink.write(tracked(index))
        sink.close()

    with pytest.raises(SinkError, match=r"cannot write .*x\.rrd: no room; everything written before is in"):
        write_and_close()
    sink.close()  # has been told
    assert not (tmp_path / "x.rrd").exists()


@pytest.fixture
def viewer(tmp_path):
    """Rerun's own server, without a window: the process, its address, and the file where it keeps what it is sent."""
    import rerun_cli

    with socket.create_server(("127.0.0.1", 0)) as free:
        address = Address(*free.getsockname()[:2])
    file = tmp_path / "received.rrd"
    binary = Path(rerun_cli.__file__).with_name("rerun")
    command = [binary, "--save", file, "--bind", address.host, "--port", str(address.port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            try:
                socket.create_connection(address, 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield process, address, file
        process.kill()


def wait_until_it_grows_no_more(file):
    """What was sent is on its way for a moment, and a server that is stopped then drops it."""
    sizes, give_up = [0], time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and not (sizes[-1] > HEADER_BYTES and len(set(sizes[-5:])) == 1):
        time.sleep(0.2)
        sizes.append(file.stat().st_size if file.exists() else 0)


@pytest.mark.filterwarnings("ignore:RRD file has no footer")
def test_a_viewer_gets_what_a_file_would_hold(viewer):
    process, address, file = viewer
    write_all(open_rerun(address, "talk.mp4", overwrite=False), [tracked(0), tracked(1, (4, 7))])
    wait_until_it_grows_no_more(file)
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE_S)
    logged = rows(file)
    assert [row["frame"] for row in logged["/camera/image"]] == [0, 1]
    assert "/camera/faces/7/points" in logged


def test_nobody_there_is_one_message():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = Address(*free.getsockname()[:2])
    with pytest.raises(SinkError, match=rf"no Rerun viewer answers at {address}: .*; start one there: rerun"):
        open_rerun(address, "talk.mp4", overwrite=False)


SENDER = """
import dataclasses, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_sinks_rerun import tracked
from tracker.support.address import Address
from tracker.sinks.rerun import open_rerun  # noqa: E402

sink = open_rerun(Address("127.0.0.1", int(sys.argv[2])), "talk.mp4", overwrite=False)
sink.write(tracked(0))
print("first", flush=True)
noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)  # a megabyte as JPEG
sys.stdin.readline()
for index in range(1, 100):
    frame = tracked(index)
    sink.write(dataclasses.replace(frame, frame=dataclasses.replace(frame.frame, image=noise)))
sink.close()
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
@pytest.mark.parametrize("harm", ["SIGKILL", "SIGSTOP"])
def test_a_viewer_that_is_closed_or_hangs_holds_up_neither_the_run_nor_its_end(viewer, harm):
    process, address, _ = viewer
    command = [sys.executable, "-c", SENDER, str(Path(__file__).parent), str(address.port)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as sender:
        try:
            assert sender.stdout.readline() == "first\n"
            process.send_signal(getattr(signal, harm))
            said, log = sender.communicate("go on\n", timeout=PATIENCE_S)
        finally:
            sender.kill()
    assert said == "done\n"
    assert sender.returncode == 0
    assert f"the Rerun viewer at {address} has gone; the run continues without it" in log
