"""`fkp-bench --gpu`: from a frame in this computer's memory to its keypoints there, by every runtime for GPUs.

640x480, 1 to 8 faces, no detector: what a followed face costs.  Latencies are percentiles in us of wall time with the
warm-up left out; a runtime that refuses this machine is reported with its reason.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from time import perf_counter
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tracker.backends.contract import Backend, Looks
from tracker.backends.registry import open_backend
from tracker.backends.settings import Precision, Settings
from tracker.backends.tensorrt.guard import PACKAGES, Flavour, find_gpu, import_package
from tracker.backends.weights import Weights
from tracker.errors import BackendUnavailable
from tracker.geometry import cut
from tracker.sources.synthetic import astronaut
from tracker.support.timing import percentiles_ms
from tracker.types import Region

FACES = (1, 2, 4, 8)
CROWD = 1024
"""Crops at once for throughput."""
REPEATS = 1000


def measure(weights: Weights) -> dict[str, Any]:
    """Everything that `fkp-bench --gpu --json` prints.  Raises BackendUnavailable where there is no GPU."""
    find_gpu("tensorrt")
    results: dict[str, Any] = {}
    for name in (*PACKAGES, "cuda"):
        for precision in get_args(Precision):
            try:
                results[f"{name} {precision}"] = _of_runtime(name, weights, precision)
            except BackendUnavailable as refusal:
                results[f"{name} {precision}"] = {"refused": str(refusal)}
    return results


def _of_runtime(name: str, weights: Weights, precision: Precision) -> dict[str, Any]:
    with closing(open_backend(name, weights, Settings(precision=precision))) as backend:
        result: dict[str, Any] = {"backend": backend.name, "frame to keypoints, us": {}}
        for count in FACES:
            result["frame to keypoints, us"][str(count)] = latencies_us(_looking(backend, count))
        if isinstance(backend, Looks):
            result["crops and network alone, us"] = {str(count): _graph_us(backend, count) for count in FACES}
    with closing(_for_crowds(name, weights, precision)) as backend:
        result["faces/s"] = round(throughput(backend, cut(*in_frame(8)), CROWD))
    return result


def _looking(backend: Backend, count: int) -> Callable[[], object]:
    image, regions = in_frame(count)
    if isinstance(backend, Looks):
        return lambda: backend.look(image, regions)
    return lambda: backend(cut(image, regions))


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


def _graph_us(backend: Any, count: int) -> float:
    """One replay among many that follow each other without a stop."""
    start = perf_counter()
    backend.repeat(count, REPEATS)
    return round((perf_counter() - start) / REPEATS * 1e6, 1)


def _for_crowds(name: str, weights: Weights, precision: Precision) -> Backend:
    """The runtime with a batch of its own for many faces, where batches are fixed."""
    if name == "cuda":
        return open_backend(name, weights, Settings(precision=precision))
    from tracker.backends.tensorrt.build import Recipe
    from tracker.backends.tensorrt.cache import NotKept
    from tracker.backends.tensorrt.runtime import open_runtime

    flavour: Flavour = "tensorrt" if name == "tensorrt" else "tensorrt-rtx"
    gpu = find_gpu(flavour)
    recipe = Recipe(import_package(flavour), flavour, weights.at(precision), precision, gpu, (CROWD,))
    return open_runtime(recipe, gpu, NotKept(), name)


def throughput(backend: Backend, crops: NDArray[np.uint8], count: int, repeats: int = 20) -> float:
    """Faces per second, `count` at once, from this computer's memory and back."""
    crowd = np.resize(crops, (count, *crops.shape[1:]))
    backend(crowd)
    start = perf_counter()
    for _ in range(repeats):
        backend(crowd)
    return count * repeats / (perf_counter() - start)


def print_runtimes(results: dict[str, Any]) -> None:
    """The results for a person, on stdout."""
    from rich.console import Console
    from rich.table import Table

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
