"""The page, its pictures and its events, as HTTP clients and a real browser see them."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest

from tracker.drawing.draw import PALETTE
from tracker.errors import SinkError
from tracker.sinks.keypoints.record import record_of
from tracker.sources.contract import SourceInfo
from tracker.support.address import Address
from tracker.types import Box, Face, Frame, Pose, Region, Tracked

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

from tracker.sinks.page import MOST_CONNECTIONS, open_serve

BLUE = (200, 60, 20)
HERE = Address("127.0.0.1", 0)


def info(**changed):
    given = {
        "kind": "demo",
        "name": "/films/demo.mp4",
        "width": 320,
        "height": 240,
        "rate": Fraction(30),
        "frames": None,
    }
    return SourceInfo(**given | changed)


def tracked(index, faces=1, *, size=(320, 240), noise=False):
    random = np.random.default_rng(index)
    image = np.full((size[1], size[0], 3), BLUE, np.uint8)
    if noise:  # large as JPEG
        image = random.integers(0, 256, image.shape, np.uint8)
    return Tracked(
        Frame(image, index, index / 30),
        tuple(Face(each, Region(1, 2, 3, 0), Box(10, 20, 110, 140), 0.9) for each in range(faces)),
        random.uniform(0, 240, (faces, 15, 2)).astype(np.float32),
        random.uniform(0.5, 3, (faces, 15)).astype(np.float32),
        tuple(Pose(12.3, -4.5, 0.2, 10.0, 20.0, 640.0) for _ in range(faces)),
    )


@pytest.fixture
def get():
    """Asks for a path of a server's address; the response's body is still to be read."""
    with ExitStack() as opened:

        def ask(url, path="/", *, host=None, query=None):
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
            opened.callback(connection.close)
            asked = parts.query if query is None else query
            connection.request(
                "GET", f"{path}?{asked}" if asked else path, headers={} if host is None else {"Host": host}
            )
            return opened.enter_context(connection.getresponse())

        yield ask


@pytest.fixture
def serve():
    """A server on a free port of the loopback, closed at the end."""
    with closing(open_serve(HERE, info())) as server:
        yield server


def pictures(response):
    """Number and image of each part of a stream, as they come."""
    while line := response.readline():
        head = {}
        while (line := response.readline().strip()) and b":" in line:
            name, _, value = line.partition(b": ")
            head[name.decode()] = value.decode()
        if not head:
            return
        jpeg = response.read(int(head["Content-Length"]))
        assert response.readline() == b"\r\n"
        yield int(head["X-Frame"]), cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def events(response):
    """Name and data of each event, as they come."""
    name = "message"
    while line := response.readline().decode().rstrip("\n"):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
            name = "message"
            assert response.readline() == b"\n"


def test_the_picture_is_streamed_as_it_is(serve, get):
    stream = pictures(get(serve.url, "/stream"))
    for index in (5, 6):
        serve.write(tracked(index))
        number, image = next(stream)
        assert number == index
        assert image.shape == (240, 320, 3)
        np.testing.assert_allclose(image.mean((0, 1)), BLUE, atol=3)


def test_events_tell_about_the_source_and_then_what_files_hold(serve, get):
    told = events(get(serve.url, "/events"))
    name, about = next(told)
    assert name == "about"
    assert (about["source"], about["width"], about["height"]) == ("/films/demo.mp4", 320, 240)
    blue, green, red = PALETTE[0]
    assert about["colors"][0] == f"#{red:02x}{green:02x}{blue:02x}"
    result = tracked(7, faces=2)
    serve.write(result)
    assert next(told) == ("message", record_of(result) | {"fps": None, "latency_ms": None})
    serve.write(tracked(8))
    assert next(told)[1]["fps"] > 0


def test_the_latency_of_a_camera_is_told(serve, get):
    with closing(open_serve(HERE, info(kind="camera", clock_zero=time.perf_counter() - 2.0))) as camera:
        told = events(get(camera.url, "/events"))
        next(told)
        camera.write(tracked(30))  # taken a second after the first
        assert 1000 <= next(told)[1]["latency_ms"] < 60_000


def test_many_may_look_at_once(serve, get):
    streams = [pictures(get(serve.url, "/stream")) for _ in range(8)]
    serve.write(tracked(3))
    assert [next(stream)[0] for stream in streams] == [3] * 8


def test_who_comes_late_sees_the_newest(serve, get):
    serve.write(tracked(1))
    serve.write(tracked(2))
    assert next(pictures(get(serve.url, "/stream")))[0] == 2


def test_who_does_not_read_holds_nobody_up_and_gets_no_old_pictures_later(serve, get):
    idle, reader = get(serve.url, "/stream"), pictures(get(serve.url, "/stream"))
    for index in range(60):
        serve.write(tracked(index, noise=True))
        seen, _ = next(reader)
        assert seen == index
    numbers = []
    serve.write(tracked(1000))
    for number, _ in pictures(idle):
        numbers.append(number)
        if number == 1000:
            break
    assert len(numbers) < 50


def test_who_leaves_is_not_missed(serve, capfd, get):
    for _ in range(5):
        response = get(serve.url, "/stream")
        serve.write(tracked(1, noise=True))
        next(pictures(response))
        response.close()
    for index in range(20):
        serve.write(tracked(index))
        time.sleep(0.01)
    assert next(pictures(get(serve.url, "/stream")))[0] == 19
    assert capfd.readouterr() == ("", "")


def test_closing_ends_every_stream_after_the_last_frame_and_frees_the_port(serve, capfd, get):
    stream, told = pictures(get(serve.url, "/stream")), events(get(serve.url, "/events"))
    with ThreadPoolExecutor() as readers:
        numbers = readers.submit(lambda: [number for number, _ in stream])
        frames = readers.submit(lambda: [event.get("frame") for _, event in told])
        for index in range(50):
            serve.write(tracked(index))
        serve.close()
        serve.close()
        assert numbers.result()[-1] == 49
        assert frames.result()[-1] == 49
    with closing(open_serve(Address("127.0.0.1", urlsplit(serve.url).port), info())):
        pass
    assert capfd.readouterr() == ("", "")


def test_closing_hangs_up_on_who_does_not_read(serve, capfd, get):
    idle = get(serve.url, "/stream")
    serve.write(tracked(0, noise=True, size=(1280, 1280)))  # more than the system takes from the server at once
    time.sleep(0.2)
    serve.close()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        idle.read()
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_is_one_message(serve):
    taken = Address("127.0.0.1", urlsplit(serve.url).port)
    with pytest.raises(SinkError, match=rf"cannot serve at {taken}: .*; choose another port or host"):
        open_serve(taken, info())


def test_an_address_of_another_machine_is_one_message():
    with pytest.raises(SinkError, match=r"cannot serve at 192\.0\.2\.1:8010"):
        open_serve(Address("192.0.2.1", 8010), info())


@pytest.mark.parametrize("path", ["/", "/stream", "/events"])
def test_elsewhere_than_on_the_loopback_only_the_token_opens(path, get):
    with closing(open_serve(Address("0.0.0.0", 0), info())) as server:
        port = urlsplit(server.url).port
        token = parse_qs(urlsplit(server.url).query)["token"][0]
        assert len(token) > 20
        here = f"http://127.0.0.1:{port}"
        for wrong in ("", "token=", f"token={token[:-1]}", "token=%C3%A9"):
            assert get(here, path, query=wrong).status == 403
        assert get(here, path, query=f"token={token}", host="studio.local").status == 200
        assert "Referrer-Policy" in get(here, path, query="").headers


def test_each_run_has_a_token_of_its_own():
    with (
        closing(open_serve(Address("0.0.0.0", 0), info())) as one,
        closing(open_serve(Address("0.0.0.0", 0), info())) as two,
    ):
        assert urlsplit(one.url).query != urlsplit(two.url).query


def test_the_loopback_asks_for_a_token_too_where_it_should(get):
    with closing(open_serve(HERE, info(), token=True)) as serve:
        assert get(serve.url, query="").status == 403
        assert get(serve.url).status == 200


def opened(url, count):
    """Connections that ask for nothing."""
    parts = urlsplit(url)
    return [socket.create_connection((parts.hostname, parts.port), timeout=10) for _ in range(count)]


def test_strangers_cannot_take_every_open_file(serve, get, capfd):
    with ExitStack() as stack:
        strangers = [stack.enter_context(each) for each in opened(serve.url, MOST_CONNECTIONS + 100)]
        for each in strangers[MOST_CONNECTIONS:]:
            with contextlib.suppress(ConnectionError):
                assert each.recv(1) == b""  # hung up on, or the test's own patience ends
    time.sleep(0.2)
    assert get(serve.url).status == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_who_asks_for_nothing_is_hung_up_on(said, monkeypatch, get):
    monkeypatch.setattr("tracker.sinks.page.HEADERS_S", 0.3)
    with closing(open_serve(HERE, info())) as serve, opened(serve.url, 1)[0] as stranger:
        stranger.sendall(said)
        with contextlib.suppress(ConnectionError):
            assert stranger.recv(1) == b""
        reader = pictures(get(serve.url, "/stream"))
        time.sleep(0.5)
        serve.write(tracked(1))
        assert next(reader)[0] == 1  # who has asked stays


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has one loopback address")
def test_every_loopback_address_of_this_machine_can_be_served_at(get):
    """Debian and Ubuntu call the machine itself 127.0.1.1."""
    with closing(open_serve(Address("127.0.1.1", 0), info())) as serve:
        assert get(serve.url).status == 200
        assert get(serve.url, host="evil.example").status == 403


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("localhost:8010", 200), ("evil.example", 403)])
def test_on_the_loopback_no_other_name_for_this_machine_is_answered(serve, host, status, get):
    assert get(serve.url, host=host).status == status


def test_no_other_site_may_show_the_picture(serve, get):
    assert get(serve.url, "/stream").headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_large_pictures_are_made_smaller(serve, get):
    serve.write(tracked(0, size=(2560, 1440)))
    assert next(pictures(get(serve.url, "/stream")))[1].shape == (720, 1280, 3)


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra test-all")
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    system = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if system is None and not list(own.glob("chromium-*")):
        pytest.skip("needs Chromium: playwright install chromium, or the system's")
    playwright = api.sync_playwright().start()
    try:
        path = system or playwright.chromium.executable_path
        with closing(playwright.chromium.launch(executable_path=path)) as browser:
            yield browser
    finally:
        playwright.stop()


def eventually(page, selector, text):
    """Wait until an element says `text`; the page allows no script of ours to wait inside it."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=30_000)


@pytest.mark.parametrize(("scheme", "ground"), [("light", (244, 245, 247)), ("dark", (16, 18, 22))])
def test_a_browser_shows_the_picture_and_the_faces_and_says_when_it_is_over(chromium, scheme, ground):
    problems = []
    with closing(open_serve(HERE, info())) as server, closing(chromium.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.goto(server.url, wait_until="domcontentloaded")
        picture = page.locator("#picture")
        for index in range(100):
            server.write(tracked(index, faces=2))
            page.wait_for_timeout(100)
            if picture.evaluate("image => image.naturalWidth") == 320:
                break
        eventually(page, "#state", "live")
        rows = [row.inner_text().split() for row in page.query_selector_all("#faces tr")]
        assert [(row[0], row[1], row[3:]) for row in rows] == [
            (face, "0.90", ["12°", "-4°", "0°", "64", "cm"]) for face in ("0", "1")
        ]
        assert page.inner_text("#source") == "demo.mp4"
        assert page.title() == "demo.mp4 – fkp"
        assert not page.is_visible("#nobody")
        shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        box = picture.bounding_box()
        middle = shot[round(box["y"] + box["height"] / 2), round(box["x"] + box["width"] / 2)]
        np.testing.assert_allclose(middle, BLUE, atol=4)
        np.testing.assert_array_equal(shot[-1, -1, ::-1], ground)
        server.write(tracked(100, faces=0))
        eventually(page, "#count", "0")
        assert page.is_visible("#nobody")
        assert problems == []
        server.close()
        eventually(page, "#state", "ended, waiting for the next run")


def test_a_page_that_is_left_open_shows_the_next_run(chromium):
    with closing(chromium.new_context()) as context, closing(open_serve(HERE, info())) as first:
        page = context.new_page()
        page.goto(first.url, wait_until="domcontentloaded")
        first.write(tracked(0, faces=1))
        eventually(page, "#count", "1")
        first.close()
        with closing(open_serve(Address("127.0.0.1", urlsplit(first.url).port), info())) as second:
            second.write(tracked(0, faces=3))
            eventually(page, "#count", "3")
