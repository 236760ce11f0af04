"""What an installation contains, how light it starts, and where its modules lie."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tracker

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = Path(tracker.__file__).resolve().parents[1]


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after `statement`."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import tracker") & {"numpy", "cv2", "av", "onnxruntime", "typer", "rich"}


def test_the_command_line_answers_help_without_the_runtimes() -> None:
    assert not loaded_by("import tracker.commands.track") & {"numpy", "cv2", "av", "onnxruntime"}


def test_the_tracker_needs_neither_torch_nor_pandas_nor_the_trainer_nor_mediapipe() -> None:
    parts = "commands.track app.run app.doctor app.follow detectors.yunet sinks.film drawing.draw bench.speed"
    modules = ", ".join(f"tracker.{name}" for name in parts.split())
    assert not loaded_by(f"import {modules}") & {"torch", "pandas", "train", "mediapipe"}


@pytest.mark.parametrize("name", [name for name in tracker.__all__ if name != "__version__"])
def test_every_name_the_package_hands_on_is_there(name: str) -> None:
    assert getattr(tracker, name) is not None


def test_a_name_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tracker.nonsense


def test_the_version_is_the_one_in_the_metadata() -> None:
    assert tracker.__version__ == metadata.version("fkp")


@pytest.mark.parametrize("folder", ["tracker", "train", "weights"])
def test_every_file_of_the_packages_is_installed(folder: str) -> None:
    files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
    wanted = {path for path in files if "__pycache__" not in path.parts}
    assert wanted
    assert [str(path) for path in sorted(wanted) if not (INSTALLED / path).is_file()] == []


@pytest.mark.parametrize("script", ["fkp-track", "fkp-train", "fkp-bench"])
def test_the_console_scripts_explain_themselves(script: str) -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name=script)
    code = f"import sys; sys.argv = [{script!r}, '--help']; from {entry.module} import {entry.attr} as main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Usage: {script}" in done.stdout


def test_a_missing_extra_is_named_instead_of_a_traceback() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['fkp-train', '--data', '.']; import train.cli as cli; "
    done = subprocess.run([sys.executable, "-c", code + "cli.main()"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert 'pip install "fkp[train]"' in message


@pytest.mark.parametrize(("package", "most"), [("tracker", 9), ("train", 5)])
def test_few_modules_lie_outside_of_a_room(package: str, most: int) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= most


@pytest.mark.parametrize("package", ["tracker", "train"])
def test_every_package_says_what_enters_and_what_leaves(package: str) -> None:
    rooms = [path for path in (ROOT / package).rglob("*/__init__.py") if "recipes" not in path.parts]
    assert rooms
    assert [str(path) for path in rooms if len(path.read_text(encoding="utf-8").split()) < 20] == []


def test_the_top_level_holds_what_was_agreed_and_nothing_else() -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs the git repository")
    tops = {name.partition("/")[0] for name in done.stdout.splitlines()}
    files = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        ".gitignore",
        ".gitattributes",
    }
    assert tops <= files | {"tracker", "train", "weights", "tests", ".ci"}
