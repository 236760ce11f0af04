"""Pixels that are not square: found, posed and shown as a player shows them, told in the px that are stored."""

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import nobody

from tracker import track_video
from tracker.app.outputs import open_sinks
from tracker.app.progress import Tally
from tracker.app.run import run
from tracker.core.square import as_shown, as_stored, squared
from tracker.options import Options
from tracker.sinks.keypoints.record import Header
from tracker.sources.contract import SourceInfo
from tracker.types import Frame, Image, Tracked


def write(path: Path, image: Image, aspect: Fraction, frames: int = 8) -> Path:
    """A film of `image` in pixels of that shape."""
    height, width = image.shape[:2]
    across, down = max(aspect, Fraction(1)), max(1 / aspect, Fraction(1))
    size = round(width / across / 2) * 2, round(height / down / 2) * 2
    stored = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "10", "bf": "0"})
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt, stream.codec_context.sample_aspect_ratio = "yuv420p", aspect
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(stored, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(4, 3), Fraction(8, 9)])
def test_a_head_faces_where_it_does_and_its_points_are_in_stored_px(tmp_path: Path, portrait: Image, aspect: Fraction):
    straight = list(track_video(write(tmp_path / "1.mp4", portrait, Fraction(1)), backend="cpu"))[-1]
    squeezed = list(track_video(write(tmp_path / "2.mp4", portrait, aspect), backend="cpu"))[-1]
    (one,), (other,) = straight.poses, squeezed.poses
    assert (other.yaw, other.pitch, other.roll) == pytest.approx((one.yaw, one.pitch, one.roll), abs=1.5)
    assert other.z == pytest.approx(one.z, rel=0.02)
    scale = np.array([max(aspect, 1), max(1 / aspect, 1)], float)
    assert np.abs(squeezed.keypoints * scale - straight.keypoints).max() < 3
    assert squeezed.frame.image.shape[:2] == tuple(np.rint(256 / scale[::-1]).astype(int) * 2)
    assert squeezed.frame.aspect == pytest.approx(float(aspect))


def test_what_is_covered_stays_covered(tmp_path: Path, portrait: Image):
    film = write(tmp_path / "a.mp4", portrait, Fraction(2))
    seen = [tracked.frame.image for tracked in track_video(film, backend="cpu")][-1]
    hidden = [tracked.frame.image for tracked in track_video(film, backend="cpu", privacy="pixelate")][-1]
    assert hidden.shape == seen.shape == (512, 256, 3)
    assert np.abs(hidden[60:160, 95:130].astype(int) - seen[60:160, 95:130]).mean() > 10


def test_there_and_back_changes_nothing(portrait: Image):
    frame = Frame(np.ascontiguousarray(portrait[:, ::2]), 0, 0.0, aspect=2.0)
    (square,) = squared([frame])
    assert square.image.shape == (512, 512, 3)
    (result,) = as_stored([Tracked(square, (), np.full((1, 15, 2), 8, np.float32), np.ones((1, 15)))], changed=False)
    assert result.frame.image is frame.image
    assert result.keypoints[0, 0].tolist() == [4, 8]
    assert as_shown(result).keypoints[0, 0].tolist() == [8, 8]
    assert as_shown(result).frame.image.shape == (512, 512, 3)


def test_the_header_tells_the_shape_of_a_pixel_and_the_film_keeps_it(tmp_path: Path, portrait: Image):
    film = write(tmp_path / "in.mp4", portrait, Fraction(4, 3))
    out, points = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    run(Options(source=film, out=out, keypoints=(points,), backend="cpu"), Tally(), bar=False)
    header = json.loads(points.read_text().splitlines()[0])
    assert (header["width"], header["height"], header["sample_aspect"]) == (384, 512, 1.333333)
    with av.open(str(out)) as written:
        stream = written.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (384, 512, Fraction(4, 3))


def test_what_people_watch_has_square_pixels(tmp_path: Path, portrait: Image):
    info = SourceInfo("film", "a.mp4", 256, 512, Fraction(20), 1, sample_aspect=Fraction(2))
    header = Header("a.mp4", 256, 512, "", "", "", 65.0, sample_aspect=2.0)
    frame = Frame(np.ascontiguousarray(portrait[:, ::2]), 0, 0.0, aspect=2.0)
    result = nobody(frame)
    written = []

    class Watched:
        def write(self, tracked: Tracked) -> None:
            written.append(tracked.frame.image.shape)

        def close(self) -> None:
            pass

    def open_watched(title: str, info: SourceInfo, *, pace: bool) -> Watched:
        written.append((info.width, info.height))
        return Watched()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracker.sinks.window.open_window", open_watched)
        with open_sinks(Options(show=True), info, header) as sinks:
            for sink in sinks:
                sink.write(result)
    assert written == [(512, 512), (512, 512, 3)]


@pytest.mark.slow
def test_the_case_of_a_person_filmed_twice(shared: Path):
    cases = shared / "cases" / "films"
    poses = [
        np.array([[each.yaw, each.z] for tracked in track_video(cases / name, backend="cpu") for each in tracked.poses])
        for name in ("sar_1to1.mp4", "sar_2to1.mp4")
    ]
    assert np.abs(poses[0][:, 0] - poses[1][:, 0]).max() < 5
    assert np.abs(poses[1][:, 1] / poses[0][:, 1] - 1).max() < 0.1
