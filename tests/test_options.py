"""Every option of every command is typed in some test: this reads the tests, it runs none of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer
from typer.main import get_command

from tracker.commands import bench, track
from train import cli as train_cli

TESTS = Path(__file__).parent
PROGRAMS: dict[str, tuple[Typer, str]] = {
    "fkp-track": (track.app, r"\bfkp_track\b|\bFKP_TRACK\b|\btracker\.commands\.track\b"),
    "fkp-bench": (bench.app, r"\btracker\.commands\.bench\b"),
    "fkp-train": (train_cli.app, r"\bfkp_train\b|\btrain\.cli\b"),
}
"""Each program, and how the text of a test file shows that it runs it."""


def options(name: str) -> Iterator[tuple[str, str]]:
    """Each option of a program in every spelling, with its command: `fkp-train`, `fkp-train audit`."""
    program = get_command(PROGRAMS[name][0])
    commands = {name: program} | {f"{name} {each}": it for each, it in getattr(program, "commands", {}).items()}
    for command, it in commands.items():
        for parameter in it.params:
            spellings = [*parameter.opts, *parameter.secondary_opts]
            yield from ((command, spelling) for spelling in spellings if spelling.startswith("-"))


def typed(source: str) -> list[set[str]]:
    """For each function and value of a test file the words in its calls, lists, tuples and dictionaries.

    Those of a function include those of the functions of the same file that it calls.  What is merely looked for in a
    message, or compared as a set, is not typed.
    """
    statements = ast.parse(source).body
    own = [(getattr(statement, "name", ""), *_words_and_calls(statement)) for statement in statements]
    of_function = {name: words for name, words, _ in own if name}
    return [words.union(*(of_function.get(call, set()) for call in calls)) for _, words, calls in own]


def _words_and_calls(statement: ast.stmt) -> tuple[set[str], set[str]]:
    nodes = list(ast.walk(statement))
    holders = (node for node in nodes if isinstance(node, ast.Call | ast.List | ast.Tuple | ast.Dict))
    parts = (part for holder in holders for part in ast.iter_child_nodes(holder))
    texts = (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return {word for text in texts for word in re.split(r"[\s=]+", text)}, calls


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_is_typed_in_a_test(name: str) -> None:
    _, signs = PROGRAMS[name]
    sources = [path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("*.py"))]
    uses = [words for source in sources if re.search(signs, source) for words in typed(source)]
    subcommands = {command.rpartition(" ")[2] for command, _ in options(name)} - {name}

    def is_typed(command: str, option: str) -> bool:
        wanted = {command.rpartition(" ")[2]} - {name}
        return any(option in words and words & subcommands == wanted for words in uses)

    missing = {f"{command} {option}" for command, option in options(name) if not is_typed(command, option)}
    assert sorted(missing) == []
