"""`fkp-bench --gpu`: from a frame in memory to its keypoints there, on the processor and by every GPU runtime.

640x480, 1 to 8 faces, no detector: what a followed face costs.  Latencies are percentiles in us of wall time with the
warm-up left out; a runtime that refuses this machine is reported with its reason.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from time import perf_counter
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tracker.backends.choice import open_backend
from tracker.backends.contract import BATCHES, Backend, infer_frame
from tracker.backends.settings import Precision, Settings
from tracker.backends.tensorrt.guard import PACKAGES, find_gpu
from tracker.backends.tensorrt.runtime import TensorRT
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable
from tracker.geometry import cut
from tracker.sources.synthetic import astronaut
from tracker.support.timing import percentiles_ms
from tracker.types import Region

FACES = (1, 2, 4, 8)
CROWD = 1024
"""Crops in one call for throughput; a GPU takes them in its largest batch."""
REPEATS = 1000


def measure(weights: Weights, settings: Settings) -> dict[str, Any]:
    """Everything that `fkp-bench --gpu --json` prints.  Raises BackendUnavailable if there is no GPU."""
    find_gpu(settings.device)
    results: dict[str, Any] = {"cpu": of_runtime("cpu", weights, settings)}
    for name in (*PACKAGES, "cuda"):
        for precision in get_args(Precision):
            try:
                result = of_runtime(name, weights, replace(settings, precision=precision))
            except BackendUnavailable as refusal:
                result = {"refused": str(refusal)}
            results[f"{name} {precision}"] = result
    return results


def of_runtime(name: str, weights: Weights, settings: Settings) -> dict[str, Any]:
    opening = perf_counter()
    with closing(open_backend(name, weights, settings)) as backend:
        result: dict[str, Any] = {"backend": backend.name, "opening, s": round(perf_counter() - opening, 3)}
        result["frame to keypoints, us"] = {
            str(count): latencies_us(partial(infer_frame, backend, *in_frame(count))) for count in FACES
        }
        if isinstance(backend, TensorRT):
            result["crops and network only, us"] = {str(count): _graph_us(backend, count) for count in BATCHES[:3]}
        result["faces/s"] = round(throughput(backend, cut(*in_frame(8)), CROWD))
    return result


def in_frame(count: int) -> tuple[NDArray[np.uint8], list[Region]]:
    """A frame (480, 640, 3) uint8 BGR of the portrait, and `count` regions around its face."""
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, :512] = astronaut().image[:480]
    return image, [Region(220 + i, 110 + i, 140 + i, 0.02 * i) for i in range(count)]


def latencies_us(work: Callable[[], object]) -> dict[str, float]:
    """p50, p95 and p99 of a call."""
    durations_s = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        durations_s.append(perf_counter() - start)
    percentiles = percentiles_ms(durations_s)
    assert percentiles is not None
    return {name: round(value * 1e3, 1) for name, value in asdict(percentiles).items()}


def _graph_us(backend: TensorRT, count: int) -> float:
    """One replay among many that follow each other without a stop."""
    start = perf_counter()
    backend.repeat(count, REPEATS)
    return round((perf_counter() - start) / REPEATS * 1e6, 1)


def throughput(backend: Backend, crops: NDArray[np.uint8], count: int, repeats: int = 20) -> float:
    """Faces per second, `count` at once, from this computer's memory and back."""
    crowd = np.resize(crops, (count, *crops.shape[1:]))
    backend(crowd)
    start = perf_counter()
    for _ in range(repeats):
        backend(crowd)
    return count * repeats / (perf_counter() - start)


def print_runtimes(results: dict[str, Any]) -> None:
    table = Table("runtime", *(f"{count} faces, us p50 p95 p99" for count in FACES), "faces/s")
    refused = []
    for name, result in results.items():
        if "refused" in result:
            refused.append(f"{name}: {result['refused']}")
        else:
            latencies = [" ".join(map(str, each.values())) for each in result["frame to keypoints, us"].values()]
            table.add_row(result["backend"], *latencies, str(result["faces/s"]))
    console = Console()
    console.print(table)
    for reason in refused:
        console.print(f"not measured: {reason}", highlight=False)
