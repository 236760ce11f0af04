"""A batch on a real Ray cluster of two nodes on this machine, one of which is killed half way.

    pip install '.[ray]'
    python tests/manual/ray_cluster.py

Films come by shared path; keypoints go to a shared path and, as CSV, to a URL.  Checked is that the killed node had a
film under way, that this film was begun again elsewhere, that in the end every film is there, whole, once, and that
the same command then finds nothing left to do.  What `fkp-track` says is printed.  Needs POSIX.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracker.batch.ledger import NAME
from tracker.batch.work import STAGING
from tracker.sources.synthetic import astronaut

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from films import write_film

FILMS, FRAMES = 6, 600
TEN_MINUTES_S = 600
NODE = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", "--disable-usage-stats"]
PATIENCE = {"RAY_health_check_timeout_ms": "60000", "RAY_agent_register_timeout_ms": "300000"}
"""A busy machine shall not be taken for a dead node."""


def main() -> None:
    """Run it.  AssertionError where the batch does not keep its word."""
    with tempfile.TemporaryDirectory(prefix="fkp-ray-") as folder, ExitStack() as stack:
        here = Path(folder)
        port = free_port()
        address = f"127.0.0.1:{port}"
        started(stack, "--head", "--port", str(port), "--include-dashboard", "false")
        second = started(stack, "--address", address)
        for number in range(FILMS):
            write_film(here / f"{number}.mp4", portraits(), rate=25)
        batch = [sys.executable, "-m", "tracker.commands.track", "*.mp4", "--ray", address, "--keypoints", "points"]
        batch += ["--keypoints", f"{here.as_uri()}/tables/{{}}.csv"]
        lose_a_node(batch, here, lambda: kill(second))
        again = subprocess.run(batch, cwd=here, stderr=subprocess.PIPE, text=True, check=True).stderr
        print(again)
        assert f"{FILMS} films: {FILMS} done before" in again
    print("it held")


def started(stack: ExitStack, *words: str) -> "subprocess.Popen[str]":
    """A node of one processor, in a session of its own; killed at the end, if nothing has killed it before."""
    command = [*NODE, "--node-ip-address", "127.0.0.1", *words]
    while True:  # Ray gives a node half a minute to start, which on a busy machine takes a few attempts
        process = subprocess.Popen(
            command, env=os.environ | PATIENCE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        stack.callback(kill, process)
        assert process.stdout is not None
        if any("Ray runtime started" in line for line in process.stdout):
            return process


def kill(process: "subprocess.Popen[str]") -> None:
    """The whole node at once, as a power cut does: with `--block` its processes die with the first."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def portraits() -> Iterator[NDArray[np.uint8]]:
    image = astronaut().image
    return (np.roll(image, frame // 10, axis=1) for frame in range(FRAMES))


def lose_a_node(batch: list[str], here: Path, kill_node: Callable[[], object]) -> None:
    """Run the batch, kill the node once both work on a film, and look at what has come of it."""
    stages: set[str] = set()
    with subprocess.Popen(batch, cwd=here) as process:
        until(lambda: len(under_way(here)) == 2 or process.poll() is not None)
        doomed = under_way(here)
        assert len(doomed) == 2, "the two nodes never worked at the same time"
        print(f"both nodes work: {doomed}; one is killed now")
        kill_node()
        until(lambda: stages.update(under_way(here)) or process.poll() is not None)
    assert process.returncode == 0, process.returncode
    entries = [json.loads(line) for line in (here / "points" / NAME).read_text().splitlines()]
    assert Counter(entry["film"] for entry in entries) == {f"{number}.mp4": 1 for number in range(FILMS)}, entries
    assert {entry["status"] for entry in entries} == {"done"}
    for number in range(FILMS):
        assert len((here / "points" / f"{number}.jsonl").read_text().splitlines()) == 1 + FRAMES
        assert len((here / "tables" / f"{number}.csv").read_text().splitlines()) == 1 + FRAMES
    made = {path.name for path in (here / "points").iterdir()}
    assert made == {NAME, *(f"{number}.jsonl" for number in range(FILMS))}, made
    print(f"{FILMS} films in {len(stages | set(doomed))} attempts")
    assert len(stages | set(doomed)) > FILMS


def under_way(here: Path) -> list[str]:
    """The attempts that have begun to write."""
    return sorted(path.parent.name for path in (here / "points" / STAGING).glob("*/*.partial*"))


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + TEN_MINUTES_S
    while not true():
        assert time.monotonic() < end, "ten minutes were not enough"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
