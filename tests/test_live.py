"""`fkp-track` with another program listening: real processes, real receivers, and no socket unless asked for."""

import json
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import programs
import pytest
from programs import FKP_TRACK, TRACK, headless, run_code

from tracker.commands.parameters import filled_in
from tracker.options import Options

SECONDS, RATE = 1, 25
PATIENCE_S = 120


fkp_track = partial(programs.fkp_track, timeout=PATIENCE_S)


@pytest.mark.slow
def test_udp_carries_the_lines_of_a_file_and_is_smoothed_live(
    film: Path, receiver: socket.socket, tmp_path: Path
) -> None:
    where = f"127.0.0.1:{receiver.getsockname()[1]}"
    assert fkp_track(film, "--keypoints", "out.jsonl", "--smooth", "live", cwd=tmp_path).returncode == 0
    done = fkp_track(film, "--udp", where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sent = [json.loads(receiver.recv(65536)) for _ in range(SECONDS * RATE)]
    _, *lines = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [line["frame"] for line in sent] == list(range(SECONDS * RATE))
    assert sent == lines
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.slow
def test_osc_carries_a_bundle_for_the_frame_and_two_for_a_lone_face(
    film: Path, receiver: socket.socket, tmp_path: Path
) -> None:
    pytest.importorskip("pythonosc", reason="needs the extra osc")
    done = fkp_track(film, "--osc", f"127.0.0.1:{receiver.getsockname()[1]}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    receiver.settimeout(0)
    datagrams = [receiver.recv(65536) for _ in range(SECONDS * RATE)]
    assert all(datagram.startswith(b"#bundle\0") and len(datagram) < 1500 for datagram in datagrams)
    assert any(b"/fkp/0/left_eye_center" in datagram for datagram in datagrams)
    assert any(b"/fkp/first/left_eye_center" in datagram for datagram in datagrams)


@pytest.mark.slow
def test_a_rerun_file_is_an_output_like_others(film: Path, dead: int, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs the extra rerun")
    (tmp_path / f"out.partial-{dead}.rrd").write_bytes(b"of a run that was killed")
    done = fkp_track(film, "--rerun", "out.rrd", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("-> out.rrd")
    assert [path.name for path in tmp_path.iterdir()] == ["out.rrd"]
    assert (tmp_path / "out.rrd").read_bytes()[:4] == b"RRF2"
    refused = fkp_track(film, "--rerun", "out.rrd", cwd=tmp_path)
    assert refused.returncode == 6
    assert "--overwrite" in refused.stderr


def test_one_refused_output_leaves_nothing_of_a_rerun_file(film: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs the extra rerun")
    (tmp_path / "out.mp4").write_bytes(b"dear to me")
    assert fkp_track(film, "--rerun", "out.rrd", "--out", "out.mp4", cwd=tmp_path).returncode == 6
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_the_page_is_there_until_the_run_is_stopped_while_somebody_looks(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    command = [*FKP_TRACK, "--demo", "--serve", "0", *(["--serve-token"] if code == 143 else [])]
    with subprocess.Popen(command, cwd=tmp_path, env=headless(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().rpartition(" ")[2].strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/" + (r"\?token=.{22}" if code == 143 else ""), url)
        with urlopen(re.sub(r"/(?=\?|$)", "/events", url), timeout=PATIENCE_S) as events:
            while not events.readline().startswith(b'data: {"frame"'):
                pass
            process.send_signal(number)
            assert not events.read().endswith(b"}")
        log = process.stderr.read()
        assert process.wait(PATIENCE_S) == code
    assert "Traceback" not in log
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("", ""),
        ("--serve", "--serve 8010"),
        ("--serve 9", "--serve 9"),
        ("--serve 10.0.0.7:9", "--serve 10.0.0.7:9"),
        ("--serve [::]:9 talk.mp4", "--serve [::]:9 talk.mp4"),
        ("--serve talk.mp4", "--serve 8010 talk.mp4"),
        ("--serve --show", "--serve 8010 --show"),
        ("talk.mp4 --serve=9", "talk.mp4 --serve=9"),
        ("--rerun talk.mp4", "--rerun 127.0.0.1:9876 talk.mp4"),
        ("--rerun talk.rrd talk.mp4", "--rerun talk.rrd talk.mp4"),
        ("--rerun 10.0.0.7:9 talk.mp4", "--rerun 10.0.0.7:9 talk.mp4"),
    ],
)
def test_an_option_may_stand_alone_where_its_value_goes_without_saying(typed: str, read: str) -> None:
    assert filled_in(typed.split(), Options) == read.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--udp", "9000"), 2, "HOST:PORT"),
        (("--serve", "99999"), 2, "expected 0 to 65535"),
        (("--rerun=talk.txt",), 2, "HOST:PORT"),
        (("--rerun", "here.rrd", "--keypoints", "x.jsonl", "--keypoints", "./x.jsonl"), 2, "its own name"),
        (("--rerun", "nowhere/x.rrd"), 6, "nowhere"),
        (("--serve", "192.0.2.1:8010"), 6, "192.0.2.1:8010"),
        (("--osc", "127.0.0.1:0"), 2, "expected 1 to 65535"),
        (("--udp", "255.255.255.255:9000"), 6, "255.255.255.255:9000"),
        (("--osc", "255.255.255.255:9000"), 6, "255.255.255.255:9000"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(
    args: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    done = fkp_track("--demo", *args, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "package", "extra"),
    [
        ("--osc=127.0.0.1:9000", "pythonosc", "osc"),
        ("--serve", "starlette", "serve"),
        ("--serve", "uvicorn", "serve"),
        ("--rerun", "rerun", "rerun"),
        ("--virtual-camera", "pyvirtualcam", "virtual-camera"),
    ],
)
def test_a_missing_extra_is_named(option: str, package: str, extra: str, tmp_path: Path) -> None:
    done = run_code(
        f"import sys; sys.modules[{package!r}] = None; {TRACK}", "fkp-track", "--demo", option, cwd=tmp_path
    )
    assert done.returncode == 6, done.stderr
    (message,) = done.stderr.splitlines()
    assert f'pip install "fkp[{extra}]"' in message


DENY_SOCKETS = """
import os, sys
def deny(event, _):
    if event.startswith("socket."):
        os.write(2, f"a socket was touched: {event}".encode())
        os._exit(99)  # an exception might be swallowed
sys.addaudithook(deny)
"""


@pytest.mark.slow
def test_tracking_touches_no_socket(film: Path, tmp_path: Path) -> None:
    """A process of its own, whose imports are watched too."""
    command = [sys.executable, "-c", DENY_SOCKETS + TRACK, film, "--out", "out.mp4", "--keypoints", "out.jsonl"]
    subprocess.run(command, cwd=tmp_path, env=headless(), check=True, timeout=PATIENCE_S)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1 + SECONDS * RATE


@pytest.mark.slow
def test_the_demo_touches_no_socket(tmp_path: Path) -> None:
    second = "import tracker.sources.demo as demo; demo.SECONDS = 1.0"
    done = run_code(f"{DENY_SOCKETS}\n{second}\n{TRACK}", "fkp-track", "--demo", "--keypoints", "out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--udp", "--osc", "--serve", "--rerun"])
def test_only_the_option_that_says_so_opens_one(option: str, tmp_path: Path) -> None:
    """And so the test above would see it."""
    if option == "--rerun":
        pytest.importorskip("rerun", reason="needs the extra rerun")
    done = run_code(DENY_SOCKETS + TRACK, "fkp-track", "--demo", option, "127.0.0.1:9000", cwd=tmp_path)
    assert done.returncode == 99
    assert re.search(r"a socket was touched: socket\.", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--udp=127.0.0.1:9000", "--serve", "--rerun=x.rrd", "--virtual-camera"])
def test_many_films_at_once_are_not_sent_on(option: str, tmp_path: Path) -> None:
    done = fkp_track("one.mp4", "two.mp4", "--keypoints", "out", option, cwd=tmp_path)
    assert done.returncode == 2
    assert "a batch only writes files" in done.stderr
