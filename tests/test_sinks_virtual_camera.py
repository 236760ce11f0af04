"""The virtual camera, without one in the machine: pyvirtualcam with a device that keeps its pictures."""

from fractions import Fraction

import numpy as np
import pytest
from films import nobody

from tracker.errors import SinkError
from tracker.sources.contract import SourceInfo
from tracker.types import Frame

pytest.importorskip("pyvirtualcam", reason="needs the extra virtual-camera")

import pyvirtualcam
from pyvirtualcam import camera as registry

from tracker.sinks.virtual_camera import open_virtual_camera

BLUE = (200, 60, 20)


class Device:
    """What pyvirtualcam calls a backend; the last one opened is `Device.opened`."""

    opened: "Device"

    def __init__(self, *, width, height, fps, fourcc, device):
        self.width, self.height, self.fps = width, height, fps
        self.format = pyvirtualcam.PixelFormat(registry.decode_fourcc(fourcc))
        self.pictures, self.closed, self.broken = [], 0, False
        Device.opened = self

    def send(self, frame):
        if self.broken:
            raise RuntimeError("unplugged")
        self.pictures.append(frame.reshape(self.height, self.width, 3).copy())

    def close(self):
        self.closed += 1

    def device(self):
        return "device under test"

    def native_fourcc(self):
        return None


@pytest.fixture
def device(monkeypatch):
    """Makes `Device` the only virtual camera there is."""
    monkeypatch.setattr(registry, "BACKENDS", {})
    pyvirtualcam.register_backend("test", Device)
    return Device


@pytest.fixture
def no_device(monkeypatch):
    """Hides whatever virtual camera the machine may have."""

    def refuse(**_):
        raise RuntimeError("No v4l2 loopback device found\nat all")

    monkeypatch.setattr(registry, "BACKENDS", {"v4l2loopback": refuse})


def info(**changed):
    given = {"kind": "film", "name": "talk.mp4", "width": 64, "height": 48, "rate": Fraction(25), "frames": None}
    return SourceInfo(**given | changed)


def tracked(width=64, height=48):
    return nobody(Frame(np.full((height, width, 3), BLUE, np.uint8), 0, 0.0))


def test_the_camera_shows_the_picture_in_its_colours_size_and_rate(device, caplog):
    caplog.set_level("INFO")
    sink = open_virtual_camera(info())
    sink.write(tracked())
    sink.close()
    sink.close()
    opened = device.opened
    assert (opened.width, opened.height, opened.fps, opened.format) == (64, 48, 25.0, pyvirtualcam.PixelFormat.BGR)
    (picture,) = opened.pictures
    np.testing.assert_array_equal(picture, tracked().frame.image)
    assert opened.closed == 1
    assert caplog.messages == ["live in the virtual camera device under test"]


def test_odd_and_changing_sizes_are_scaled_to_one_that_devices_take(device):
    sink = open_virtual_camera(info(width=63, height=1, rate=None))
    sink.write(tracked(63, 1))
    sink.write(tracked(640, 480))
    sink.close()
    assert [picture.shape for picture in device.opened.pictures] == [(2, 62, 3)] * 2
    assert device.opened.fps == 30


def test_a_device_that_is_taken_away_is_one_message(device):
    sink = open_virtual_camera(info())
    device.opened.broken = True
    with pytest.raises(SinkError, match="the virtual camera device under test accepts no more pictures: unplugged"):
        sink.write(tracked())
    sink.close()


@pytest.mark.parametrize(
    ("platform", "hint"), [("linux", "sudo modprobe v4l2loopback"), ("win32", "install OBS Studio")]
)
def test_no_device_is_one_message_that_says_how_to_get_one(no_device, monkeypatch, platform, hint):
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(
        SinkError, match=f"no virtual camera can be used: .*No v4l2 loopback device found at all; .*{hint}"
    ):
        open_virtual_camera(info())


def test_pictures_make_no_camera(device):
    with pytest.raises(SinkError, match="a virtual camera needs moving pictures"):
        open_virtual_camera(info(kind="images"))
