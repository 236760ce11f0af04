"""What is kept is used only where it fits, and nothing that goes wrong with it stops the program."""

import json
import logging
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from tracker.backends.tensorrt.cache import Cache, cached_in, fetched

FACTS = {"network": "abc", "driver": "580"}
CONTENT = b"engine\nwith a line break"


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    """Holds one thing."""
    store = Cache(tmp_path / "compiled")
    store.write("one", FACTS, CONTENT)
    return store


def file_of(store: Cache) -> Path:
    (path,) = store.folder.glob("*.compiled")
    return path


def test_what_was_kept_is_there_again(store: Cache) -> None:
    assert store.read("one", FACTS) == CONTENT
    assert store.read("two", FACTS) is None
    assert fetched(store, "one", FACTS, lambda: pytest.fail("made again"), bytes) == CONTENT


def test_what_is_not_there_is_made_and_kept(tmp_path: Path) -> None:
    store = Cache(tmp_path / "not yet" / "there")
    assert fetched(store, "one", FACTS, lambda: CONTENT, bytes.decode) == CONTENT.decode()
    assert store.read("one", FACTS) == CONTENT


def test_a_store_that_forgets_makes_it_every_time() -> None:
    made = []
    for _ in range(2):
        fetched(Cache(None), "one", FACTS, lambda: made.append(1) or CONTENT, bytes)
    assert len(made) == 2


def test_other_facts_make_it_stale_and_the_log_names_them(store: Cache, caplog: pytest.LogCaptureFixture) -> None:
    assert store.read("one", FACTS | {"driver": "590"}) is None
    assert "is stale: driver was 580, is 590; compiling it again" in caplog.text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-1], "is damaged"),
        (lambda whole: whole[:-1] + b"?", "is damaged"),
        (lambda _: b"", "is not ours"),
        (lambda _: b"ftrt\x00\x00 some engine of another program", "is not ours"),
        (lambda _: b"[1, 2]\n", "is not ours"),
        (lambda whole: whole.replace(b"fkp-compiled 1", b"fkp-compiled 0"), "belongs to another version of fkp"),
        (lambda whole: json.dumps({"magic": "fkp-compiled 1"}).encode() + whole, "is not ours"),
    ],
    ids=["cut short", "changed", "empty", "foreign", "other json", "old", "without facts"],
)
def test_what_is_not_whole_or_not_ours_is_made_again(
    store: Cache, caplog: pytest.LogCaptureFixture, damage: object, said: str
) -> None:
    path = file_of(store)
    path.write_bytes(damage(path.read_bytes()))
    ((_, told),) = cached_in(store.folder)
    assert told == f"{said}; it will be made again"
    assert fetched(store, "one", FACTS, lambda: b"new", bytes) == b"new"
    assert f"{path} {said}; compiling it again" in caplog.text
    assert store.read("one", FACTS) == b"new"


def test_what_is_refused_when_new_is_not_kept(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    assert fetched(store, "one", FACTS, lambda: CONTENT, lambda _: None) is None
    assert list(tmp_path.glob("*.compiled")) == []


def test_where_nothing_can_be_kept_the_program_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "compiled").write_text("a file where the folder should be")
    assert fetched(Cache(tmp_path / "compiled"), "one", FACTS, lambda: CONTENT, bytes) == CONTENT
    assert "cannot be cached" in caplog.text


def test_what_is_kept_is_listed_with_its_facts(store: Cache, tmp_path: Path) -> None:
    assert [(path.name, told) for path, told in cached_in(store.folder)] == [
        ("one.compiled", "0.0 MB, network abc, driver 580")
    ]
    assert list(cached_in(tmp_path / "nothing")) == []


def _write_often(folder: Path, letter: bytes) -> None:
    for _ in range(50):
        Cache(folder).write("one", FACTS, letter * 200_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses to replace a file that is being read")
def test_two_processes_may_write_while_a_third_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writers = [get_context("spawn").Process(target=_write_often, args=(tmp_path, letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = Cache(tmp_path).read("one", FACTS)
        if content is not None:
            assert len(content) == 200_000
            seen |= set(content)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen <= set(b"ab")
    assert caplog.records == []
    assert [path.name for path in tmp_path.iterdir()] == ["one.compiled"]


def _make_slowly(folder: Path) -> None:
    def make() -> bytes:
        with (folder / "made").open("a") as made:
            made.write("x")
        time.sleep(0.5)
        return CONTENT

    assert fetched(Cache(folder), "one", FACTS, make, bytes) == CONTENT


@pytest.mark.slow
def test_of_three_processes_that_want_the_same_one_makes_it(tmp_path: Path) -> None:
    makers = [get_context("spawn").Process(target=_make_slowly, args=(tmp_path,)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"


def test_nothing_is_said_of_what_fits(store: Cache, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        store.read("one", FACTS)
    assert caplog.records == []
