"""The table of a comparison: kept as JSON, written as Markdown, shown in a terminal; best recipe first.

Errors are RMSE in px of the 96 px crop on the hold-out, NaN if the data cannot say.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from tracker.errors import DataError, SinkError, reason_of
from tracker.support.atomic import write_whole
from train.data.schemes import SCHEMES
from train.metrics import json_ready

FORMAT = 2
"""Version of the stored content; increases when its meaning changes."""

JSON, MARKDOWN = "compare.json", "compare.md"

TOO_WIDE = ("all 15", "random rows", "validation", "notes")
"""What a terminal's table leaves out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recipe's result.  Values are None if they do not apply."""

    recipe: str
    rows: int | None
    parameters: int | None
    macs: int | None
    by_scheme: dict[str, float]
    kaggle_weighted: float
    complete_rows: float
    """RMSE on the hold-out's faces with all 15 keypoints labelled."""
    as_published: float | None
    """The same on rows dealt as the authors of the recipe dealt them."""
    published_validation: float | None
    published_kaggle: float | None
    minutes: float
    cut_short: bool
    notes: tuple[str, ...]

    def cells(self) -> dict[str, str]:
        """As text, by column of the document; `Board._said` explains them."""
        return {
            "recipe": self.recipe,
            "rows": _shown(self.rows, ","),
            "parameters": _shown(self.parameters, ","),
            "M MACs": "" if self.macs is None else f"{self.macs / 1e6:,.1f}",
            **{scheme: _shown(self.by_scheme.get(scheme), ".3f") for scheme in SCHEMES},
            "weighted": _shown(self.kaggle_weighted, ".3f"),
            "all 15": _shown(self.complete_rows, ".3f"),
            "random rows": _shown(self.as_published, ".3f"),
            "validation": _shown(self.published_validation),
            "Kaggle": _shown(self.published_kaggle),
            "minutes": _shown(self.minutes, ".1f"),
            "finished": "cut short" if self.cut_short else "yes",
            "notes": ", ".join(self.notes),
        }


@dataclass(slots=True, eq=False)
class Board:
    """Results so far, in a folder."""

    folder: Path
    head: dict[str, Any]
    """What they are results of, as JSON."""
    rows: dict[str, Row] = field(default_factory=dict)
    """By recipe."""

    @classmethod
    def open(cls, folder: Path, head: dict[str, Any], *, overwrite: bool) -> "Board":
        """The board in `folder`, with the rows that an earlier comparison left there unless `overwrite`.

        Raises DataError when those are of another comparison, SinkError when the folder cannot be written.
        """
        head = json.loads(json.dumps(head))
        board = cls(folder, head)
        path = folder / JSON
        if path.exists() and not overwrite:
            board.rows = _read(path, head)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot write to {folder}: {reason_of(error)}; choose another --out") from error
        board._write()
        return board

    def add(self, row: Row) -> None:
        """Take in a result and write both files.  Raises SinkError."""
        self.rows[row.recipe] = row
        self._write()

    def ranked(self) -> list[Row]:
        """Best first; rows without a figure last."""
        return sorted(self.rows.values(), key=lambda row: (math.isnan(row.kaggle_weighted), row.kaggle_weighted))

    def table(self) -> Table:
        """For a terminal."""
        rows = [row.cells() for row in self.ranked()]
        columns = [name for name in rows[0] if name not in TOO_WIDE] if rows else []
        said = "\n".join(f"- {line}" for line in self._said() if not line.startswith(TOO_WIDE))
        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, caption=said, caption_justify="left")
        for name in columns:
            table.add_column(name, justify="left" if name == "recipe" else "right", no_wrap=name != "recipe")
        for cells in rows:
            table.add_row(*(cells[name] for name in columns))
        return table

    def markdown(self) -> str:
        """The whole document."""
        rows = [row.cells() for row in self.ranked()]
        head = [name for row in rows[:1] for name in row]
        rules = [":--" if name in ("recipe", "notes") else "--:" for name in head]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *(row.values() for row in rows)))
        said = "\n".join(f"- {line}" for line in self._said())
        return f"# Every published recipe, side by side\n\n{said}\n\n{table}\n"

    def _said(self) -> Iterator[str]:
        """What a reader must know to read the figures."""
        head = self.head
        yield f"`{head['command']}`, on {head['on']}."
        yield (
            f"Learned from {_counts(head['learned_from'])} rows and judged by {_counts(head['judged_by'])}, split by "
            "groups of identical pictures; rows known to be bad left out of both."
        )
        budget = head["budget_minutes"]
        yield (
            "Each recipe learned to its own end, in the number of epochs noted."
            if budget is None
            else f"Each recipe had {budget:g} minutes to learn in. One that was not done by then was cut short: its "
            "figures are not what it can reach."
        )
        yield "A, B, C: RMSE on the hold-out, px of 96, by label scheme; weighted: sqrt(0.65 MSE(A, B) + 0.35 MSE(C))."
        yield "all 15: RMSE on the hold-out's rows with all keypoints labelled."
        yield (
            "random rows: the same, learned and judged as the authors did, on complete rows dealt at random: copies of "
            "what judges may teach."
        )
        yield "validation: what the recipe's authors published, RMSE on their own faces."
        yield "Kaggle: what they published, RMSE on Kaggle's board."

    def _write(self) -> None:
        rows = [json_ready(asdict(row)) for row in self.rows.values()]
        content = {"fkp_compare": FORMAT, "head": self.head, "rows": rows}
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_whole(self.folder / JSON, text.encode(), overwrite=True)
        write_whole(self.folder / MARKDOWN, self.markdown().encode(), overwrite=True)


def _read(path: Path, head: dict[str, Any]) -> dict[str, Row]:
    """Rows by recipe of an earlier comparison with the same head, but for how it was typed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        before = content["head"] if content["fkp_compare"] == FORMAT else {}
        rows = [_row(entry) for entry in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the record of a comparison ({error}); choose another --out, or --overwrite"
        ) from error
    differing = [name for name in head if name != "command" and before.get(name) != head[name]]
    if differing:
        seen, wanted = ({name: side.get(name) for name in differing} for side in (before, head))
        raise DataError(
            f"{path} belongs to a comparison with {seen}, not {wanted}; choose another --out, or --overwrite"
        )
    return {row.recipe: row for row in rows}


def _row(entry: dict[str, Any]) -> Row:
    figures = {scheme: math.nan if value is None else value for scheme, value in entry["by_scheme"].items()}
    known = {name: math.nan if entry[name] is None else entry[name] for name in ("kaggle_weighted", "complete_rows")}
    return Row(**entry | known | {"by_scheme": figures, "notes": tuple(entry["notes"])})


def _counts(by_scheme: dict[str, int]) -> str:
    return f"{sum(by_scheme.values())} ({', '.join(f'{name} {count}' for name, count in by_scheme.items())})"


def _shown(value: float | None, form: str = "") -> str:
    return "" if value is None or math.isnan(value) else format(value, form)
