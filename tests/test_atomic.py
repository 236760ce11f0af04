"""Files that bear their name only once they are whole, and never take another's."""

import contextlib
import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.errors import PipeClosed, SinkError, SourceError
from tracker.support.atomic import all_or_none, clear_leftovers, free_name, open_partial, write_whole
from tracker.support.process import Stopped

with contextlib.suppress(ImportError):
    import fcntl


def test_a_file_gets_its_name_when_it_is_finished(tmp_path):
    target = tmp_path / "talk.mp4"
    partial = open_partial(target, overwrite=False)
    assert partial.path.name == f"talk.partial-{os.getpid()}.mp4"
    assert partial.path.parent == tmp_path
    partial.path.write_text("film")
    assert not target.exists()
    assert partial.move_into_place() == target
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]


def test_what_appears_meanwhile_is_kept_and_so_is_ours(tmp_path, caplog):
    partial = open_partial(tmp_path / "talk.mp4", overwrite=False)
    partial.path.write_text("ours")
    (tmp_path / "talk.mp4").write_text("theirs")
    with caplog.at_level(logging.WARNING):
        assert partial.move_into_place() == tmp_path / "talk-2.mp4"
    assert (tmp_path / "talk.mp4").read_text() == "theirs"
    assert (tmp_path / "talk-2.mp4").read_text() == "ours"
    assert "talk-2.mp4" in caplog.text


def test_what_a_link_stands_for_is_replaced_and_not_the_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.csv").write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "disk" / "real.csv")
    write_whole(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real.csv").read_text() == "new"


def test_a_link_to_a_disk_that_is_not_there_is_no_place_to_write_to(tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "disk" / "real.csv")
    with pytest.raises(SinkError, match="there is no folder"):
        open_partial(link, overwrite=False)
    assert link.is_symlink()


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device")
def test_a_device_is_not_replaced():
    with pytest.raises(SinkError, match="/dev/null is not a regular file"):
        open_partial(Path("/dev/null"), overwrite=True)
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may look everywhere")
def test_a_place_that_may_not_be_looked_into_is_one_message(tmp_path):
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(SinkError, match="cannot write"):
        open_partial(tmp_path / "secret" / "x.csv", overwrite=False)
    clear_leftovers([tmp_path / "secret" / "x.csv"], keep=False)


def test_a_name_that_is_too_long_is_one_message(tmp_path):
    with pytest.raises(SinkError, match="cannot write"):
        open_partial(tmp_path / ("é" * 130 + ".csv"), overwrite=False)


def test_leftovers_of_a_killed_run_are_not_written_over(tmp_path):
    first = open_partial(tmp_path / "talk.mp4", overwrite=False)
    second = open_partial(tmp_path / "talk.mp4", overwrite=False)
    assert first.path != second.path


def test_what_nobody_writes_any_more_is_cleared_away_by_the_next_run_into_the_same_file(tmp_path, caplog):
    left = ["talk.partial-1.mp4", "talk.partial-1-2.mp4", f"talk.partial-{os.getpid()}.mp4"]  # always 1 in containers
    others = ["talk.partial-1.jsonl", "other.partial-1.mp4", "talk.partial-one.mp4", "talk.mp4"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        clear_leftovers([tmp_path / "talk.mp4", tmp_path / "nowhere" / "talk.mp4"], keep=False)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    assert [name for name in left if name not in caplog.text] == []


WRITER = """
import sys, os
from pathlib import Path
from tracker.support.atomic import open_partial
os.getpid = lambda: 1
partial = open_partial(Path(sys.argv[1]), overwrite=False)
print(partial.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def written_elsewhere(tmp_path):
    """The partial file of a process that still writes it, under a number that means another process here."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "talk.mp4")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Path(process.stdout.readline().strip())
        process.kill()


def test_what_another_container_still_writes_is_left_alone(written_elsewhere, tmp_path, caplog):
    assert written_elsewhere.name == "talk.partial-1.mp4"
    clear_leftovers([tmp_path / "talk.mp4"], keep=False)
    clear_leftovers([tmp_path / "talk.mp4"], keep=True)
    assert written_elsewhere.exists()
    assert caplog.text == ""


@pytest.mark.skipif(sys.platform != "linux", reason="patches Linux' locks")
def test_nothing_is_deleted_where_the_file_system_has_no_locks(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    partial = open_partial(tmp_path / "talk.mp4", overwrite=False)
    clear_leftovers([tmp_path / "talk.mp4"], keep=False)
    assert partial.path.exists()
    assert "delete it if no program is writing it" in caplog.text
    partial.move_into_place()
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]


def test_a_locked_file_can_be_written_and_read_by_others(tmp_path):
    partial = open_partial(tmp_path / "talk.mp4", overwrite=False)
    partial.path.write_bytes(b"film")
    assert partial.path.read_bytes() == b"film"


def test_a_recording_that_cannot_be_made_again_is_kept_and_named(tmp_path, dead, caplog):
    (tmp_path / f"talk.partial-{dead}.mp4").touch()
    clear_leftovers([tmp_path / "talk.mp4"], keep=True)
    (left,) = tmp_path.iterdir()
    assert f"{left} is the recording of a killed run" in caplog.text


def begin_two(folder):
    """Two files begun and written, of which one is whole."""
    film, record = (open_partial(folder / name, overwrite=False) for name in ("talk.mp4", "talk.jsonl"))
    record.path.write_text("record")
    record.deliver()
    return film, record


def names(folder):
    return {path.name.replace(str(os.getpid()), "PID") for path in folder.iterdir()}


def test_files_get_their_names_together_at_the_end(tmp_path):
    with all_or_none():
        film, _ = begin_two(tmp_path)
        film.deliver()
        assert names(tmp_path) == {"talk.partial-PID.mp4", "talk.partial-PID.jsonl"}
    assert names(tmp_path) == {"talk.mp4", "talk.jsonl"}


def finish_two(folder, end):
    """Write two files in a run that ends by raising `end`, when one of them is whole."""
    with all_or_none():
        begin_two(folder)
        raise end


@pytest.mark.parametrize("failure", [SinkError("disk full"), SourceError("gone"), ZeroDivisionError()])
def test_no_file_gets_its_name_when_the_run_failed_and_whole_ones_are_named(failure, tmp_path, caplog):
    with pytest.raises(type(failure)):
        finish_two(tmp_path, failure)
    assert names(tmp_path) == {"talk.partial-PID.mp4", "talk.partial-PID.jsonl"}
    assert f"there is no new {tmp_path / 'talk.jsonl'}" in caplog.text
    clear_leftovers([tmp_path / "talk.mp4", tmp_path / "talk.jsonl"], keep=False)  # nobody holds them
    assert names(tmp_path) == set()


@pytest.mark.parametrize("end", [Stopped(2), PipeClosed()])
def test_a_run_that_was_stopped_delivers_what_it_has(end, tmp_path):
    with pytest.raises(type(end)):
        finish_two(tmp_path, end)
    assert names(tmp_path) == {"talk.partial-PID.mp4", "talk.jsonl"}


def test_a_failed_run_leaves_no_file_without_a_frame(tmp_path, caplog):
    with contextlib.suppress(SourceError), all_or_none():
        open_partial(tmp_path / "talk.jsonl", overwrite=False).deliver(has_frames=False)
        raise SourceError("no frame")
    assert (names(tmp_path), caplog.text) == (set(), "")


def test_one_file_that_cannot_be_moved_does_not_keep_the_others_from_their_names(tmp_path):
    run = all_or_none()
    run.__enter__()
    film, _ = begin_two(tmp_path)
    film.deliver()
    film.path.unlink()
    with pytest.raises(SinkError, match=r"talk\.mp4.* is gone"):
        run.__exit__(None, None, None)
    assert names(tmp_path) == {"talk.jsonl"}


def test_pictures_do_not_wait_for_the_end_of_the_run(tmp_path):
    with all_or_none():
        write_whole(tmp_path / "a.png", b"picture", overwrite=False)
        assert names(tmp_path) == {"a.png"}


def test_a_scanner_that_holds_a_finished_file_for_a_moment_does_no_harm(tmp_path, monkeypatch):
    original, refusals = Path.replace, [PermissionError(), PermissionError()]

    def busy(self, target):
        if refusals:
            raise refusals.pop()
        return original(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    write_whole(tmp_path / "a.png", b"picture", overwrite=False)
    assert (tmp_path / "a.png").read_bytes() == b"picture"
    assert refusals == []


def test_what_a_writer_fails_to_write_leaves_nothing(tmp_path):
    def full(path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SinkError, match=r"cannot write .*: No space left on device"):
        write_whole(tmp_path / "a.safetensors", full, overwrite=True)
    assert names(tmp_path) == set()


def test_an_existing_file_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "talk.mp4").write_text("precious")
    with pytest.raises(SinkError, match="exists already; add --overwrite to replace it"):
        open_partial(tmp_path / "talk.mp4", overwrite=False)
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(SinkError, match="is a folder"):
        open_partial(tmp_path, overwrite=True)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SinkError, match=r"there is no folder .*nowhere; create it"):
        open_partial(tmp_path / "nowhere" / "talk.mp4", overwrite=False)


def test_a_folder_that_may_not_be_written_to_is_refused_at_once(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("needs a user whom permissions bind")
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="choose a place you may write to"):
        open_partial(tmp_path / "talk.mp4", overwrite=False)


def test_a_file_in_place_of_a_folder_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        open_partial(tmp_path / "file" / "talk.mp4", overwrite=False)


def test_small_files_appear_whole(tmp_path):
    write_whole(tmp_path / "a.png", b"content", overwrite=False)
    assert (tmp_path / "a.png").read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_free_name_counts_up(tmp_path):
    for name in ("a.png", "a-2.png"):
        (tmp_path / name).touch()
    assert free_name(tmp_path / "a.png") == tmp_path / "a-3.png"
    assert free_name(tmp_path / "b.png") == tmp_path / "b.png"
