"""Where a run's data lies, so that its weights can be judged without naming it again.

The card travels with the weights and names files only by their names; this note stays in the folder of the run.
"""

import json
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
    found = data or noted.get("data")
    if found is None:
        load(weights)  # weights that are not there are the first thing to say
        raise DataError(f"{weights} does not say where its data lies; add --data PATH")
    if index is None and found.resolve() == noted.get("data"):
        index = noted.get("index")
    gone = [path for path in noted.values() if path in (found, index) and not path.exists()]
    if gone:
        words = " ".join(f"--{name} .../{path.name}" for name, path in noted.items())
        raise DataError(f"{weights}: {gone[0]}, which its training read, is gone; add {words}")
    return found, index


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
