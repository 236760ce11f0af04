"""Injects faults into real runs and counts what is lost; the table goes into tests/FAULTS.md.

    python tests/manual/faults.py [--kills 40] [--disks 20] [--crashes 5] [--clocks 6] [--trainings 20] [--rays 0]

A run "held" if no output has its final name unless it is whole, what was written until then can be used, and the same
command afterwards makes everything; of a training, if `--resume` ends with the same bytes as a run that nobody kills.
Needs Linux; small disks are tmpfs in a namespace of their own, clocks need a C compiler, trainings `test-all`, and
`--rays` the extra `ray`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from films import write_film
from programs import FKP_TRACK, headless

from tracker.errors import SourceError
from tracker.sources.film import open_film
from tracker.sources.synthetic import astronaut

FRAMES, RATE = 90, 25
FILMS = ("a.mp4", "b.mp4", "c.mp4")


class Kind(NamedTuple):
    """A command under test."""

    name: str
    words: tuple[str, ...]
    made: tuple[str, ...]
    """Its outputs, films and JSON Lines."""
    frames: int = FRAMES
    """In each of them."""


FILM = Kind(
    "film",
    ("a.mp4", "--out", "out.mp4", "--keypoints", "out.jsonl", "--overwrite"),
    ("out.mp4", "out.jsonl"),
)
BATCH = Kind(
    "batch of 3",
    ("films", "--out", "made", "--keypoints", "points", "--jobs", "2"),
    (*(f"made/{name}" for name in FILMS), *(f"points/{name[0]}.jsonl" for name in FILMS)),
)

LIVE = Kind("live", ("--demo", "--keypoints", "out.jsonl", "--no-show"), ("out.jsonl",), 300)


class Count:
    """How often a fault was tried, and what was lost."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.tried = 0
        self.lost: list[str] = []

    def note(self, losses: list[str]) -> None:
        """Count one try."""
        self.tried += 1
        self.lost += losses
        print(f"{self.fault}: {self.tried} tried, {len(self.lost)} lost {losses or ''}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        return f"| {self.fault} | {self.tried} | {self.tried - len(self.lost)} | {'; '.join(self.lost) or 'nothing'} |"


def main(
    kills: int = 40,
    disks: int = 20,
    crashes: int = 5,
    clocks: int = 6,
    trainings: int = 20,
    rays: int = 0,
    seed: int = 0,
) -> None:
    """Inject, count, print the table; exit code 1 if something was lost."""
    draw = random.Random(seed)
    with TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        make_inputs(inputs)
        counts = [
            killed(FILM, kills, inputs, Path(folder), draw),
            killed(BATCH, kills // 2, inputs, Path(folder), draw),
            filled(FILM, disks, inputs, Path(folder)),
            crashed(crashes, inputs, Path(folder), draw),
            *(jumped(kind, clocks // 3, inputs, Path(folder)) for kind in (FILM, BATCH, LIVE)),
            trained(trainings, Path(folder), draw),
            killed_by_ray(rays, inputs, Path(folder), draw),
        ]
    print("| fault | tried | held | lost |\n|---|---|---|---|")
    for count in counts:
        print(count)
    raise typer.Exit(int(any(count.lost for count in counts)))


def make_inputs(folder: Path) -> None:
    """Three films of a drifting face with sound."""
    (folder / "films").mkdir(parents=True)
    image = np.ascontiguousarray(astronaut().image[::2, ::2])
    for shift, name in enumerate(FILMS):
        moving = (np.roll(image, shift + index // 9, axis=1) for index in range(FRAMES))
        write_film(folder / "films" / name, moving, rate=RATE, audio=True)
    shutil.copy(folder / "films" / "a.mp4", folder / "a.mp4")


def fresh(inputs: Path, folder: Path) -> Path:
    """A new working folder with the inputs."""
    here = folder / f"try-{time.monotonic_ns()}"
    shutil.copytree(inputs, here)
    return here


def start(kind: Kind, here: Path, **variables: str) -> "subprocess.Popen[str]":
    command = [*FKP_TRACK, *kind.words, "--backend", "cpu"]
    return subprocess.Popen(
        command, cwd=here, env=headless() | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed(kind: Kind, times: int, inputs: Path, folder: Path, draw: random.Random) -> Count:
    """SIGKILL to the whole run, at moments drawn evenly over its length."""
    count = Count(f"SIGKILL at a random moment, {kind.name}")
    began = time.monotonic()
    assert start(kind, fresh(inputs, folder)).wait() == 0
    length_s = time.monotonic() - began
    for _ in range(times):
        here = fresh(inputs, folder)
        process = start(kind, here)
        time.sleep(draw.uniform(0.3, length_s))
        process.kill()
        process.communicate()
        count.note([*losses(kind, here), *losses_of_a_second_run(kind, here)])
        shutil.rmtree(here)
    return count


def filled(kind: Kind, sizes: int, inputs: Path, folder: Path) -> Count:
    """A disk that has room for ever more of the outputs."""
    count = Count(f"disk full after each {sizes}th of the outputs, {kind.name}")
    whole = fresh(inputs, folder)
    assert start(kind, whole).wait() == 0
    needed = sum((whole / name).stat().st_size for name in kind.made)
    for step in range(sizes):
        here = fresh(inputs, folder)
        room = max(1, needed * step // sizes) + (here / "a.mp4").stat().st_size
        script = f"mount -t tmpfs -o size={room} none disk && cp a.mp4 disk/ && cd disk && {sys.executable} {__file__}"
        (here / "disk").mkdir()
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
        done = subprocess.run(
            command, cwd=here, env=headless() | {"FKP_ON_SMALL_DISK": "1"}, capture_output=True, text=True, check=False
        )
        count.note([] if done.returncode == 0 else [(done.stdout + done.stderr).strip().rpartition("\n")[2]])
        shutil.rmtree(here)
    return count


def on_small_disk() -> None:
    """The part of `filled` that sees the small disk: one run, which must end in one message."""
    here, process = Path(), start(FILM, Path())
    with_time = 120
    try:
        _, told = process.communicate(timeout=with_time)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit(f"still running after {with_time} s")
    found = losses(FILM, here)
    whole = [name for name in FILM.made if (here / name).exists()]
    if process.returncode == 0 and len(whole) < len(FILM.made):
        found.append("exit code 0 without all outputs")
    if process.returncode != 0 and (whole or process.returncode != 6 or "Traceback" in told):
        found.append(f"exit code {process.returncode} with {whole}: {told[-200:]}")
    sys.exit("; ".join(found) or 0)


def crashed(times: int, inputs: Path, folder: Path, draw: random.Random) -> Count:
    """A worker of a batch that crashes in native code."""
    count = Count("a worker of a batch ends by SIGSEGV")
    for _ in range(times):
        here = fresh(inputs, folder)
        process = start(BATCH, here)
        worker = first_worker(process.pid)
        time.sleep(draw.uniform(0.2, 1.5))
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSEGV)
        process.communicate()
        done = sum((here / name).exists() for name in BATCH.made)
        few = [] if done >= len(BATCH.made) - 2 else [f"only {done} outputs of the other films"]
        count.note([*few, *losses(BATCH, here), *losses_of_a_second_run(BATCH, here)])
        shutil.rmtree(here)
    return count


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t which, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    struct timespec steady;
    int result = real(which, now);
    if (which == CLOCK_REALTIME && real(CLOCK_MONOTONIC, &steady) == 0) {
        unsigned long tenth = steady.tv_sec * 10 + steady.tv_nsec / 100000000;
        now->tv_sec += (long)(tenth * 2654435761u % 800) * 86400 - 400L * 86400;
    }
    return result;
}
"""
"""The time of day, moved ten times a second by up to 400 days."""


def jumped(kind: Kind, times: int, inputs: Path, folder: Path) -> Count:
    """A time of day that jumps back and forth all the time: the points are those of a run with a good clock."""
    count = Count(f"the clock jumps ten times a second, {kind.name}")
    library = folder / "clock.so"
    build = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(build, input=CLOCK, text=True, check=True)
    whole = fresh(inputs, folder)
    assert start(kind, whole).wait() == 0
    for _ in range(times):
        here = fresh(inputs, folder)
        process = start(kind, here, LD_PRELOAD=str(library))
        _, told = process.communicate()
        found = losses(kind, here) if process.returncode == 0 else [f"exit code {process.returncode}: {told[-200:]}"]
        other = [name for name in kind.made if name.endswith(".jsonl") and points(here / name) != points(whole / name)]
        count.note([*found, *(f"{name} has other points" for name in other)])
        shutil.rmtree(here)
    return count


def points(path: Path) -> list[object]:
    """Times and faces of every frame; nothing if the file is missing."""
    lines = lines_of(path) if path.exists() else []
    return [(line["time"], line["faces"]) for line in lines[1:] if isinstance(line, dict)]


TRAINING = """
import sys
from pathlib import Path
from test_train_cli import FitConfig, rebuild, small

print("ready", flush=True)
data, out = map(Path, sys.argv[1:])
for _ in rebuild(small(data, out, fit=FitConfig(steps=30, seed=4), resume=out.exists())):
    pass
"""


def trained(kills: int, folder: Path, draw: random.Random) -> Count:
    """SIGKILL to a training of tiny networks again and again; `resume` ends with the bytes of a run without a kill."""
    count = Count("SIGKILL at a random moment, training")
    if not kills:
        return count
    from faces import write_training_csv

    data = write_training_csv(folder / "training.csv", "A" * 16 + "B" * 10 + "C" * 12)
    began, process = train(data, folder / "whole")
    assert process.wait() == 0
    length_s, out = time.monotonic() - began, folder / "killed-0"
    weights = list((folder / "whole").glob("*.onnx"))
    while count.tried < kills:
        _, process = train(data, out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0, length_s / 2))
        process.kill()
        process.wait()
        if (out / "report.html").exists() and not list(out.glob("*.safetensors")):
            out = folder / f"killed-{count.tried}"
        elif process.returncode == -signal.SIGKILL:
            early = [path.name for path in weights if (out / path.name).exists() and is_other(out, path)]
            count.note([f"{name} before its end" for name in early])
        else:
            count.note([f"--resume failed with exit code {process.returncode}"])
            return count
    assert train(data, out)[1].wait() == 0
    for each in folder.glob("killed-*"):
        count.lost += [f"{path.name} is not that of a run without a kill" for path in weights if is_other(each, path)]
    return count


def train(data: Path, out: Path) -> "tuple[float, subprocess.Popen[str]]":
    """A training that has begun to read its data, and since when."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path[:1], os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, data, out],
        env=variables | {"XDG_CACHE_HOME": str(data.parent / "cache")}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return time.monotonic(), process


def is_other(folder: Path, weights: Path) -> bool:
    """Whether the folder has no such weights, or not byte for byte the same."""
    ours = folder / weights.name
    return not ours.exists() or ours.read_bytes() != weights.read_bytes()


def killed_by_ray(times: int, inputs: Path, folder: Path, draw: random.Random) -> Count:
    """SIGKILL to a worker of Ray on this machine: the film is begun again and the batch ends well."""
    count = Count("SIGKILL at a random moment, a worker of Ray")
    if not times:
        return count
    from ray_cluster import free_port, started

    with ExitStack() as stack:
        address = f"127.0.0.1:{(port := free_port())}"
        node = started(stack, "--head", "--port", str(port), "--include-dashboard", "false")
        kind = BATCH._replace(words=("films", "--out", "made", "--keypoints", "points", "--ray", address))
        for _ in range(times):
            here = fresh(inputs, folder)
            process = start(kind, here)
            worker = worker_of_ray(node.pid)
            time.sleep(draw.uniform(0, 1.5))
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            said, told = process.communicate()
            failed = [f"exit code {process.returncode}: {told[-200:]}"] if process.returncode else []
            count.note(
                [
                    *failed,
                    *(["stdout is not empty"] if said else []),
                    *losses(kind, here),
                    *losses_of_a_second_run(kind, here),
                ]
            )
            shutil.rmtree(here)
    return count


def worker_of_ray(session: int) -> int:
    """The process of this session in which Ray tracks a film."""
    while True:
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                number = int(command.parent.name)
                if command.read_bytes().startswith(b"ray::_attempt") and os.getsid(number) == session:
                    return number
        time.sleep(0.05)


def first_worker(parent: int) -> int:
    """The first worker of a batch, once it tracks."""
    while True:
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                spawned = "spawn_main" in (status.parent / "cmdline").read_text()
                if spawned and f"PPid:\t{parent}\n" in text:
                    return int(status.parent.name)
        time.sleep(0.05)


def losses(kind: Kind, here: Path) -> list[str]:
    """Outputs that have their final names and are not whole, and partial ones that cannot be used."""
    told = [f"{name} is not whole" for name in kind.made if (here / name).exists() and not is_whole(kind, here / name)]
    for partial in here.rglob("*.partial-*"):
        usable = plays if partial.suffix == ".mp4" else has_whole_lines
        if partial.stat().st_size > 100_000 and not usable(partial):
            told.append(f"{partial.name} cannot be used")
    return told


def losses_of_a_second_run(kind: Kind, here: Path) -> list[str]:
    """What the same command does not make afterwards, and what stays behind."""
    process = start(kind, here)
    _, told = process.communicate()
    if process.returncode != 0:
        return [f"the next run failed: {told.strip().rpartition(chr(10))[2]}"]
    missing = [f"{name} is missing or not whole" for name in kind.made if not is_whole(kind, here / name)]
    return missing + [f"{path.name} is left" for path in here.rglob("*.partial-*")]


def is_whole(kind: Kind, path: Path) -> bool:
    """Whether an output holds every frame."""
    if path.suffix == ".mp4":
        return path.exists() and frames_of(path) == kind.frames
    return path.exists() and len(lines_of(path)) == 1 + kind.frames


def plays(path: Path) -> bool:
    return frames_of(path) > 0


def frames_of(path: Path) -> int:
    try:
        with open_film(path) as film:
            return sum(1 for _ in film)
    except SourceError:
        return 0


def has_whole_lines(path: Path) -> bool:
    return all(isinstance(each, dict) for each in lines_of(path))


def lines_of(path: Path) -> list[object]:
    return list(_parsed(path.read_text().splitlines()))


def _parsed(lines: list[str]) -> Iterator[object]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            yield None


if __name__ == "__main__":
    if "FKP_ON_SMALL_DISK" in os.environ:
        on_small_disk()
    typer.run(main)
