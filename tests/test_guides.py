"""The guides agree with the program: options, exit codes, commands, links; what they tell you to type works."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from programs import run_code

from tracker import errors
from tracker.backends.weights import load
from tracker.sinks.window import GET_WINDOWS

ROOT = Path(__file__).resolve().parents[1]
README, TRACKER = ROOT / "README.md", ROOT / "tracker" / "README.md"
GUIDES = [README, TRACKER, ROOT / "train" / "README.md", ROOT / "weights" / "README.md"]
MODULES = {"fkp-track": "tracker.commands.track", "fkp-bench": "tracker.commands.bench", "fkp-train": "train.cli"}

each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def options_of(*command: str) -> frozenset[str]:
    """The options in the help of a program and, for fkp-train, of one of its commands."""
    done = run_code(f"from {MODULES[command[0]]} import main; main()", *command, "--help")
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout))


def test_the_readme_is_short() -> None:
    assert len(text(README).splitlines()) <= 220


def test_the_table_names_every_option_of_fkp_track_and_no_other() -> None:
    table = text(TRACKER).partition("\n## Options\n")[2].partition("\n## ")[0]
    first = "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    shown = {option for option in options_of("fkp-track") if option.startswith("--")}
    assert sorted(option for option in shown - {"--help"} if f"{option}`" not in table and option not in first) == []
    assert sorted(set(re.findall(r"--[a-z][a-z-]+", first)) - shown) == []


def test_the_guide_names_every_exit_code() -> None:
    failures = [error for error in vars(errors).values() if isinstance(error, type)]
    codes = {error.exit_code for error in failures if issubclass(error, errors.FkpError)} | {0, 2, 129, 130, 143}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \| [^|]+ \|$", text(TRACKER), re.MULTILINE)}


@each_guide
def test_every_link_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(guide)):
        if not target.startswith("http"):
            name, _, anchor = target.partition("#")
            file = (guide.parent / name).resolve() if name else guide
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def anchors(guide: Path) -> set[str]:
    """The anchors that a Markdown page gives its headings."""
    headings = re.findall(r"^#+ (.+)$", text(guide), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@each_guide
def test_every_command_names_options_that_exist(guide: Path) -> None:
    for command in commands(guide):
        words = shlex.split(command, comments=True)
        program = Path(words[0]).name
        subcommand = [word for word in words[1:2] if program == "fkp-train" and word[0].isalpha()]
        named = {word for word in words if re.fullmatch(r"--?[a-z].*", word)}
        assert named <= options_of(program, *subcommand), command


def commands(guide: Path) -> list[str]:
    """What the shell blocks of a guide run of ours, a command each, up to a pipe or `&&`."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text(guide), re.DOTALL))
    return re.findall(r"(?:^|&& )((?:\S*/)?fkp-(?:track|train|bench)\b[^|&\n]*)", blocks, re.MULTILINE)


def test_the_guide_names_every_extra() -> None:
    table = text(TRACKER).partition("\n## Extras\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))
    section = text(ROOT / "pyproject.toml").partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    assert sorted(named) == sorted(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))


def test_the_accuracy_is_that_of_the_card() -> None:
    metrics = load().card["metrics"]
    for guide in (README, ROOT / "weights" / "README.md"):
        assert f"{metrics['kaggle_weighted']:.3f}" in text(guide)
    for error in metrics["by_scheme"].values():
        assert f"| {error:.3f} |" in text(ROOT / "weights" / "README.md")


def test_the_readme_says_how_to_get_a_window() -> None:
    assert GET_WINDOWS in text(README)
    assert GET_WINDOWS in text(TRACKER)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """`.ci/run` takes the first line with bin/pytest, so that must be the whole command, and the only one."""
    (command,) = [line for line in text(README).splitlines() if "bin/pytest" in line]
    assert command == "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"
    assert "grep -m 1 'bin/pytest'" in text(ROOT / ".ci" / "run")
