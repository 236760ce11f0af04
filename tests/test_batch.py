"""Many films in one go, from outside: what is made, skipped, taken up again, refused, and how failures are told."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import programs
import pytest
from programs import FKP_TRACK, no_file_longer_than, wait_until

from tracker.app.progress import Tally
from tracker.app.run import run
from tracker.batch import work
from tracker.batch.ledger import NAME, open_ledger
from tracker.batch.plan import Output, Task
from tracker.batch.processes import _hear, in_processes
from tracker.batch.report import Report
from tracker.batch.work import STAGING, Outcome, facts_of, perform
from tracker.errors import SinkError
from tracker.options import Options

FRAMES = 25
"""Of `film`."""


def lay(folder: Path, film: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, folder / name)


as_it_is = partial(programs.fkp_track, timeout=240)
"""The program, whose workers start Python anew; the others below fork."""
FORK = "import multiprocessing as mp; mp.get_context = lambda _, usual=mp.get_context: usual('fork')"
fkp_track = partial(programs.run_code, f"{FORK}; {programs.TRACK}", "fkp-track", timeout=240)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def stamps(folder: Path) -> dict[str, int]:
    """When each output was written."""
    return {name: (folder / name).stat().st_mtime_ns for name in tree(folder) if name != NAME}


def record(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.slow
def test_a_folder_of_films_becomes_trees_of_outputs_and_one_corrupt_film_costs_the_others_nothing(
    film: Path, tmp_path: Path
) -> None:
    lay(tmp_path / "films", film, "a.mp4", "p1/b.mp4")
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no film" * 100)
    batch = ("films", "--out", "annotated", "--keypoints", "points", "--jobs", "2")

    done = as_it_is(*batch, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert tree(tmp_path / "annotated") == ["a.mp4", NAME, "p1/b.mp4"]
    assert tree(tmp_path / "points") == ["a.jsonl", NAME, "p1/b.jsonl"]
    assert lines_of(tmp_path / "points" / "p1" / "b.jsonl") == 1 + FRAMES
    with av.open(str(tmp_path / "annotated" / "p1" / "b.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert "3 films: 2 tracked, 1 failed" in done.stderr
    assert "failed: bad.mp4: films/bad.mp4 cannot be read as a film" in done.stderr
    entries = {entry["film"]: entry for entry in record(tmp_path / "points")}
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "a.mp4": "done",
        "p1/b.mp4": "done",
        "bad.mp4": "failed",
    }
    assert (entries["bad.mp4"]["code"], entries["a.mp4"]["frames"]) == (3, FRAMES)

    before = stamps(tmp_path / "points")
    shutil.copy(film, tmp_path / "films" / "bad.mp4")
    again = as_it_is(*batch, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "3 films: 1 tracked, 2 done before" in again.stderr
    assert stamps(tmp_path / "points").items() > before.items()

    nothing_to_do = as_it_is(*batch, cwd=tmp_path)
    assert nothing_to_do.returncode == 0, nothing_to_do.stderr
    assert "3 films: 3 done before" in nothing_to_do.stderr
    assert record(tmp_path / "points")[-1]["film"] == "bad.mp4"


@pytest.mark.slow
def test_only_what_is_missing_is_made(film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", film, "a.mp4", "b.mp4")
    assert fkp_track("films", "--keypoints", "points", cwd=tmp_path).returncode == 0
    before = stamps(tmp_path / "points")
    (tmp_path / "points" / "b.jsonl").unlink()
    assert fkp_track("films", "--keypoints", "points", "--keypoints", "tables/{}.csv", cwd=tmp_path).returncode == 0
    after = stamps(tmp_path / "points")
    assert after.keys() == before.keys()
    assert after["a.jsonl"] == before["a.jsonl"]
    assert tree(tmp_path / "tables") == ["a.csv", "b.csv", NAME]


@pytest.mark.slow
def test_other_settings_replace_what_was_made_only_when_asked(film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", film, "a.mp4")
    assert fkp_track("films", "--keypoints", "points", cwd=tmp_path).returncode == 0
    before = stamps(tmp_path / "points")
    refused = fkp_track("films", "--keypoints", "points", "--smooth", "off", cwd=tmp_path)
    assert refused.returncode == 6
    (message,) = refused.stderr.splitlines()
    assert "a.jsonl was made with other settings" in message
    assert "--overwrite" in message
    assert stamps(tmp_path / "points") == before
    assert fkp_track("films", "--keypoints", "points", "--smooth", "off", "--overwrite", cwd=tmp_path).returncode == 0
    assert stamps(tmp_path / "points") != before
    assert "1 done before" in fkp_track("films", "--keypoints", "points", "--smooth", "off", cwd=tmp_path).stderr


@pytest.mark.slow
def test_an_old_file_that_could_not_be_replaced_is_not_taken_for_the_new_one(film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", film, "a.mp4")
    lay(tmp_path / "points" / "a.jsonl", film, "in_the_way")  # a folder, whose name no file can take
    failed = fkp_track("films", "--keypoints", "points", "--overwrite", cwd=tmp_path)
    assert failed.returncode == 1, failed.stderr
    assert "points/a.jsonl its name" in failed.stderr
    assert [entry["status"] for entry in record(tmp_path / "points")] == ["replacing", "failed"]
    refused = fkp_track("films", "--keypoints", "points", cwd=tmp_path)
    assert refused.returncode == 6, refused.stderr
    assert "a.jsonl was being replaced when the batch failed or stopped" in refused.stderr
    shutil.rmtree(tmp_path / "points" / "a.jsonl")
    assert "1 tracked" in fkp_track("films", "--keypoints", "points", cwd=tmp_path).stderr


def test_a_replacement_is_done_when_the_record_says_so_after_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    entry = {"outputs": ["a.jsonl"], "size": 1}
    with open_ledger(tmp_path) as ledger:
        ledger.write(entry | {"status": "replacing"})
    with open_ledger(tmp_path) as ledger:
        assert ledger.state("a.jsonl", {"size": 1}) == "interrupted"
        ledger.write(entry | {"status": "done"})
        assert ledger.state("a.jsonl", {"size": 1}) == "done"


def test_the_record_is_of_the_film_that_was_read_not_of_the_one_that_was_planned(film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", film, "a.mp4")
    task = Task(tmp_path / "films" / "a.mp4", "a.mp4", (Output("keypoints", tmp_path / "points", "a.jsonl"),))
    planned = facts_of(task.source)
    with task.source.open("ab") as file:
        file.write(bytes(100))
    outcome = perform(task, Options(backend="cpu"), Tally())
    assert outcome.failure is None
    assert outcome.read == facts_of(task.source) != planned


def test_a_film_that_grows_while_it_is_read_is_not_done(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "films", film, "a.mp4")
    task = Task(tmp_path / "films" / "a.mp4", "a.mp4", (Output("keypoints", tmp_path / "points", "a.jsonl"),))

    def growing(options: Options, tally: Tally, *, bar: bool) -> None:
        run(options, tally, bar=bar)
        with task.source.open("ab") as file:
            file.write(bytes(100))

    monkeypatch.setattr(work, "run", growing)
    outcome = perform(task, Options(backend="cpu"), Tally())
    assert outcome.failure is not None
    assert "a.mp4 changed while it was read" in outcome.failure
    assert not list((tmp_path / "points").rglob("*.jsonl"))


def test_the_end_of_a_batch_names_films_in_which_nobody_was_seen(caplog: pytest.LogCaptureFixture) -> None:
    report = Report(2, 0)
    for name, faces in (("a.mp4", 1), ("empty.mp4", 0)):
        report.ended(Task(Path(name), name, ()), Outcome(frames=5, faces=faces))
    report.close("fkp-batch.ndjson")
    assert "no face in empty.mp4" in caplog.text


@pytest.mark.slow
def test_a_link_to_nothing_is_one_film_that_failed_and_what_was_made_of_it_before_stays(
    film: Path, tmp_path: Path
) -> None:
    lay(tmp_path / "films", film, "a.mp4")
    (tmp_path / "films" / "b.mp4").symlink_to("annex")
    done = fkp_track("films", "--keypoints", "points", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "2 films: 1 tracked, 1 failed" in done.stderr
    assert "failed: b.mp4: films/b.mp4 is a link to annex, which does not exist" in done.stderr
    (tmp_path / "films" / "a.mp4").unlink()
    (tmp_path / "films" / "a.mp4").symlink_to("annex of a")
    again = fkp_track("films", "--keypoints", "points", cwd=tmp_path)
    assert "2 films: 1 done before, 1 failed" in again.stderr


@pytest.mark.slow
def test_files_that_are_no_pictures_do_not_change_a_folder_of_pictures(
    film: Path, portrait: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "face.png"), portrait)
    (tmp_path / "photos" / ".#face.png").symlink_to("user@host.4711:1")
    lay(tmp_path, film, "a.mp4")
    done = fkp_track("photos", "a.mp4", "--keypoints", "points", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "photos" / ".DS_Store").write_bytes(b"icons")
    again = fkp_track("photos", "a.mp4", "--keypoints", "points", cwd=tmp_path)
    assert "2 films: 2 done before" in again.stderr


def made_of_what_the_film_was_before(points: Path) -> None:
    entry = {"status": "done", "outputs": ["a.jsonl"], "size": 1, "modified": 0.0, "settings": {}}
    (points / NAME).write_text(json.dumps(entry) + "\n")


def made_by_nobody_we_know(points: Path) -> None:
    (points / NAME).touch()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (made_of_what_the_film_was_before, "a film that has changed since"),
        (made_by_nobody_we_know, "does not come from a batch"),
    ],
)
def test_an_output_that_is_not_this_films_stops_the_batch_before_it_begins(
    make: Callable[[Path], None], says: str, film: Path, tmp_path: Path
) -> None:
    lay(tmp_path / "films", film, "a.mp4", "b.mp4")
    lay(tmp_path / "points", film, "a.jsonl")
    make(tmp_path / "points")
    before = (tmp_path / "points" / "a.jsonl").read_bytes()
    refused = fkp_track("films", "--keypoints", "points", cwd=tmp_path)
    assert refused.returncode == 6
    assert says in refused.stderr
    assert tree(tmp_path / "points") == ["a.jsonl", NAME]
    assert (tmp_path / "points" / "a.jsonl").read_bytes() == before


@pytest.mark.slow
def test_several_sources_may_be_films_patterns_and_folders_of_pictures(
    film: Path, portrait: np.ndarray, tmp_path: Path
) -> None:
    lay(tmp_path, film, "one.mp4", "more/x/two.mp4")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "face.png"), portrait)
    done = fkp_track("one.mp4", "more/*/*.mp4", "photos", "--out", "o", "--keypoints", "o/{}.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = ["one.csv", "one.mp4", "photos.csv", "photos/face.png", "x/two.csv", "x/two.mp4"]
    assert tree(tmp_path / "o") == sorted([NAME, *made])


@pytest.mark.slow
def test_films_and_outputs_may_be_urls(film: Path, tmp_path: Path) -> None:
    pytest.importorskip("upath")
    lay(tmp_path / "films", film, "p/a.mp4", "p/b.mp4")
    (tmp_path / "films" / "p" / "c.mp4").write_bytes(b"no film" * 100)
    films, made = (tmp_path / "films").as_uri(), (tmp_path / "made").as_uri()
    batch = (f"{films}/*/*.mp4", "--out", f"{made}/films", "--keypoints", f"{made}/points/{{}}.csv")
    done = fkp_track(*batch, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"{films}/p/c.mp4 cannot be read as a film" in done.stderr
    assert tree(tmp_path / "made" / "points") == [NAME, "p/a.csv", "p/b.csv"]
    assert tree(tmp_path / "made" / "films") == [NAME, "p/a.mp4", "p/b.mp4"]
    (tmp_path / "films" / "p" / "c.mp4").unlink()
    assert "2 films: 2 done before" in fkp_track(*batch, cwd=tmp_path).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words"), [("upath", ["s3://films/a.mp4"]), ("ray", ["films", "--ray", "127.0.0.1:6379"])]
)
def test_urls_and_clusters_name_the_extra_that_they_need(
    module: str, words: list[str], film: Path, tmp_path: Path
) -> None:
    lay(tmp_path, film, "films/a.mp4")
    code = f"import sys; sys.modules[{module!r}] = None; {programs.TRACK}"
    done = programs.run_code(code, "fkp-track", *words, "--keypoints", "points", cwd=tmp_path)
    assert done.returncode in (3, 5)
    assert 'pip install "fkp[ray]"' in done.stderr.splitlines()[-1] + done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_film_into_a_folder_is_a_batch_of_one(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "--keypoints", "points", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "points") == ["face.jsonl", NAME]
    assert "tracker.app.run: " not in done.stderr


@pytest.mark.slow
def test_who_asks_for_more_hears_what_each_process_does(film: Path, tmp_path: Path) -> None:
    done = fkp_track(film, "--keypoints", "points", "--verbose", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "face.mp4: tracker.app.run: backend onnxruntime" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--no-show"],
        ["--keypoints", "points", "--show"],
        ["--keypoints", "points", "--udp", "127.0.0.1:9000"],
        ["--keypoints", "points", "--demo"],
    ],
)
def test_a_batch_that_makes_no_sense_is_a_usage_error(film: Path, more: list[str], tmp_path: Path) -> None:
    lay(tmp_path, film, "films/a.mp4")
    done = fkp_track("films", *more, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert tree(tmp_path) == ["films/a.mp4"]


def test_a_second_batch_into_the_same_folder_waits_its_turn(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "points"), pytest.raises(SinkError, match="another batch"):
        open_ledger(tmp_path / "points")
    with open_ledger(tmp_path / "points"):
        pass


def test_a_record_torn_by_a_kill_costs_its_last_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    entry = {"status": "done", "outputs": ["a.jsonl"], "size": 1}
    (tmp_path / NAME).write_text(json.dumps(entry) + '\n{"status": "done", "outp')
    with open_ledger(tmp_path) as ledger:
        assert ledger.state("a.jsonl", {"size": 1}) == "done"
        ledger.write(entry | {"size": 2})
    with open_ledger(tmp_path) as ledger:
        assert ledger.state("a.jsonl", {"size": 1}) == "stale"
        assert ledger.state("a.jsonl", {"size": 2}) == "done"


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def started(here: Path) -> "subprocess.Popen[str]":
    """A batch of one short and two long films, one at a time, whose first film is done."""
    command = [*FKP_TRACK, "films", "--out", "annotated", "--keypoints", "points", "--jobs", "1"]
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    told = iter(process.stderr.readline, "")
    assert any("1 of 3" in line for line in told)
    wait_until(lambda: any((here / "points" / STAGING).rglob("*.partial*")))
    return process


def alive_in_session(session: int) -> list[int]:
    """The processes of a session."""
    alive = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, _, of = status.read_text().rpartition(")")[2].split()[:4]
            alive += [int(status.parent.name)] if of == str(session) and state != "Z" else []
    return alive


@posix
def test_a_line_that_the_disk_has_no_room_for_leaves_no_part_of_itself(tmp_path: Path) -> None:
    entry = {"status": "done", "outputs": ["a.jsonl"], "size": 1}
    with open_ledger(tmp_path) as ledger:
        ledger.write(entry)
        with no_file_longer_than(ledger.path.stat().st_size + 10), pytest.raises(SinkError, match="make room"):
            ledger.write(entry | {"size": 2})
        assert record(tmp_path) == [entry]
        ledger.write(entry | {"size": 3})
    assert [line["size"] for line in record(tmp_path)] == [1, 3]


@posix
def test_a_torn_record_on_a_full_disk_is_one_message(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"status": "done", "outp')
    with no_file_longer_than(len('{"status": "done", "outp')), pytest.raises(SinkError, match="make room"):
        open_ledger(tmp_path)


@posix
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_worked_on_with_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tracker.support.lock._lock", refuse)  # such a file system cannot be had in a test
    with open_ledger(tmp_path) as ledger:
        ledger.write({"status": "done", "outputs": ["a.jsonl"]})
    (warning,) = caplog.messages
    assert "make sure that no other batch writes to it" in warning


@pytest.mark.slow
@posix
def test_a_killed_batch_leaves_no_process_and_goes_on_where_it_was(film: Path, long_film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", film, "1.mp4")
    lay(tmp_path / "films", long_film, "2.mp4", "3.mp4")
    process = started(tmp_path)
    process.kill()
    process.communicate()
    wait_until(lambda: alive_in_session(process.pid) == [])
    assert [name for name in tree(tmp_path / "points") if not name.startswith(STAGING)] == ["1.jsonl", NAME]

    before = stamps(tmp_path / "points")
    lay(tmp_path / "films", film, "2.mp4", "3.mp4")
    again = fkp_track("films", "--out", "annotated", "--keypoints", "points", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "3 films: 2 tracked, 1 done before" in again.stderr
    assert tree(tmp_path / "points") == ["1.jsonl", "2.jsonl", "3.jsonl", NAME]
    assert tree(tmp_path / "annotated") == ["1.mp4", "2.mp4", "3.mp4", NAME]
    assert stamps(tmp_path / "points")["1.jsonl"] == before["1.jsonl"]


@pytest.mark.slow
@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_batch_keeps_what_is_whole_and_nothing_else(
    number: signal.Signals, code: int, film: Path, long_film: Path, tmp_path: Path
) -> None:
    lay(tmp_path / "films", film, "1.mp4")
    lay(tmp_path / "films", long_film, "2.mp4", "3.mp4")
    process = started(tmp_path)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # as a terminal does
    _, told = process.communicate()
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert "3 films: 1 tracked, 2 left for the next time" in told
    wait_until(lambda: alive_in_session(process.pid) == [])
    assert tree(tmp_path / "points") == ["1.jsonl", NAME]
    assert tree(tmp_path / "annotated") == ["1.mp4", NAME]


@posix
def test_a_worker_that_dies_in_the_middle_of_a_word_is_a_film_that_failed() -> None:
    mine, theirs = multiprocessing.Pipe(duplex=False)
    os.write(theirs.fileno(), (100).to_bytes(4, "big") + b"only a part")
    theirs.close()
    dead: Any = SimpleNamespace(join=lambda: None, exitcode=-signal.SIGKILL)
    assert _hear(mine, dead).failure == "its process died (SIGKILL)"
    mine.close()


@pytest.mark.slow
@posix
def test_a_worker_that_dies_is_a_film_that_failed(film: Path, long_film: Path, tmp_path: Path) -> None:
    def task(source: Path, name: str) -> Task:
        return Task(source, source.name, (Output("keypoints", tmp_path, name),))

    def kill_the_first(_: int) -> None:
        if not killed:
            (worker,) = multiprocessing.active_children()
            killed.append(worker)
            worker.kill()

    killed: list[object] = []
    tasks = [task(long_film, "long.jsonl"), task(film, "short.jsonl")]
    first, second = in_processes(tasks, Options(), 1, kill_the_first)
    assert first[1].failure == "its process died (SIGKILL)"
    assert (second[1].failure, second[1].frames) == (None, FRAMES)


@pytest.mark.slow
@posix
def test_a_full_disk_ends_the_batch_and_not_only_the_film(film: Path, long_film: Path, tmp_path: Path) -> None:
    lay(tmp_path / "films", long_film, "1.mp4", "2.mp4")
    (tmp_path / "small").mkdir()
    script = 'mount -t tmpfs -o size=40k none small && exec "$@"'
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "-"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], cwd=tmp_path, check=False).returncode:
        pytest.skip("needs unshare and the right to mount")
    command = [*mount, *FKP_TRACK, "films", "--keypoints", "small", "--jobs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 6, done.stderr
    assert "2.mp4" not in done.stderr
    assert "small/1.jsonl: " in done.stderr.splitlines()[-1]
    assert "make room, then run the same command to continue" in done.stderr.splitlines()[-1]
