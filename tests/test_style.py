"""Formatting, lint, types and layers: part of the one test command, so that no second one has to be remembered."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


ELSEWHERE = [
    ("--platform", name, "--cache-dir", f".mypy_cache/{name}", "--config-file", "tests/data/elsewhere.ini")
    for name in ("win32", "darwin")
]
"""What differs on other systems, without the types of other packages, which are the same there; one cache each, because
mypy drops those of another platform.
"""


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


UNTYPED = ("reportUnknownVariableType", "reportUnknownMemberType", "reportUnknownArgumentType")
"""What pandas does not say of itself."""
CHECKERS = {
    "mypy": (("-m", "mypy"), "mypy.ini", "[mypy]\nstrict = true\nfollow_imports = silent\n"),
    "basedpyright": (
        ("-m", "basedpyright", "--pythonpath", sys.executable),
        "pyrightconfig.json",
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], **dict.fromkeys(UNTYPED, False)}),
    ),
}
"""Each with a user's settings, not with ours."""


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_examples_of_the_guides_are_typed_even_with_opencvs_own_types(checker: str, tmp_path: Path) -> None:
    """So are the public names in `typed.py`."""
    guides = [ROOT / "README.md", ROOT / "tracker" / "README.md"]
    if not all(guide.exists() for guide in guides):
        pytest.skip("needs the repository")
    if find_spec(checker) is None:
        pytest.skip(f"needs {checker}, in the extra `test-all`")
    fence = "`" * 3
    examples = [
        code for guide in guides for code in re.findall(f"{fence}python\n(.*?){fence}", guide.read_text(), re.S)
    ]
    assert len(examples) > 3
    for number, code in enumerate([*examples, (ROOT / "tests" / "typed.py").read_text()]):
        (tmp_path / f"example{number}.py").write_text(code)
    command, settings, content = CHECKERS[checker]
    (tmp_path / settings).write_text(content)
    files = [path.name for path in sorted(tmp_path.glob("*.py"))]
    done = subprocess.run(
        [sys.executable, *command, *files],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
