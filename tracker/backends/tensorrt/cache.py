"""Caches compiled things (engines, kernels) in the user's cache folder, each with the facts it depends on.

A cached file is one line of JSON (`Label`) and then the content.  Files that no longer fit, are damaged or are not ours
are made again, and the log says why.  Files are written under another name and moved into place, so no reader sees an
incomplete file.  If several processes need the same file, one makes it and the others wait.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tracker.errors import SinkError
from tracker.support.atomic import write_whole
from tracker.support.cachedir import cache_dir
from tracker.support.lock import try_lock

log = logging.getLogger(__name__)

T = TypeVar("T")
Facts = Mapping[str, str]
"""Everything a compiled thing depends on, by name."""

MAGIC = "fkp-compiled 1"
SUFFIX = ".compiled"


class Misfit(Exception):
    """Why a cached file cannot be used."""


@dataclass(frozen=True, slots=True)
class Cache:
    """Where compiled things are cached; nowhere without a folder."""

    folder: Path | None

    def read(self, name: str, facts: Facts) -> bytes | None:
        """What is cached under `name`; None when there is nothing, or nothing that fits the facts."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}{SUFFIX}"
        try:
            return _checked(path.read_bytes(), facts)
        except FileNotFoundError:
            return None
        except (OSError, Misfit) as reason:
            log.warning("the cached %s %s; compiling it again", path, reason)
            return None

    def write(self, name: str, facts: Facts, content: bytes) -> None:
        """Cache it; if that fails, the log says so, and nothing else happens."""
        if self.folder is None:
            return
        path = self.folder / f"{name}{SUFFIX}"
        label = {"magic": MAGIC, "facts": dict(facts), "sha256": hashlib.sha256(content).hexdigest()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(label).encode() + b"\n" + content, overwrite=True)
        except (OSError, SinkError) as error:
            log.warning("%s cannot be cached (%s); the next start compiles it again", path, error)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Inside, no other process makes what is cached under `name`."""
        with ExitStack() as held:
            try:
                if self.folder is not None:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    file = held.enter_context((self.folder / f"{name}.lock").open("ab", buffering=0))
                    while try_lock(file.fileno()) is False:
                        time.sleep(0.1)
            except OSError as error:  # then two may make the same, which costs time and nothing else
                log.debug("no lock for %s: %s", name, error)
            yield


def fetched(
    cache: Cache, name: str, facts: Facts, make: Callable[[], bytes], load: Callable[[bytes], T | None]
) -> T | None:
    """Load the content cached under `name`; if there is none that fits, `make` it first.

    If `load` returns None for a cached one, it is made again; None if it refuses the new one too.
    """
    with cache.alone(name):
        cached = cache.read(name, facts)
        if cached is not None:
            loaded = load(cached)
            if loaded is not None:
                return loaded
            log.warning("the runtime refuses the cached %s; compiling it again", name)
        content = make()
        loaded = load(content)
        if loaded is not None:
            cache.write(name, facts, content)
        return loaded


def compiled_dir() -> Path:
    """The folder of the programs."""
    return cache_dir() / "compiled"


def cached_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file cached in `folder` by name, and what it is or why it is useless."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            facts, content = _parted(path.read_bytes())
            yield path, f"{len(content) / 1e6:.1f} MB, " + ", ".join(f"{name} {value}" for name, value in facts.items())
        except (OSError, Misfit) as reason:
            yield path, f"{reason}; it will be made again"


def _checked(stored: bytes, facts: Facts) -> bytes:
    """The content.  Raises Misfit when it was made under other facts."""
    before, content = _parted(stored)
    changed = [
        f"{name} was {before.get(name)}, is {value}" for name, value in facts.items() if before.get(name) != value
    ]
    if changed:
        raise Misfit(f"is stale: {'; '.join(changed)}")
    return content


def _parted(stored: bytes) -> tuple[dict[str, str], bytes]:
    """Facts and content of a cached file.  Raises Misfit when it is none, or not whole."""
    head, _, content = stored.partition(b"\n")
    try:
        label = json.loads(head)
        facts, sha256 = dict(label["facts"]), label["sha256"]
    except (ValueError, TypeError, KeyError) as error:
        raise Misfit("is not ours") from error
    if label.get("magic") != MAGIC:
        raise Misfit("belongs to another version of fkp")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Misfit("is damaged")
    return facts, content
