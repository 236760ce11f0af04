"""Keypoints as Open Sound Control, received by python-osc's own server."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from tracker.spec import KEYPOINTS
from tracker.support.address import Address
from tracker.types import Box, Face, Frame, Pose, Region, Signals, Tracked

pytest.importorskip("pythonosc", reason="needs the extra osc")

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

from tracker.sinks.keypoints.osc import open_osc

WIDTH, HEIGHT = 640, 480


@pytest.fixture
def receive():
    """Sends results through the sink to a server, and gives the messages that arrived."""
    messages, last = [], threading.Event()

    def keep(address, *arguments):
        messages.append((address, list(arguments)))
        if address == "/fkp/frame" and arguments[0] == 99:
            last.set()

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(keep)
    server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def send(*results):
        sink = open_osc(Address(*server.server_address))
        for result in (*results, tracked(99, ())):
            sink.write(result)
        sink.close()
        assert last.wait(10)
        return messages[: messages.index(("/fkp/frame", [99, pytest.approx(3.3), WIDTH, HEIGHT]))]

    yield send
    server.shutdown()
    thread.join()
    server.server_close()


def tracked(index, ids, poses=()):
    random = np.random.default_rng(index)
    return Tracked(
        Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), index, index / 30),
        tuple(Face(each, Region(1, 2, 3, 0), Box(64, 48, 320, 240), 0.5) for each in ids),
        random.uniform(0, 480, (len(ids), 15, 2)).astype(np.float32),
        np.ones((len(ids), 15), np.float32),
        poses,
    )


def test_a_frame_says_its_number_its_time_its_size_and_who_is_there(receive):
    messages = receive(tracked(0, ()), tracked(3, (4, 7)))
    assert messages[:3] == [
        ("/fkp/frame", [0, 0.0, WIDTH, HEIGHT]),
        ("/fkp/faces", []),
        ("/fkp/frame", [3, pytest.approx(0.1), WIDTH, HEIGHT]),
    ]
    assert messages[3] == ("/fkp/faces", [4, 7])


def test_every_keypoint_is_a_message_in_fractions_of_the_picture(receive):
    result = tracked(3, (4, 7))
    messages = dict(receive(result))
    for row, name in enumerate(("4", "7")):
        points = [messages[f"/fkp/{name}/{keypoint}"] for keypoint in KEYPOINTS]
        np.testing.assert_allclose(points, result.keypoints[row] / [WIDTH, HEIGHT], atol=1e-6)
        assert messages[f"/fkp/{name}/box"] == pytest.approx([0.1, 0.1, 0.5, 0.5])
        assert messages[f"/fkp/{name}/score"] == [0.5]


def test_the_face_that_has_been_there_longest_is_also_called_first(receive):
    messages = dict(receive(tracked(3, (7, 4))))
    for address in (*KEYPOINTS, "box", "score"):
        assert messages[f"/fkp/first/{address}"] == messages[f"/fkp/4/{address}"]


def test_signals_are_sent_with_their_sigma_if_the_network_tells_any(receive):
    told = replace(tracked(3, (4,)), signals=(Signals(0.25, 0.5, 0.75, 0.125, 0.0625, 0.03125),))
    messages = dict(receive(told))
    assert messages["/fkp/4/eye_open_left"] == messages["/fkp/first/eye_open_left"] == [0.25, 0.125]
    assert messages["/fkp/4/mouth_open"] == [0.75, 0.03125]
    assert not [address for address, _ in receive(tracked(3, (7,))) if address.startswith("/fkp/7/eye_open")]


def test_a_head_pose_is_sent_where_there_is_one(receive):
    pose = Pose(yaw=10.0, pitch=-5.0, roll=1.5, x=20.0, y=-30.0, z=600.0)
    messages = dict(receive(tracked(3, (4, 7), (pose, None))))
    assert messages["/fkp/4/pose"] == messages["/fkp/first/pose"] == [10.0, -5.0, 1.5, 20.0, -30.0, 600.0]
    assert "/fkp/7/pose" not in messages
