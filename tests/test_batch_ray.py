"""The way to a Ray cluster; `tests/manual/ray_cluster.py` goes it to the end."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.backends.registry import BackendName
from tracker.batch import ray as cluster
from tracker.batch.plan import Task
from tracker.errors import BackendUnavailable
from tracker.options import Options


@pytest.fixture
def silent() -> Iterator[str]:
    """Where somebody listens who says nothing."""
    pytest.importorskip("ray", reason="needs the extra ray")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("address", ["auto", None])
def test_a_cluster_that_does_not_answer_is_one_message_in_bounded_time(
    address: str | None, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it one that is gone, of which Ray's environment still tells."""
    monkeypatch.setenv("RAY_ADDRESS", silent)
    monkeypatch.setattr(cluster, "ADMISSION_S", 12.0)
    with pytest.raises(BackendUnavailable, match=r"no Ray cluster at .*: no cluster answers within 12 s"):
        next(cluster.on_ray([], cluster.Options(), address or silent, None, lambda _: None))


def test_a_machine_where_nobody_listens_is_not_waited_for(silent: str) -> None:
    host, _, _ = silent.partition(":")
    with socket.socket() as sock:
        sock.bind((host, 0))
        closed = f"{host}:{sock.getsockname()[1]}"
    with pytest.raises(BackendUnavailable, match="refused"):
        next(cluster.on_ray([], cluster.Options(), closed, None, lambda _: None))


@pytest.mark.parametrize(("asked", "there"), [("auto", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_no_gpu_is_taken_that_was_not_reserved(asked: BackendName, there: str, tmp_path: Path) -> None:
    _, options = cluster._absolute(Task(tmp_path / "a.mp4", "a.mp4", ()), Options(backend=asked))
    assert options.backend == there
