"""Files that bear their name only once they are whole, and never take another's."""

import logging
import os
from pathlib import Path

import pytest

from tracker.errors import SinkError
from tracker.support.atomic import clear_leftovers, free_name, open_partial, write_whole


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
    with pytest.raises(SinkError, match="/dev/null is no file"):
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
        open_partial(tmp_path / ("é" * 120 + ".csv"), overwrite=False)


def test_leftovers_of_a_killed_run_are_not_written_over(tmp_path):
    first = open_partial(tmp_path / "talk.mp4", overwrite=False)
    second = open_partial(tmp_path / "talk.mp4", overwrite=False)
    assert first.path != second.path


def test_what_a_killed_run_left_is_cleared_away_by_the_next_one_into_the_same_file(tmp_path, dead, caplog):
    left = [f"talk.partial-{dead}.mp4", f"talk.partial-{dead}-2.mp4"]
    others = [
        f"talk.partial-{os.getppid()}.mp4",  # still being written
        f"talk.partial-{dead}.jsonl",
        f"other.partial-{dead}.mp4",
        "talk.partial-one.mp4",
        "talk.mp4",
    ]
    for name in (*left, *others):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        clear_leftovers([tmp_path / "talk.mp4", tmp_path / "nowhere" / "talk.mp4"], keep=False)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    assert [name for name in left if name not in caplog.text] == []


def test_a_recording_that_cannot_be_made_again_is_kept_and_named(tmp_path, dead, caplog):
    (tmp_path / f"talk.partial-{dead}.mp4").touch()
    clear_leftovers([tmp_path / "talk.mp4"], keep=True)
    (left,) = tmp_path.iterdir()
    assert f"{left} is what a run recorded before it was killed" in caplog.text


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
