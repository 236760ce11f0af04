"""Names of files cannot play tricks on a terminal."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import fkp_track

from tracker.support.printable import PrintableFormatter, printable

EVIL = "a\x1b[2J\x1b]0;owned\x07\nfkp-track: all is well\r\x9b\u202e4pm."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Grüße 顔.mp4", "Grüße 顔.mp4"),
        ("a\x1b[31m.mp4", r"a\x1b[31m.mp4"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b\u2028\u202e", r"\x9b\u2028\u202e"),
        (os.fsdecode(b"caf\xe9.mp4") if sys.platform != "win32" else "caf\udce9.mp4", r"caf\xe9.mp4"),
    ],
)
def test_what_a_terminal_would_obey_is_spelt_out(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_a_traceback_keeps_its_lines() -> None:
    failed = logging.LogRecord("x", logging.ERROR, "", 0, "cannot read %s", ("a\nb",), None)
    failed.exc_text = "Traceback\n  line"
    assert PrintableFormatter("%(message)s").format(failed) == "cannot read a\\nb\nTraceback\n  line"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_names_that_move_the_cursor_reach_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / f"{EVIL}mp4").write_bytes(b"no film")
    for args in (("films", "--keypoints", "made"), (f"films/{EVIL}mp4", "--keypoints", "x.csv")):
        done = fkp_track(*args, cwd=tmp_path)
        assert done.returncode in (1, 3)
        assert r"\x1b[2J" in done.stderr
        assert not [each for each in done.stderr if (ord(each) < 32 and each != "\n") or each in "\x9b\u202e"]
        assert "fkp-track: all is well" not in done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of open files")
def test_too_few_open_files_are_one_message(tmp_path: Path) -> None:
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "tracker.commands.track", "--demo", "--out", "o.mp4", "--keypoints", "x.csv"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
    )  # fmt: skip
    assert done.returncode in (1, 6)
    assert "oo many open files" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
