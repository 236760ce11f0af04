"""Network cameras and streams on loopback, also after the connection was cut; pipes; playlists."""

import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from films import write_part
from programs import FKP_TRACK, fkp_track, headless, wait_until

from tracker import track_video
from tracker.errors import SourceError
from tracker.sinks.film import open_video
from tracker.sources import stream as stream_module
from tracker.sources.film import open_film
from tracker.sources.registry import open_source
from tracker.sources.stream import open_stream
from tracker.support.address import StreamUrl, stream_url
from tracker.types import Image


class Server(ThreadingHTTPServer):
    """What a network camera answers: MJPEG as cameras send it, or MPEG-TS; and how often it was asked."""

    daemon_threads = True

    def __init__(self, pictures: list[Image]) -> None:
        self.pictures = pictures
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}
        self.cut = threading.Event()
        """Set: connections end, and none is accepted."""
        super().__init__(("127.0.0.1", 0), Answer)

    def url(self, path: str, user: str = "") -> StreamUrl:
        return StreamUrl(f"http://{user}127.0.0.1:{self.server_address[1]}{path}")


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.cut.is_set():
            self.send_error(503)
            return
        if self.path in self.server.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.files[self.path])
            return
        if self.path.startswith("/playlist"):
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl")
            self.end_headers()
            self.wfile.write(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{self.path.partition('=')[2]}\n".encode())
            return
        with suppress(OSError):
            self._mjpeg()

    def _mjpeg(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        index = 0
        while not self.server.cut.is_set():
            jpeg = cv2.imencode(".jpg", self.server.pictures[index % len(self.server.pictures)])[1].tobytes()
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.02)
            index += 1

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def camera(portrait: Image) -> Iterator[Server]:
    small = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA)[:240]
    server = Server([np.roll(small, 4 * index, axis=1) for index in range(6)])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.cut.set()
    server.shutdown()
    server.server_close()


def test_a_network_camera_gives_its_newest_pictures(camera: Server):
    with open_stream(camera.url("/video.mjpg")) as source:
        info = source.info
        assert (info.kind, info.width, info.height, info.path) == ("camera", 320, 240, None)
        assert info.started is not None
        assert info.started.tzinfo is not None
        frames = iter(source)
        first = next(frames)
        time.sleep(0.5)  # who is slow gets what is new
        next(frames)
        later = next(frames)
    assert first.image.shape == (240, 320, 3)
    assert later.timestamp > 0.45
    assert later.index == 2


def test_a_recorded_stream_says_that_it_has_no_sound(camera: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with open_stream(camera.url("/video.mjpg")) as source:
        for mute in (True, False):
            assert "without sound" not in caplog.text
            open_video(tmp_path / "out.mp4", source.info, overwrite=False, mute=mute).close()
    assert "out.mp4 gets its picture without sound" in caplog.text


def test_a_stream_that_breaks_off_comes_back_and_time_goes_on(camera: Server, caplog: pytest.LogCaptureFixture):
    with open_stream(camera.url("/video.mjpg"), retry_s=0.1) as source:
        frames = iter(source)
        before = next(frames).timestamp
        camera.cut.set()
        wait_until(lambda: "sends nothing more; connecting again" in caplog.text, minutes=1)
        time.sleep(0.3)
        camera.cut.clear()
        wait_until(lambda: "is back" in caplog.text, minutes=1)
        after = [next(frames).timestamp for _ in range(5)]
    assert after[-1] > before + 0.3
    assert np.all(np.diff(after) > 0)


def test_closing_ends_a_reader_that_waits_for_a_lost_stream(camera: Server):
    source = open_stream(camera.url("/video.mjpg"), retry_s=30)
    frames = iter(source)
    next(frames)
    camera.cut.set()
    threading.Timer(0.5, source.close).start()
    began = time.perf_counter()
    list(frames)
    assert time.perf_counter() - began < 5


def test_a_password_is_never_shown(camera: Server, caplog: pytest.LogCaptureFixture, tmp_path: Path):
    url = camera.url("/video.mjpg?token=geheim", user="anna:secret@")
    with caplog.at_level(logging.DEBUG), open_stream(url, retry_s=0.1) as source:
        told = [source.info.name, repr(url)]
        next(iter(source))
        camera.cut.set()
        wait_until(lambda: "connecting again" in caplog.text, minutes=1)
    with pytest.raises(SourceError) as caught:
        open_stream(url)
    done = fkp_track(str(url), "--keypoints", "-", cwd=tmp_path)
    assert done.returncode == 3
    everything = " ".join([*told, caplog.text, str(caught.value), done.stderr, done.stdout])
    assert "secret" not in everything
    assert "geheim" not in everything
    assert "127.0.0.1" in everything


def test_nobody_at_home_is_one_message():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for scheme in ("http", "rtsp", "tcp", "rtmp"):
        with pytest.raises(SourceError, match=rf"{scheme}://127.0.0.1:{port}/x cannot be opened: .*; check address"):
            open_stream(StreamUrl(f"{scheme}://u:p@127.0.0.1:{port}/x"))


@pytest.mark.parametrize("place", ["file:///etc/hostname", "/etc/hostname", "concat:/etc/hostname"])
def test_a_playlist_never_leads_to_a_file_of_this_machine(camera: Server, place: str):
    with pytest.raises(SourceError, match=r"cannot be opened|can be decoded|holds no video"):
        open_stream(camera.url(f"/playlist.m3u8?to={place}"))


def test_a_film_behind_a_playlist_is_read_like_a_film(camera: Server, tmp_path: Path):
    parts = [write_part(tmp_path / f"{number}.ts", seed=number, seconds=1) for number in (1, 2)]
    camera.files = {f"/hls/{part.name}": part.read_bytes() for part in parts}
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1"]
    for part in parts:
        lines += ["#EXTINF:1,", part.name, "#EXT-X-DISCONTINUITY"]
    camera.files["/hls/film.m3u8"] = "\n".join([*lines[:-1], "#EXT-X-ENDLIST", ""]).encode()
    with open_stream(camera.url("/hls/film.m3u8")) as source:
        frames = list(source)
    assert source.info.kind == "film"
    assert len(frames) == 40
    times = [frame.timestamp for frame in frames]
    assert np.all(np.diff(times) > 0)
    assert times[-1] == pytest.approx(2, abs=0.2)


def test_a_protocol_that_is_not_there_names_a_way_round():
    told = r"has no srt; let another program read it: ffmpeg -i srt://|cannot be opened"  # some FFmpegs have it
    with pytest.raises(SourceError, match=told):
        open_stream(StreamUrl("srt://127.0.0.1:9"))


def test_a_local_playlist_opens_nothing_that_it_names(tmp_path: Path, camera: Server):
    film = write_part(tmp_path / "secret.ts", seconds=1)
    address = camera.url("/video.mjpg")
    for name in (film.name, str(film), str(address)):
        (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}\n#EXT-X-ENDLIST\n")
        with pytest.raises(SourceError, match=r"list of other files|cannot be read as a film"):
            open_film(tmp_path / "list.m3u8")
    assert camera.asked == []


def test_udp_and_tcp_carry_mpeg_ts(tmp_path: Path):
    content = write_part(tmp_path / "a.ts", sound=None, seconds=3, options={"g": "10", "bf": "0"}).read_bytes()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Thread(target=_send, args=(listener, content), daemon=True).start()
        with open_stream(StreamUrl(f"tcp://127.0.0.1:{listener.getsockname()[1]}"), retry_s=0.1) as source:
            assert (source.info.kind, source.info.width) == ("camera", 160)
            assert next(iter(source)).image.shape == (120, 160, 3)


def _send(listener: socket.socket, content: bytes) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for start in range(0, len(content), 1316):
                    connection.sendall(content[start : start + 1316])
                    time.sleep(0.002)


def test_python_takes_addresses(camera: Server):
    results = track_video(str(camera.url("/video.mjpg")), backend="cpu")
    assert next(results).frame.image.shape == (240, 320, 3)
    results.close()


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--camera"]])
def test_the_command_line_takes_addresses(camera: Server, tmp_path: Path, words: list[str]):
    url = str(camera.url("/video.mjpg"))
    command = [*FKP_TRACK, *words, url, "--keypoints", "-", "--backend", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=headless(), cwd=tmp_path, text=True) as process:
        assert process.stdout is not None
        header, *records = (json.loads(process.stdout.readline()) for _ in range(4))
        process.terminate()
    assert header["source"] == url
    assert header["started"][-6] in "+-"
    assert header["started_monotonic_s"] > 0
    assert [record["frame"] for record in records] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "is_stream"),
    [
        ("rtsp://user:pass@host/1", True),
        ("RTSP://host/1", True),
        ("http://host:8080/video", True),
        ("https://host/live.m3u8", True),
        ("udp://@239.0.0.1:1234", True),
        ("srt://host:9000", True),
        ("https://host/talk.mp4", False),
        ("s3://bucket/talk.ts", False),
        ("file:///talk.ts", False),
        ("talk.mp4", False),
        ("C://talk.mp4", False),
    ],
)
def test_what_is_the_address_of_a_stream(text: str, is_stream: bool):
    assert (stream_url(text) is not None) == is_stream


def test_a_stream_in_a_batch_is_a_usage_error(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"")
    done = fkp_track("rtsp://127.0.0.1:1/x", "a.mp4", "--keypoints", "points", cwd=tmp_path)
    assert done.returncode == 2
    assert "a stream or standard input is tracked by itself" in done.stderr


# Standard input


def from_pipe(content: bytes, *words: str, cwd: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [*FKP_TRACK, "-", "--keypoints", "-", "--backend", "cpu", *words],
        input=content,
        capture_output=True,
        env=headless(),
        cwd=cwd,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["yuv4mpegpipe", "matroska", "mpegts"])
def test_a_film_on_standard_input_describes_itself(tmp_path: Path, form: str):
    picture = "wrapped_avframe" if form == "yuv4mpegpipe" else "libx264"
    made = io.BytesIO()
    with av.open(made, "w", format=form) as film:
        stream = film.add_stream(picture, rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 90, np.uint8), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 20)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    header, *records = from_pipe(made.getvalue(), cwd=tmp_path)
    assert (header["source"], header["width"], header["height"]) == ("standard input", 160, 120)
    assert [record["time"] for record in records] == pytest.approx([index / 20 for index in range(8)], abs=0.002)


@pytest.mark.slow
def test_bare_pictures_on_standard_input_need_their_size(tmp_path: Path, portrait: Image):
    content = portrait.tobytes() * 5
    header, *records = from_pipe(content, "--width", "512", "--height", "512", "--fps", "10", cwd=tmp_path)
    assert (header["width"], header["height"]) == (512, 512)
    assert [record["time"] for record in records] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert all(len(record["faces"]) == 1 for record in records)


def test_bare_pictures_that_do_not_fit_their_size_are_told(tmp_path: Path):
    done = subprocess.run(
        [*FKP_TRACK, "-", "--width", "96", "--height", "98", "--keypoints", "-"],
        input=bytes(3 * 96 * 96 * 5),
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0
    assert b"do --width, --height and bgr24 fit what is sent?" in done.stderr


def test_what_is_no_film_on_standard_input_is_one_message(tmp_path: Path):
    done = subprocess.run(
        [*FKP_TRACK, "-", "--keypoints", "-"], input=b"x" * 5000, capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 3
    assert b"standard input is not a film" in done.stderr
    assert b"--width and --height" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_read_once(tmp_path: Path):
    import os

    content = write_part(tmp_path / "a.mkv", seconds=1).read_bytes()
    os.mkfifo(tmp_path / "pipe.mkv")
    threading.Thread(target=(tmp_path / "pipe.mkv").write_bytes, args=(content,), daemon=True).start()
    with open_source(tmp_path / "pipe.mkv") as source:
        assert source.info.path is None
        assert len(list(source)) == 20


def test_times_of_waiting_are_bounded():
    assert stream_module.OPEN_S <= 30
    assert stream_module.READ_S <= 30
