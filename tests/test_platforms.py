"""What differs between operating systems and Python versions, emulated here as far as that goes."""

import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import write_film
from programs import fkp_track, wait_until

from tracker.batch.plan import plan, tree_of
from tracker.commands.track import app
from tracker.errors import SourceError
from tracker.sinks.keypoints.registry import RECORDS
from tracker.sources import camera
from tracker.support.same_file import Sources, folded

GRAY = np.full((64, 64, 3), 90, np.uint8)


# Names that some file systems take for one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Talk.MP4", "talk.mp4"),
        (unicodedata.normalize("NFC", "Zoë.mp4"), unicodedata.normalize("NFD", "Zoë.mp4")),
        ("STRASSE.mp4", "straße.mp4"),
    ],
)
def test_names_that_some_file_system_takes_for_one_are_one(one: str, other: str, tmp_path: Path) -> None:
    assert folded(tmp_path / one) == folded(tmp_path / other)


def test_a_source_is_known_by_every_name(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"film")
    (tmp_path / "other.mp4").write_bytes(b"another")
    os.link(tmp_path / "talk.mp4", tmp_path / "hard.mp4")
    sources = Sources([tmp_path / "talk.mp4"])
    assert sources.are_replaced_by(tmp_path / "hard.mp4")
    assert not sources.are_replaced_by(tmp_path / "other.mp4")
    (tmp_path / "TALK.mp4").write_bytes(b"exists: as on a file system that ignores case")
    assert sources.are_replaced_by(tmp_path / "TALK.mp4")


@pytest.fixture
def ignoring_case(tmp_path: Path) -> Iterator[Path]:
    """A folder on NTFS, mounted as Windows sees it."""
    if shutil.which("mkntfs") is None or shutil.which("lowntfs-3g") is None or not Path("/dev/fuse").exists():
        pytest.skip("needs ntfs-3g")
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkntfs", "-Q", "-F", disk], check=True, capture_output=True)
    if subprocess.run(["lowntfs-3g", "-o", "ignore_case", disk, place], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield place
    wait_until(lambda: subprocess.run(["umount", place], check=False).returncode == 0)  # children of a run end after it


@pytest.mark.slow
def test_films_survive_outputs_beside_them_where_case_is_ignored(ignoring_case: Path) -> None:
    (ignoring_case / "clips").mkdir()
    for name in ("A.mp4", "a.mkv"):
        write_film(ignoring_case / "clips" / name, [GRAY] * 5)
    before = (ignoring_case / "clips" / "A.mp4").read_bytes()
    done = fkp_track("clips", "--out", "Clips", "--overwrite", cwd=ignoring_case)
    assert done.returncode == 6, done.stderr
    assert (ignoring_case / "clips" / "A.mp4").read_bytes() == before
    done = fkp_track("clips/A.mp4", "--out", "CLIPS/a.MP4", "--overwrite", cwd=ignoring_case)
    assert done.returncode == 2, done.stderr
    done = fkp_track("clips", "--keypoints", "points", cwd=ignoring_case)
    assert done.returncode == 0, done.stderr
    assert len(list((ignoring_case / "points").glob("*.jsonl"))) == 2


# Patterns


@pytest.mark.parametrize("pattern", ["films/**", "films/**/*", "films/**/*.mp4", "films/**.mp4", "films/*/**"])
def test_a_pattern_means_the_same_to_every_python(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("films/a.mp4", "films/deep/b.mp4", "films/deep/deeper/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    tasks = plan([Path(pattern)], [tree_of("keypoints", tmp_path / "points", RECORDS)])
    deep = {"films/**.mp4": ["a"], "films/*/**": ["b", "c"]}.get(pattern, ["a", "b", "c"])
    assert sorted(task.source.stem for task in tasks) == deep


def test_the_program_expands_patterns_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows click would expand them, quoted or not, before the program sees them."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(type(app), "__call__", lambda *_, **how: seen.update(how))
    from tracker.commands.track import main

    main()
    assert seen == {"windows_expand_args": False}


# Consoles and libraries


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp932"])
def test_a_console_without_a_letter_gets_its_number(encoding: str) -> None:
    code = "from tracker.support.process import run_program; run_program(lambda: print('Zoë 顔 ☺'), 'fkp-track')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zo" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "said", "remedy"),
    [
        ("win32", "DLL load failed while importing cv2: The specified module could not be found.", "Visual C++"),
        ("linux", "libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1"),
        ("darwin", "dlopen(cv2.abi3.so): Library not loaded: @rpath/libx.dylib", "install that library"),
    ],
)
def test_a_library_that_the_system_lacks_is_one_message_even_for_the_doctor(
    platform: str, said: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / "cv2.py").write_text(f"raise ImportError({said!r}, name='cv2')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tracker.support.process as process; "
    code += f"process._LIBRARIES.update(linux=process._LIBRARIES.get({platform!r}, 'install that library')); "
    code += "sys.argv = ['fkp-track', '--doctor']; from tracker.commands.track import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert said in message
    assert remedy in message


# Cameras


@pytest.mark.parametrize(
    ("platform", "api", "first"),
    [
        ("win32", None, cv2.CAP_PROP_FPS),
        ("win32", "msmf", cv2.CAP_PROP_FOURCC),
        ("linux", "dshow", cv2.CAP_PROP_FPS),
        ("linux", None, cv2.CAP_PROP_FOURCC),
    ],
)
def test_directshow_is_told_the_rate_before_the_format(
    platform: str, api: Any, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    settings = [prop for prop, _ in camera._settings(camera.Wish(640, 480, 30, api))]
    assert settings[0] == first
    assert len(settings) == 5


class Asking:
    """A camera that opens at the third try, when the user has allowed it."""

    def __init__(self) -> None:
        self.tries = 0

    def open(self, _index: int) -> "Asking":
        self.tries += 1
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return self.tries >= 3

    def read(self) -> tuple[bool, Any]:
        return self.isOpened(), GRAY

    def get(self, _property: int) -> float:
        return 30.0

    def release(self) -> None:
        pass


@pytest.mark.parametrize(("platform", "tries"), [("darwin", 3), ("linux", 1)])
def test_macos_is_given_time_to_ask_for_permission(
    platform: str, tries: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(camera.time, "sleep", lambda _: None)
    asking = Asking()
    if platform == "darwin":
        with camera.open_camera(open_capture=asking.open) as opened:
            assert opened.info.width == 64
    else:
        with pytest.raises(SourceError):
            camera.open_camera(open_capture=asking.open)
    assert asking.tries == tries
    assert ("allow it" in caplog.text) == (platform == "darwin")


# Checkouts


@pytest.mark.slow
def test_a_checkout_has_the_same_bytes_where_git_converts_line_ends(tmp_path: Path) -> None:
    """Git for Windows does so by default; the kernel's hash and others would not fit any more."""
    root = Path(__file__).resolve().parents[1]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs the git repository")
    clone = ["git", "-c", "core.autocrlf=true", "clone", "-q", "--no-local", "--depth", "1", root, tmp_path / "fkp"]
    subprocess.run(clone, check=True, capture_output=True)
    for name in filter(None, listed.stdout.split("\0")):
        here, there = root / name, tmp_path / "fkp" / name
        if there.exists() and b"\r\n" not in here.read_bytes():
            assert there.read_bytes().count(b"\r\n") == 0 or b"\0" in there.read_bytes(), name
