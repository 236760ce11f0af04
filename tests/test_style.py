"""Formatting, lint, types and layers: part of the one test command, so that no second one has to be remembered."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


ELSEWHERE = [("--platform", name, "--cache-dir", f".mypy_cache/{name}") for name in ("win32", "darwin")]
"""What differs on other systems; one cache each, because mypy drops those of another platform."""


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        pytest.param(("mypy",), marks=pytest.mark.slow),
        *(pytest.param(("mypy", *each, "tracker"), marks=pytest.mark.slow) for each in ELSEWHERE),
        ("lint-imports", "--no-cache"),
    ],
    ids=" ".join,
)
def test_nothing_to_complain_about(command: tuple[str, ...]) -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("needs the repository")
    tool = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert tool is not None, f"{command[0]} is missing; install the extra `test`"
    part = ["tracker"] if command == ("mypy",) and find_spec("torch") is None else []  # train/ needs torch's types
    done = subprocess.run([tool, *command[1:], *part], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_examples_of_the_guides_are_typed_even_with_opencvs_own_types(tmp_path: Path) -> None:
    """As a user's mypy sees them: strict, and without our settings."""
    guides = [ROOT / "README.md", ROOT / "tracker" / "README.md"]
    if not all(guide.exists() for guide in guides):
        pytest.skip("needs the repository")
    fence = "`" * 3
    examples = [
        code for guide in guides for code in re.findall(f"{fence}python\n(.*?){fence}", guide.read_text(), re.S)
    ]
    assert len(examples) > 3
    for number, code in enumerate(examples):
        (tmp_path / f"example{number}.py").write_text(code)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", *(path.name for path in sorted(tmp_path.glob("*.py")))]
    variables = os.environ | {"MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
