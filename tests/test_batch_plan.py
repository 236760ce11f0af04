"""What a batch finds, and where it puts things: names alone, no film is opened."""

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.app.progress import Tally
from tracker.batch.plan import Tree, find, holds_films, is_batch, plan, tree_of
from tracker.batch.storage import place
from tracker.batch.work import perform
from tracker.errors import FkpError, SinkError, SourceError
from tracker.options import Options
from tracker.sinks.film import FORMATS
from tracker.sinks.keypoints.registry import RECORDS


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five films in a tree."""
    return lay(tmp_path / "films", "a.mp4", "b.AVI", "p1/a.mp4", "p1/late/c.mkv", "p2/a.mov")


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def planned(films: Path, *, out: str | None = None, keypoints: str | None = None) -> dict[str, list[str]]:
    """Source -> outputs, below the films' and the outputs' parent."""
    here = films.parent
    trees = [] if out is None else [tree_of("out", here / out, FORMATS)]
    trees += [] if keypoints is None else [tree_of("keypoints", here / keypoints, RECORDS)]
    return {
        task.source.relative_to(films).as_posix(): [
            output.path.relative_to(here.resolve()).as_posix() for output in task.outputs
        ]
        for task in plan([films], trees)
    }


def names(*sources: Path, outputs: set[Path] = frozenset()) -> list[str]:
    return [name for _, name in find(sources, outputs=outputs)]


def test_the_outputs_mirror_the_tree_of_the_films(films: Path) -> None:
    assert planned(films, out="annotated", keypoints="points") == {
        "a.mp4": ["annotated/a.mp4", "points/a.jsonl"],
        "b.AVI": ["annotated/b.mp4", "points/b.jsonl"],
        "p1/a.mp4": ["annotated/p1/a.mp4", "points/p1/a.jsonl"],
        "p1/late/c.mkv": ["annotated/p1/late/c.mkv", "points/p1/late/c.jsonl"],
        "p2/a.mov": ["annotated/p2/a.mov", "points/p2/a.jsonl"],
    }


@pytest.mark.parametrize(
    ("option", "name", "made"),
    [
        ("keypoints", "points/{}.csv", "points/p1/late/c.csv"),
        ("keypoints", "points/{}/face.jsonl", "points/p1/late/c/face.jsonl"),
        ("out", "annotated/{}-tracked.mp4", "annotated/p1/late/c-tracked.mp4"),
    ],
)
def test_braces_stand_for_the_place_and_name_of_the_film(films: Path, option: str, name: str, made: str) -> None:
    assert planned(films, **{option: name})["p1/late/c.mkv"] == [made]


def test_hidden_and_unfinished_files_are_no_films(films: Path) -> None:
    lay(films, "._a.mp4", ".trash/d.mp4", "d.partial-4711.mp4", "d.partial-4711-2.mp4", "notes.txt", "cover.jpg")
    assert names(films) == ["a.mp4", "b.AVI", "p1/a.mp4", "p1/late/c.mkv", "p2/a.mov"]


def test_annotated_films_inside_the_tree_are_not_taken_for_films_to_track(films: Path) -> None:
    lay(films, "annotated/a.mp4")
    assert "annotated/a.mp4" not in names(films, outputs={films / "annotated"})
    assert "annotated/a.mp4" not in names(films / "**" / "*.mp4", outputs={films / "annotated"})


@pytest.mark.parametrize("source", [".", "*.mp4"])
def test_annotated_films_among_the_films_are_refused(films: Path, source: str) -> None:
    with pytest.raises(SinkError, match="would track the annotated films in"):
        plan([films / source], [tree_of("out", films, FORMATS)])


def test_outputs_above_the_films_hide_none(films: Path) -> None:
    assert names(films / "*.mp4", outputs={films.parent}) == ["a.mp4"]


def test_a_pattern_keeps_the_folders_from_its_first_wildcard_on(films: Path) -> None:
    assert names(films / "p*" / "*") == ["p1/a.mp4", "p2/a.mov"]
    assert names(films / "**" / "c.*") == ["p1/late/c.mkv"]


def test_a_pattern_that_spells_out_an_ending_means_it(films: Path) -> None:
    lay(films, "cam/1.dav", "cam/2.dav", "cam/notes.txt")
    assert names(films / "cam" / "*.dav") == ["1.dav", "2.dav"]
    with pytest.raises(SourceError, match="matches no film"):
        names(films / "cam" / "*")


def test_a_file_named_like_a_pattern_is_that_file(films: Path) -> None:
    lay(films, "talk [1].mp4")
    assert names(films / "talk [1].mp4") == ["talk [1].mp4"]


def test_a_film_named_twice_is_tracked_once(films: Path) -> None:
    assert names(films / "p1" / "a.mp4", films / "p1") == ["a.mp4", "late/c.mkv"]


def test_a_folder_of_pictures_beside_films_is_one_task_with_a_folder_for_its_pictures(films: Path) -> None:
    photos = lay(films.parent / "photos.v2", "1.png", "2.png")
    trees = [tree_of("out", films.parent / "tracked", FORMATS), tree_of("keypoints", films.parent / "tracked", RECORDS)]
    *_, task = plan([films, photos], trees)
    assert (task.source, task.name) == (photos, "photos.v2")
    assert [output.name for output in task.outputs] == ["photos.v2", "photos.v2.jsonl"]


def test_films_called_alike_keep_their_suffix_in_the_names_of_their_outputs(films: Path) -> None:
    lay(films, "p1/a.mov", "B.mp4")
    made = planned(films, keypoints="points", out="annotated")
    assert made["b.AVI"] == ["annotated/b.AVI.mp4", "points/b.AVI.jsonl"]
    assert made["B.mp4"] == ["annotated/B.mp4.mp4", "points/B.mp4.jsonl"]
    assert made["p1/a.mov"] == ["annotated/p1/a.mov", "points/p1/a.mov.jsonl"]
    assert made["p2/a.mov"] == ["annotated/p2/a.mov", "points/p2/a.jsonl"]


def test_two_films_with_one_output_are_refused_in_one_message(films: Path) -> None:
    with pytest.raises(
        SinkError, match=r"2 outputs would have the name of another, .*a\.mp4\.jsonl from .*a\.mp4 and .*p1/a\.mp4"
    ):
        plan([films / "a.mp4", films / "p1" / "a.mp4"], [tree_of("keypoints", films.parent / "points", RECORDS)])


@pytest.mark.parametrize("suffix", [".m2t", ".MOD", ".tod", ".264", ".hevc", ".qt", ".insv", ".LRV"])
def test_what_cameras_and_editors_call_films_are_films(tmp_path: Path, suffix: str) -> None:
    assert names(lay(tmp_path, f"a{suffix}", f"@eaDir/a{suffix}/SYNOVIDEO{suffix}")) == [f"a{suffix}"]


def test_keypoints_in_a_folder_have_the_format_asked_for(films: Path) -> None:
    tree = tree_of("keypoints", films.parent / "points", RECORDS, format="openface")
    (task,) = plan([films / "a.mp4"], [tree])
    assert [output.path.name for output in task.outputs] == ["a.openface.csv"]


def test_a_film_is_never_an_output(films: Path) -> None:
    lay(films, "p1/a.tracked.mp4")
    with pytest.raises(SinkError, match=r"a\.tracked\.mp4, the output for .*, would replace a film"):
        plan([films / "p1" / "a.mp4", films / "p1" / "a.tracked.mp4"], [Tree("out", films / "p1", "{}.tracked.mp4")])


@pytest.mark.parametrize(("scheme", "module", "extra"), [("https", "http", "http"), ("smb", "smb", "smb")])
def test_a_storage_whose_packages_are_missing_names_the_command_that_gets_them(
    scheme: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("upath")
    monkeypatch.setitem(sys.modules, f"fsspec.implementations.{module}", None)
    with pytest.raises(SourceError, match=rf'cannot be used: .*; pip install "fsspec\[{extra}\]"'):
        place(f"{scheme}://host/talk.mp4")


@pytest.mark.parametrize("name", ["points.csv", "points/{}.txt", "points/{}/{}.csv"])
def test_an_output_that_is_no_folder_of_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match=r"\{\}"):
        tree_of("keypoints", tmp_path / name, RECORDS)


@pytest.mark.parametrize(
    ("name", "says"), [("nowhere", "does not exist"), ("empty", "contains neither films nor pictures")]
)
def test_a_source_without_a_film_is_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FkpError, match=f"{name} {says}"):
        names(tmp_path / name)


@pytest.mark.parametrize("lies_there", [(), ("notes.txt",), ("walk.gif", "b/song.mp3")])
def test_a_folder_with_nothing_to_track_is_said_to_be_one_before_its_outputs_are(
    tmp_path: Path, lies_there: tuple[str, ...]
) -> None:
    (tmp_path / "a").mkdir()
    lay(tmp_path / "a", *lies_there)
    with pytest.raises(SourceError, match=r"a contains neither films nor pictures; .* or name the files"):
        is_batch([tmp_path / "a"], Options(keypoints=(Path("points"),)))


def test_a_folder_that_links_to_itself_ends(films: Path) -> None:
    (films / "p1" / "again").symlink_to(films, target_is_directory=True)
    assert len(names(films)) == 5


@pytest.fixture
def locked(films: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder among the films that may not be listed, not even by root."""
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path == films / "p1":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    return films / "p1"


def test_a_folder_that_cannot_be_listed_is_a_failure_of_its_own(films: Path, locked: Path) -> None:
    assert names(films) == ["a.mp4", "b.AVI", "p1", "p2/a.mov"]
    with pytest.raises(SourceError, match="cannot be listed: Permission denied"):
        names(locked)
    (task,) = (
        task for task in plan([films], [tree_of("keypoints", films.parent / "points", RECORDS)]) if task.name == "p1"
    )
    outcome = perform(task, Options(), Tally())
    assert outcome.failure == f"{locked} cannot be listed: Permission denied; check its permissions"
    assert outcome.code == SourceError.exit_code


def test_beside_pictures_a_folder_that_cannot_be_listed_is_left_out(films: Path, locked: Path) -> None:
    for film in ("a.mp4", "b.AVI", "p2/a.mov"):
        (films / film).unlink()
    with pytest.raises(SourceError, match=r"as far as can be seen: .*p1 cannot be listed"):
        names(films)
    lay(films, "a.png")
    assert not holds_films(films)
    assert names(films) == ["films"]
