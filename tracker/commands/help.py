"""The format of --help: options under headings, in plain text of at most 80 columns without colour.

Typer calls such headings panels and lets Rich draw them as boxes; plain text appears sooner and takes fewer lines.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tracker.options import BATCH, INPUT, LIVE, LOOKS, MACHINE, OUTPUT, TRACKING

TRAINING = "Training"
OTHER = "Other"
UNPARTED = "Options"
"""The heading of a command with too few options for several headings."""
PANELS = (INPUT, OUTPUT, LIVE, LOOKS, TRACKING, TRAINING, BATCH, MACHINE)
"""Headings of --help, for an option's `rich_help_panel`, in their order; other options follow."""

FIRST_COLUMN = 26
"""Width of options and their values in every panel, so that the explanations line up; longer ones get a line."""

CONTEXT = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}
"""`context_settings` of every command."""

SELF_EVIDENT = re.compile(r"  \[[\d.<=]*x[<>=]+[\d.]+\]|; [\d.<=]*x[<>=]+[\d.]+(?=\])| <(path|list\[Path\])>$")
"""Parts of typer's help that we drop: the range of a number (errors state it) and the type of a SOURCE."""


class PlainCommand(TyperCommand):
    """A command whose --help puts each option under its `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plain_words():
            return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """The same for a program with commands, which come last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plain_words():
            return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self, ctx, formatter)
        self.format_commands(ctx, formatter)


@contextmanager
def _plain_words() -> Iterator[None]:
    """Typer leaves values to pydantic, which begins some of its messages with its own words."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = error.message.removeprefix("Value error, ")
        raise


def _write_panels(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            words, explanation = (SELF_EVIDENT.sub("", text) for text in record)
            panel = getattr(parameter, "rich_help_panel", None) or OTHER
            panels.setdefault(panel, []).append((words.ljust(FIRST_COLUMN), explanation))
    shown = list(filter(panels.get, panels))
    for panel in shown:
        with formatter.section(panel if len(shown) > 1 else UNPARTED):
            formatter.write_dl(panels[panel], col_max=FIRST_COLUMN)
