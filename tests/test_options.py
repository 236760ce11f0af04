"""Every option of every command is typed in some test: this reads the tests, it runs none of them."""

import ast
import inspect
import math
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from typer import BadParameter, Typer
from typer.main import get_command

from tracker import Tracker, track_video
from tracker.app.outputs import OUTPUTS
from tracker.backends.registry import BACKENDS, BackendName
from tracker.commands import bench, track
from tracker.commands.parameters import flag_of, from_words
from tracker.core.smoothers import SMOOTHERS, Smoothing
from tracker.detectors.registry import DETECTORS, DetectorName
from tracker.drawing.style_names import StyleName
from tracker.drawing.styles import STYLES
from tracker.options import Batch, Options, declared
from tracker.sinks.keypoints.registry import FORMATS, FormatName
from train import cli as train_cli

TESTS = Path(__file__).parent
PROGRAMS: dict[str, tuple[Typer, str]] = {
    "fkp-track": (track.app, r"\bfkp_track\b|\bFKP_TRACK\b|\btracker\.commands\.track\b"),
    "fkp-bench": (bench.app, r"\bBENCH\b|\btracker\.commands\.bench\b"),
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


@pytest.mark.parametrize("opens", [Tracker.__init__, track_video])
def test_the_api_takes_what_the_options_declare(opens: Callable[..., object]) -> None:
    of_options = inspect.signature(Options).parameters
    keywords = inspect.signature(opens).parameters
    wanted = {name for name, said in declared(Options).items() if said.api}
    assert wanted == keywords.keys() - {"self", "source", "fps"}
    assert {keywords[name].default is of_options[name].default for name in wanted} == {True}
    assert {name for name in wanted if keywords[name].annotation != of_options[name].annotation} == {"weights"}


@pytest.mark.parametrize(
    "setting",
    [
        {"privacy": "blurr"},
        {"fov": 0},
        {"fov": 400},
        {"fov": math.nan},
        {"smooth": "none"},
        {"threads": -2},
        {"threads": 4096},
        {"threads": 1.5},
        {"threads": True},
        {"detect_every": 0},
        {"detect_every": "often"},
        {"detect_size": 8},
        {"detector": "haar"},
        {"backend": "gpu"},
        {"privacy": "blur", "detect_every": 3},
    ],
)
def test_a_value_outside_of_its_declaration_is_refused(setting: dict[str, Any]) -> None:
    name = list(setting)[-1]
    with pytest.raises(ValueError, match=rf"{name} is .*, expected "):
        Tracker(**setting)


@pytest.mark.parametrize("words", [{"detect_size": 10}, {"detect_every": 9, "blur": "blur"}])
def test_a_command_line_is_refused_in_its_own_words(words: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match=f"^--{next(iter(words)).replace('_', '-')} is "):
        from_words(Options, words)


def test_a_word_outside_of_a_vocabulary_is_refused_with_the_vocabulary() -> None:
    """Where typer leaves the judgement to pydantic, `Value error, ` came first."""
    for command, option in ((track.app, "--style"), (bench.app, "--peer"), (train_cli.app, "--device")):
        with pytest.raises(BadParameter) as refused:
            get_command(command).main([option, "foo"], standalone_mode=False)
        assert refused.value.message.startswith("'foo' is not one of ")


@pytest.mark.parametrize(
    ("vocabulary", "registry"),
    [
        (BackendName, {"auto", *BACKENDS}),
        (DetectorName, DETECTORS),
        (FormatName, FORMATS),
        (Smoothing, SMOOTHERS),
        (StyleName, STYLES),
    ],
)
def test_every_word_of_a_vocabulary_has_its_row(vocabulary: object, registry: Container[str]) -> None:
    assert set(get_args(vocabulary)) == set(registry)


def test_every_row_names_an_opener_that_exists() -> None:
    """Rows import their module when it is chosen, so mypy does not see whether it has that name."""
    rows = []
    for registry in ("sinks/registry.py", "sinks/keypoints/registry.py", "core/smoothers.py"):
        text = (TESTS.parent / "tracker" / registry).read_text(encoding="utf-8")
        rows += re.findall(r"module\(\"([\w.]+)\"[^)]*\)\.(\w+)", text)
    assert len(rows) > len(OUTPUTS) + len(FORMATS)
    for place, opener in rows:
        path = place.removeprefix("tracker.").replace(".", "/") + ".py"
        file = next(file for room in ("tracker", "tracker/sinks") if (file := TESTS.parent / room / path).exists())
        assert re.search(rf"^(def|class) {opener}\b", file.read_text(encoding="utf-8"), re.MULTILINE), (place, opener)


def test_every_output_has_its_option() -> None:
    assert OUTPUTS.keys() <= declared(Options).keys()


@pytest.mark.parametrize("record", [Options, Batch])
def test_the_guide_tells_every_option_with_its_default(record: Any) -> None:
    guide = (TESTS.parent / "tracker" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in guide.splitlines() if line.startswith("| `-")]
    for each in fields(record):
        if (said := each.metadata.get("declared")) is None:
            continue
        flags = [flag for flag, (_, help) in said.switches.items() if help] or flag_of(each.name, said).split("/")
        for flag in flags:
            (row,) = [row for row in rows if re.search(rf"{flag}\b(?!-)", row.split(" | ")[0])]
            if each.default not in (None, False, True, ()):
                assert f"{each.default:g}" if isinstance(each.default, float) else str(each.default) in row, row
