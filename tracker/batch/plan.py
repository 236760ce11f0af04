"""The work of a batch: the films in folders and patterns, and where their outputs go.

In: the user's sources.  Out: one `Task` per film, with outputs in trees like the films'.  The disk is only read.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from tracker.batch.storage import is_url
from tracker.errors import SinkError, SourceError
from tracker.options import Options
from tracker.sinks.film import FORMATS as FILM_FORMATS
from tracker.sinks.images import output_name
from tracker.sinks.keypoints.registry import FORMATS, FormatName
from tracker.sources.contract import existing
from tracker.sources.images import OTHERS, SUFFIXES, tell_left_out
from tracker.support.address import STDIN, StreamUrl, flows
from tracker.support.atomic import PARTIAL_STEM
from tracker.support.same_file import Sources, folded, real

FILMS = frozenset(
    {".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".insv"}
    | {".lrv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg"}
    | {".mpg", ".mts", ".mxf", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
"""Names that mean a film when a folder is searched, lower case; a file named by itself may be called anything."""

THUMBNAILS = "@eaDir"
"""A folder in which Synology's servers keep small pictures and films of all others."""

SLOT = "{}"
"""In an output's name, the placeholder for the film's path without its suffix."""

_WILD = re.compile(r"[*?\[]")


class Tree(NamedTuple):
    """One output option of a batch: a folder, and the names of the files in it."""

    option: Literal["out", "keypoints"]
    root: Path
    """Absolute."""
    pattern: str
    """With one `SLOT`; without a suffix if each film keeps its own."""


class Output(NamedTuple):
    """One file (of a folder of pictures also: one folder) that a task makes."""

    option: Literal["out", "keypoints"]
    root: Path
    name: str
    """Below `root`, with forward slashes."""

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def place(self) -> str:
        """Where it lies, for file systems that take some different names for the same one."""
        return folded(self.path)


@dataclass(frozen=True, slots=True)
class Task:
    """One film, picture or folder of pictures, and its outputs."""

    source: Path
    name: str
    """Its path below the user's source, with forward slashes."""
    outputs: tuple[Output, ...]


def plan(sources: Sequence[Path], trees: Sequence[Tree]) -> list[Task]:
    """One task per film, in the order of `sources` and by name within each.

    Raises SourceError when something named does not exist or holds nothing to track, SinkError when outputs would
    replace each other or a film.
    """
    found = find(sources, outputs={tree.root for tree in trees if tree.option == "out"})
    short = [tuple(_output(tree, source, name) for tree in trees) for source, name in found]
    taken = Counter(output.place for outputs in short for output in outputs)
    tasks = []
    for (source, name), outputs in zip(found, short, strict=True):
        whole = [_output(tree, source, name, whole=True) for tree in trees]
        unlike = [one if taken[one.place] == 1 else other for one, other in zip(outputs, whole, strict=True)]
        tasks.append(Task(source, name, tuple(unlike)))
    _refuse_clashes(tasks)
    return tasks


def find(sources: Sequence[Path], *, outputs: Collection[Path]) -> list[tuple[Path, str]]:
    """Every film below `sources` once, with its name; nothing below `outputs`, folders of annotated films.

    A folder without a film is a folder of pictures and comes as one.  Raises SourceError as `plan` does.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for source in sources:
        for film, name in _films_of(source, outputs):
            found.setdefault(real(film), (film, name))
    return list(found.values())


def is_batch(sources: Sequence[Path], each: Options) -> bool:
    """Whether there are more sources than one run takes, or the outputs of one film are folders."""
    if len(sources) != 1:
        return bool(sources)
    (source,) = sources
    if isinstance(source, StreamUrl) or source == STDIN:
        return False
    outputs = [path for path in (*each.keypoints, each.out) if path is not None and not flows(path)]
    if any(map(is_url, [source, *outputs])):
        return True
    if os.path.isdir(source):  # of places that may not be looked into pathlib's own raises
        return holds_films(source)
    into_folders = any(os.path.isdir(path) or not path.suffix or SLOT in str(path) for path in outputs)
    return is_pattern(source) or (into_folders and source.suffix.lower() not in SUFFIXES)


def holds_films(folder: Path) -> bool:
    """Whether a film lies in `folder` or below it.  Raises SourceError if nothing to track can be seen there."""
    unlisted = []
    for film in _below(folder, ()):
        if not _is_folder(film):
            return True
        unlisted.append(film)
    _refuse_without_pictures(folder, unlisted)
    return False


def is_pattern(source: Path) -> bool:
    """Whether `source` has wildcards and is no existing file."""
    return _WILD.search(str(source)) is not None and not source.exists()


def tree_of(
    option: Literal["out", "keypoints"], path: Path, suffixes: Collection[str], *, format: FormatName = "jsonl"
) -> Tree:
    """What `--out` or `--keypoints` mean to a batch: a folder, or a name with a `SLOT` for the film's.

    `suffixes` are those there are, `format` is that of keypoints in a folder.  Raises SinkError for other names.
    """
    if SLOT not in path.as_posix():
        if path.suffix and not path.is_dir():
            raise SinkError(
                f"{path} looks like one file, but with several films, --jobs or --ray it must be a folder; "
                f"try --{option} {path.with_suffix('')}, or --{option} '{path.with_suffix('')}/{SLOT}{path.suffix}'"
            )
        return Tree(option, real(path), SLOT if option == "out" else SLOT + FORMATS[format].suffixes[0])
    index = next(index for index, part in enumerate(path.parts) if SLOT in part)
    pattern = "/".join(path.parts[index:])
    if pattern.count(SLOT) > 1 or PurePosixPath(pattern).suffix.lower() not in suffixes:
        raise SinkError(f"{path}: expected one {SLOT} and a name that ends in one of {', '.join(sorted(suffixes))}")
    return Tree(option, real(path.parents[len(path.parts) - 1 - index]), pattern)


def _films_of(source: Path, outputs: Collection[Path]) -> Iterable[tuple[Path, str]]:
    if is_pattern(source):
        return _matches(source, outputs)
    if not existing(source).is_dir():
        return [(source, source.name)]
    _refuse_among_films(source, outputs)
    films = list(_below(source, outputs))
    if not all(map(_is_folder, films)):
        _tell_left_out(source, films)
        return [(film, film.relative_to(source).as_posix()) for film in films]
    _refuse_without_pictures(source, films)
    return [(source, real(source).name)]


def _refuse_without_pictures(folder: Path, unlisted: Sequence[Path]) -> None:
    """A folder without films has pictures; `unlisted` are the folders below that cannot be looked into."""
    if not any(map(is_picture, folder.iterdir())):
        locked = f", as far as can be seen: {unlisted[0]} cannot be listed" if unlisted else ""
        raise SourceError(
            f"{folder} contains neither films nor pictures{locked}; give another folder, or name the files"
        )


def _tell_left_out(folder: Path, films: Sequence[Path]) -> None:
    """Say once how many pictures lie beside the films: a folder is one of films or one of pictures."""
    beside = (item for place in {film.parent for film in films} for item in place.iterdir())
    pictures = (item for item in beside if item.suffix.lower() in SUFFIXES | OTHERS and not item.name.startswith("."))
    tell_left_out(folder, filter(Path.is_file, pictures))


def _refuse_among_films(folder: Path, outputs: Collection[Path]) -> None:
    if real(folder) in outputs:
        raise SinkError(
            f"the next run would track the annotated films in {folder} too; "
            f"choose another folder, e.g. {folder / 'annotated'}"
        )


def _below(folder: Path, outputs: Collection[Path]) -> Iterator[Path]:
    """The films in `folder` and below, by name; hidden and unfinished files, pipes and linked folders are left out.

    A folder below that cannot be listed comes as itself: it will be a failure of its own.  Raises SourceError for
    `folder` itself.
    """
    try:
        items = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror}; check its permissions") from error
    for item in items:
        if item.name.startswith(".") or item.name == THUMBNAILS:
            continue
        if _is_folder(item):
            if not item.is_symlink() and real(item) not in outputs:
                try:
                    yield from _below(item, outputs)
                except SourceError:
                    yield item
        elif item.suffix.lower() in FILMS and not PARTIAL_STEM.fullmatch(item.stem) and not flows(item):
            yield item


def _is_folder(path: Path) -> bool:
    """Whether it is one, as far as may be looked up."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _matches(pattern: Path, outputs: Collection[Path]) -> list[tuple[Path, str]]:
    """The films that `pattern` matches, named from its first wildcard on; an ending it spells out is taken as meant."""
    index = next(index for index, part in enumerate(pattern.parts) if _WILD.search(part))
    base, wild = pattern.parents[len(pattern.parts) - 1 - index], _of_any_python(pattern.parts[index:])
    _refuse_among_films(base, outputs)
    inside = [place for place in outputs if real(base) in place.parents]
    spelt = "" if _WILD.search(pattern.suffix) else pattern.suffix.lower()
    films = [
        (path, path.relative_to(base).as_posix())
        for path in sorted(base.glob(wild))
        if path.is_file()
        and (path.suffix.lower() == spelt or path.suffix.lower() in FILMS)
        and not path.name.startswith(".")
        and not PARTIAL_STEM.fullmatch(path.stem)
        and not any(place in real(path).parents for place in inside)
    ]
    if not films:
        raise SourceError(
            f"{pattern} matches no film; write out the ending unless it is one of {', '.join(sorted(FILMS))}"
        )
    return films


def _of_any_python(parts: Sequence[str]) -> str:
    """A pattern that means the same to Python 3.10 and 3.13: `**` is any folders, at the end also what is in them."""
    told = [part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in parts]
    return "/".join([*told, "*"] if told[-1] == "**" else told)


def is_picture(path: Path) -> bool:
    """Whether the name of `path` is one that a folder of pictures is searched for."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _output(tree: Tree, source: Path, name: str, *, whole: bool = False) -> Output:
    """What `tree` calls the output of the film `name`: a film stays a film, pictures stay pictures.

    With `whole` the film's own suffix stays in the name, so that it differs from those of films called alike.
    """
    album = source.is_dir()
    bare = name if album or whole else PurePosixPath(name).with_suffix("").as_posix()
    if tree.option == "keypoints":
        return Output(tree.option, tree.root, tree.pattern.replace(SLOT, bare))
    if album or is_picture(source):
        place = PurePosixPath(tree.pattern).with_suffix("").as_posix()
        return Output(tree.option, tree.root, place.replace(SLOT, name if album else output_name(name)))
    suffix = PurePosixPath(name).suffix
    own = suffix if suffix.lower() in FILM_FORMATS else ".mp4"
    pattern = SLOT + own if tree.pattern == SLOT else tree.pattern
    return Output(tree.option, tree.root, pattern.replace(SLOT, bare))


def _refuse_clashes(tasks: Sequence[Task]) -> None:
    made = [(output, task) for task in tasks for output in task.outputs]
    wanted = Counter(output.place for output, _ in made)
    clashing = [(output, task) for output, task in made if wanted[output.place] > 1]
    if clashing:
        first = clashing[0][0]
        films = [str(task.source) for output, task in clashing if output.place == first.place]
        raise SinkError(
            f"{len(clashing)} outputs would have the name of another, e.g. {first.path} from {' and '.join(films)}; "
            "rename the films, or give their parent folder, so that each output gets its own folder"
        )
    sources = Sources(task.source for task in tasks)
    for output, task in made:
        if sources.are_replaced_by(output.path):
            raise SinkError(f"{output.path}, the output for {task.source}, would replace a film; choose another folder")
