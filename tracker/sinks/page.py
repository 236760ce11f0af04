"""A page in the browser with the annotated picture, frame rate, latency and a table of the faces.  Extra `serve`.

In: `Tracked` with an annotated image.  Out, over HTTP, to any number of browsers:

    /         the page
    /stream   the pictures as multipart JPEG ("MJPEG"), at most 60 a second and 1280 px wide; X-Frame is the index
    /events   server-sent events: first `about`, then at most 10 a second a frame's record with `fps` and `latency_ms`

A separate thread serves the newest result to each browser when it is ready, so a slow browser sees fewer pictures and
the tracker never waits.  At most `MOST_CONNECTIONS` are open, and each has `HEADERS_S` to ask for something.  On the
loopback no token is needed unless asked for; elsewhere each address needs `?token=`.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import cv2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from tracker.drawing.draw import PALETTE
from tracker.errors import SinkError
from tracker.sinks.keypoints.record import record_of
from tracker.sources.contract import SourceInfo
from tracker.support.address import Address
from tracker.support.timing import RecentRate
from tracker.types import Tracked

log = logging.getLogger(__name__)

PICTURES_PER_S = 60
EVENTS_PER_S = 10
WIDEST_PX = 1280
JPEG_QUALITY = 80
UNSENT_BYTES = 2**18
"""How much the system may buffer for a slow browser: a few pictures, which is how far it lags behind."""
PATIENCE_S = 10
"""The most that closing may take."""
GRACE_S = 1
"""How long closing waits for data in flight."""

MOST_CONNECTIONS = 64
"""Others are hung up on at once, so that strangers cannot take every open file of this process."""
HEADERS_S = 5.0
"""How long a connection may take to ask for something."""

HEADERS = {
    "Connection": "close",  # one request each, so that none waits for the next
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""No other site may embed the picture, and no link reveals the token."""

LOOPBACK_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})
COLORS = [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in PALETTE]
"""Colours of the faces, by id modulo their number."""


class Shown(NamedTuple):
    """A frame as it is shown."""

    tracked: Tracked
    fps: float | None
    latency_ms: float | None
    """From capture by the camera until it reached this sink."""


class Newest:
    """The newest result, passed from the tracker's thread to any number of readers in the event loop `loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._latest: Shown | None = None
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, shown: Shown | None) -> None:
        """Replace the previous result; None lets every reader finish.  Callable from any thread, never blocks."""
        self._loop.call_soon_threadsafe(self._change, shown)

    async def read(self, per_s: int) -> AsyncIterator[Shown]:
        """The newest results, each at most once and at most `per_s` per second."""
        seen = None
        while True:
            latest = self._latest
            if latest is not None and latest is not seen:
                seen = latest
                yield latest
                await asyncio.sleep(1 / per_s)
            elif self._ended:
                return
            else:
                await self._changed.wait()

    def _change(self, shown: Shown | None) -> None:
        self._latest = shown or self._latest
        self._ended = shown is None
        self._changed.set()
        self._changed = asyncio.Event()


def routes_of(info: SourceInfo, newest: Newest, token: str | None, host: str) -> list[Route]:
    """The three addresses and what they answer; `host` is the address that the server listens at."""
    answers: dict[str, Callable[[], Response]] = {
        "/": lambda: HTMLResponse(resources.files("tracker.sinks").joinpath("page.html").read_text("utf-8")),
        "/stream": lambda: StreamingResponse(_parts(newest), media_type="multipart/x-mixed-replace; boundary=picture"),
        "/events": lambda: StreamingResponse(_lines(info, newest), media_type="text/event-stream"),
    }

    async def answer(request: Request) -> Response:
        if token is None:
            # A page elsewhere could point a name of its own at 127.0.0.1 and read along ("DNS rebinding").
            allowed = request.url.hostname in LOOPBACK_NAMES | {host}
        else:
            allowed = hmac.compare_digest(request.query_params.get("token", "").encode(), token.encode())
        if not allowed:
            return PlainTextResponse("Open the address that fkp-track prints, with its token.\n", 403)
        return answers[request.url.path]()

    return [Route(path, answer) for path in answers]


async def _parts(newest: Newest) -> AsyncIterator[bytes]:
    """Each part ends with the boundary and none begins with it, because browsers show a part at its boundary."""
    yield b"--picture\r\n"
    async for shown in newest.read(PICTURES_PER_S):
        jpeg = jpeg_of(shown.tracked)
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\nX-Frame: {shown.tracked.frame.index}"
        yield head.encode() + b"\r\n\r\n" + jpeg + b"\r\n--picture\r\n"


async def _lines(info: SourceInfo, newest: Newest) -> AsyncIterator[bytes]:
    about = {"source": info.name, "width": info.width, "height": info.height, "colors": COLORS}
    yield f"retry: 1000\nevent: about\ndata: {json.dumps(about)}\n\n".encode()
    async for shown in newest.read(EVENTS_PER_S):
        live = {"fps": shown.fps, "latency_ms": shown.latency_ms}
        yield f"data: {json.dumps(record_of(shown.tracked) | live, allow_nan=False)}\n\n".encode()


class Guarded(H11Protocol):
    """A connection that is closed if there are too many, or if it asks for nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(HEADERS_S, self._expect_request)

    def _expect_request(self) -> None:
        if self.cycle is None:
            self.transport.abort()


class Serve:
    """A running server."""

    def __init__(self, info: SourceInfo, sock: socket.socket, token: str | None) -> None:
        self.url = url_of(sock, token)
        """The page's address, with the token."""
        self._clock_zero = info.clock_zero
        self._rate = RecentRate()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: log.debug("the page: %s", context.get("message")))
        self._newest = Newest(self._loop)
        app = Starlette(routes=routes_of(info, self._newest, token, sock.getsockname()[0]))
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Guarded,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                headers=list(HEADERS.items()),
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._thread = threading.Thread(target=self._run, args=(sock,), name="fkp-serve", daemon=True)
        self._thread.start()

    def write(self, tracked: Tracked) -> None:
        """Show one frame in all browsers; it never waits and never fails."""
        now = time.perf_counter()
        latency_s = None if self._clock_zero is None else now - self._clock_zero - tracked.frame.timestamp
        self._newest.put(Shown(tracked, self._rate(now), None if latency_s is None else latency_s * 1e3))

    def close(self) -> None:
        """Disconnect every browser and free the port; a second call does nothing."""
        if self._thread.is_alive():
            self._newest.put(None)
            self._server.should_exit = True
            self._thread.join(PATIENCE_S)

    def _run(self, sock: socket.socket) -> None:
        with sock, closing(self._loop):
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._answer(sock))

    async def _answer(self, sock: socket.socket) -> None:
        """Serve until `close`, then drop connections that have not taken their data."""
        await self._server.serve(sockets=[sock])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # that is when they are closed


def open_serve(address: Address, info: SourceInfo, *, token: bool = False) -> Serve:
    """Serve the page at `address`; port 0 takes a free one.  Outside the loopback it needs a token, there with `token`.

    Raises SinkError when the host is not this machine's, or the port is taken or reserved.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
        sock = socket.create_server(where[:2], family=family)
    except OSError as error:
        raise SinkError(f"cannot serve at {address}: {error.strerror}; choose another port or host") from error
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)  # connections inherit it
    private = ipaddress.ip_address(where[0]).is_loopback
    server = Serve(info, sock, secrets.token_urlsafe(16) if token or not private else None)
    log.info("live at %s", server.url)
    return server


def url_of(sock: socket.socket, token: str | None) -> str:
    """The address to open in a browser."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{Address(host, port)}/" + ("" if token is None else f"?token={token}")


@lru_cache(maxsize=1)
def jpeg_of(tracked: Tracked) -> bytes:
    """The picture, no wider than `WIDEST_PX`; encoded once for all browsers."""
    image = tracked.frame.image
    height, width = image.shape[:2]
    if width > WIDEST_PX:
        image = cv2.resize(image, (WIDEST_PX, round(height * WIDEST_PX / width)), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(content)
