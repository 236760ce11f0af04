"""Where a run's data lies, so that its weights can be judged without naming it again.

The card travels with the weights and names files only by their names; this note stays in the folder of the run.
"""

import json
import shlex
from itertools import pairwise
from pathlib import Path

from tracker.backends.weights import load
from tracker.errors import DataError
from tracker.support.atomic import write_whole

FILE = "places.json"


def note_places(folder: Path, data: Path, index: Path | None) -> None:
    """Write down where a run in `folder` finds its data.  Raises SinkError."""
    places = {"data": str(data.resolve()), "index": index and str(index.resolve())}
    write_whole(folder / FILE, (json.dumps(places, indent=2) + "\n").encode(), overwrite=True)


def found_places(weights: Path | None, data: Path | None, index: Path | None) -> tuple[Path, Path | None]:
    """The data and its index to judge `weights` by: those given, else those of the run, if they still lie there.

    The run's index also goes with its data when only that is given.  Raises DataError that says what to add.
    """
    noted = _noted(weights)
    own = noted.get("data")
    if data is None:
        if own is None or not own.exists():
            gone = f"its data was {own}, which is gone" if own else "it does not say where its data lies"
            raise DataError(f"{weights or 'the weights that ship'}: {gone}; add {_wanted(weights)}")
        data = own
    if index is None and own is not None and data.resolve() == own:
        index = noted.get("index")
        if index is not None and not index.exists():
            raise DataError(f"{weights}: the index of its data was {index}, which is gone; add --index {index.name}")
    return data, index


def _noted(weights: Path | None) -> dict[str, Path]:
    """What a run noted; nothing if there is no note, or none that can be read."""
    if weights is None:
        return {}
    try:
        folder = weights if weights.is_dir() else weights.parent
        places = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {name: Path(place) for name, place in places.items() if place is not None}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _wanted(weights: Path | None) -> str:
    """The options of the card's command that name the data; what else it says is not needed to judge."""
    words = shlex.split(str(load(weights).noted("training").get("command", "")))
    named = {word: value for word, value in pairwise(words) if word in ("--data", "--index")}
    return " ".join(f"{word} .../{value}" for word, value in named.items()) or "--data PATH"
