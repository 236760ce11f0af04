"""What --help promises: headings, 80 columns, no colour needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import run_code

from tracker.drawing.styles import STYLES


def shown(module: str, *args: str, columns: int = 80) -> list[str]:
    """The lines of --help on a terminal of that width."""
    done = run_code(f"from {module} import main; main()", "program", *args, "--help", COLUMNS=str(columns))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def panels(lines: list[str]) -> dict[str, list[str]]:
    """The words that open each entry, by heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line.endswith(":") and not line.startswith(" "):
            heading = line[:-1]
        elif line.startswith("  ") and line[2:3] not in ("", " "):
            found.setdefault(heading, []).append(line.split()[0].rstrip(","))
    return found


def test_every_option_of_fkp_track_stands_under_a_heading_of_its_own_kind() -> None:
    found = panels(shown("tracker.commands.track"))
    assert {"SOURCE", "--camera", "--demo"} <= set(found["Input"])
    assert {"--out", "--keypoints", "--show"} <= set(found["Output"])
    assert {"--detector", "--smooth"} <= set(found["Tracking"])
    assert {"--backend", "--threads"} <= set(found["Machine"])
    assert {word for word in found["Other"] if word.startswith("-")} == {
        "-v",
        "--version",
        "--install-completion",
        "--show-completion",
        "-h",
    }


@pytest.mark.parametrize("module", ["tracker.commands.track", "tracker.commands.bench", "train.cli"])
def test_help_fits_80_columns_and_needs_no_colour(module: str) -> None:
    lines = shown(module)
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line or "│" in line for line in lines)


def test_a_wider_terminal_makes_the_help_shorter() -> None:
    assert len(shown("tracker.commands.track", columns=120)) < len(shown("tracker.commands.track", columns=80))


COMPLETE = """
eval "$(fkp-track --show-completion bash)"
completion=$(complete -p fkp-track | sed 's/.* -F \\([^ ]*\\).*/\\1/')
for typed in "$@"; do
    COMP_WORDS=(fkp-track "${typed%%=*}")
    [[ $typed == *=* ]] && COMP_WORDS+=("${typed#*=}")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $completion fkp-track
    echo "${COMPREPLY[@]}"
done
"""
"""A bash that has just learned our completion, and is asked to complete each of its words, or what follows a `=`."""
OFFERED = {"--sty": {"--style"}, "--style=": set(STYLES), "--backend=a": {"auto"}, "--list": {"--list-cameras"}}


@pytest.mark.slow
def test_bash_completes_options_and_their_values() -> None:
    bash, scripts = shutil.which("bash"), Path(sys.executable).parent
    if bash is None or not (scripts / "fkp-track").exists():
        pytest.skip("needs bash and an installed fkp-track")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    command = [bash, "--norc", "-c", COMPLETE, "bash", *OFFERED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(OFFERED.values()), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", ["fkp-track", "fkp-train", "fkp-bench"])
def test_completion_is_installed_as_it_is_shown(script: str, tmp_path: Path) -> None:
    bash, scripts = shutil.which("bash"), Path(sys.executable).parent
    if bash is None or not (scripts / script).exists():
        pytest.skip(f"needs bash and an installed {script}")
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    shown, _ = (
        subprocess.run(
            [bash, "--norc", "-c", f"{script} {option}; true"],  # without the last word bash would not be its parent
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in ("--show-completion", "--install-completion")
    )
    installed = tmp_path / ".bash_completions" / f"{script}.sh"
    assert installed.read_text().strip() == shown.strip()
    assert str(installed) in (tmp_path / ".bashrc").read_text()
