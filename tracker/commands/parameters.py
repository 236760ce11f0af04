"""Command line parameters made of declared options: `Options` in; what typer reads, and the values it read, out."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tracker.batch.storage import place
from tracker.options import Declared, declared, kinds_of

Command = TypeVar("Command", bound=Callable[..., Any])
Record = TypeVar("Record")


def taking(*parameters: inspect.Parameter) -> Callable[[Command], Command]:
    """Let typer see `parameters` as those of a function that takes any keywords."""

    def tell(command: Command) -> Command:
        command.__dict__["__signature__"] = inspect.Signature(parameters)
        return command

    return tell


def keyword(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    """One parameter; `info` is typer's description of it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def parameters(record: type, names: Iterable[str] | None = None) -> list[inspect.Parameter]:
    """The command line parameters of a class of declared options: those of all fields, or of these `names`."""
    of_fields = {each.name: each for each in fields(record)}
    every = declared(record)
    return [one for name in names or every for one in _parameters(of_fields[name], every[name])]


def values(record: type, words: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's values for the fields of `record`; other fields are left out.  Raises BadParameter."""
    given = {name: _value(name, said, words) for name, said in declared(record).items()}
    return {name: value for name, value in given.items() if value is not None}


def from_words(record: type[Record], words: Mapping[str, Any]) -> Record:
    """The `record` that the command line describes.  Raises BadParameter for values that it refuses."""
    try:
        return record(**values(record, words))
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        said = declared(record).get(name)
        raise typer.BadParameter(f"{flag_of(name, said)} {rest}" if said else str(error)) from error


def filled_in(words: list[str], record: type) -> list[str]:
    """The command line with the usual value added after options that may stand without one."""
    alone = {flag_of(name, said): said.alone for name, said in declared(record).items() if said.alone}
    filled = []
    for word, following in pairwise([*words, ""]):
        filled.append(word)
        usual, value = alone.get(word, ("", ""))
        if usual and not re.fullmatch(value, following):
            filled.append(usual)
    return filled


def flag_of(name: str, said: Declared) -> str:
    """How an option is spelled on the command line; `detect_size` is `--detect-size`."""
    return said.flag or f"--{name.replace('_', '-')}"


def _parameters(field: Field[Any], said: Declared) -> Iterator[inspect.Parameter]:
    name, kind = field.name, field.type
    for flag, (_, help) in said.switches.items():
        info = typer.Option(flag, help=help or None, hidden=not help, rich_help_panel=said.panel)
        yield keyword(_word(flag), bool, False, info)
    if any(help for _, help in said.switches.values()):
        return  # only switches set the option
    usual = f"  [default: {said.usual}]" if said.usual else ""
    flags = [said.flag] if said.flag else [flag_of(name, said)] if kind is bool else []
    info = typer.Option(
        *flags,
        help=said.help + usual,
        rich_help_panel=said.panel,
        metavar=said.metavar or None,
        parser=_parser(kind, said),
        min=None if said.parse else said.least,
        max=None if said.parse else said.most,
        show_default=not usual,
    )
    yield keyword(name, _annotation(kind, said), None if field.default == () else field.default, info)


def _annotation(kind: Any, said: Declared) -> Any:
    """The type as typer understands it: what is parsed is text to it, and what may be given again a list."""
    if kind == tuple[Path, ...]:
        return list[Path] | None
    return str | None if said.parse is not None else kind


def _parser(kind: Any, said: Declared) -> Callable[[str], Any] | None:
    if said.parse is None:
        return place if Path in kinds_of(kind) or kind == tuple[Path, ...] else None
    parse = said.parse

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


def _word(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _value(name: str, said: Declared, words: Mapping[str, Any]) -> Any:
    """None if the command line does not say."""
    pulled = [flag for flag in said.switches if words.get(_word(flag))]
    if len(pulled) > 1:
        *others, last = said.switches
        raise typer.BadParameter(f"give one of {', '.join(others)} and {last}")
    if pulled:
        return said.switches[pulled[0]][0]
    given = words.get(name)
    return tuple(given) if isinstance(given, list) else given
