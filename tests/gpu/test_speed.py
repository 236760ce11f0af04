"""How fast it is, into the report: nothing here fails for being slow."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
import torch

from tracker.backends.weights import load
from tracker.bench.gpu import FACES, latencies_us, measure
from train.export.onnx import served
from train.learn.augment import Bank
from train.learn.loop import Fit, FitConfig
from train.learn.model import HEADS, Net, mac_count

CROWD = 1024


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    """The architecture that ships; its speed does not depend on its weights."""
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} has no CUDA")
    torch.manual_seed(0)
    return served(Net(), [i for i, (scheme, _) in enumerate(HEADS) if scheme == "A"]).cuda()


def test_our_runtimes(report: dict[str, Any]) -> None:
    report["fkp-bench --gpu"] = measure(load())


@pytest.mark.parametrize("how", ["eager", "compile", "graph"])
def test_torch(how: str, net: torch.nn.Module, report: dict[str, Any]) -> None:
    """The same crops, from the processor's memory and back."""
    results = {}
    for count in FACES:
        run = torch_runner(how, net, count)
        results[str(count)] = latencies_us(run)
    report.setdefault("torch", {})[how] = {"crops to points, us": results, "faces/s": torch_throughput(how, net)}


def torch_runner(how: str, net: torch.nn.Module, count: int) -> Callable[[], object]:
    crops = torch.zeros(count, 1, 96, 96, dtype=torch.uint8).pin_memory()
    resident = crops.cuda()
    network = torch.compile(net) if how == "compile" else net
    with torch.inference_mode():
        for _ in range(3):
            answer = network(resident)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network(crops.cuda(non_blocking=True))[0].cpu()

    if how != "graph":
        return run
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        answer = network(resident)

    def replay() -> torch.Tensor:
        with torch.inference_mode():
            resident.copy_(crops, non_blocking=True)
            graph.replay()
            return answer[0].cpu()

    return replay


def torch_throughput(how: str, net: torch.nn.Module) -> float | None:
    if how == "graph":
        return None
    network = torch.compile(net) if how == "compile" else net
    with torch.inference_mode():
        crops = torch.zeros(CROWD, 1, 96, 96, dtype=torch.uint8, device="cuda")
        for _ in range(5):
            network(crops)
        torch.cuda.synchronize()
        start = perf_counter()
        for _ in range(50):
            network(crops)
        torch.cuda.synchronize()
    return round(50 * CROWD / (perf_counter() - start))


def test_the_roofline(net: torch.nn.Module, report: dict[str, Any]) -> None:
    """What the GPU could do at best: operations and bytes of a batch over the peaks it shows."""
    peaks = {"tflops_fp32": peak_tflops(torch.float32), "tflops_fp16": peak_tflops(torch.float16)}
    peaks["gb_per_s"] = peak_bandwidth()
    operations = 2 * mac_count(net)
    moved = activation_bytes(net)
    report["roofline"] = {
        **{name: round(value, 1) for name, value in peaks.items()},
        "operations per face": operations,
        "bytes per face, every layer's output written and read once, fp32": moved,
        "faces/s at best, by operations in fp32": round(peaks["tflops_fp32"] * 1e12 / operations),
        "faces/s at best, by bytes": round(peaks["gb_per_s"] * 1e9 / moved),
    }


def peak_tflops(dtype: torch.dtype, size: int = 4096) -> float:
    a = torch.randn(size, size, device="cuda", dtype=dtype)
    return 2 * size**3 / seconds_of(lambda: a @ a) / 1e12


def peak_bandwidth(size: int = 2**30) -> float:
    a = torch.empty(size, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2 * size / seconds_of(lambda: b.copy_(a)) / 1e9


def seconds_of(work: Callable[[], object], repeats: int = 20) -> float:
    work()
    torch.cuda.synchronize()
    start = perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (perf_counter() - start) / repeats


def activation_bytes(net: torch.nn.Module) -> int:
    total = 0

    def count(_module: object, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += 2 * 4 * output[0].numel()

    hooks = [module.register_forward_hook(count) for module in net.modules() if not list(module.children())]
    with torch.no_grad():
        net(torch.zeros(1, 1, 96, 96, dtype=torch.uint8, device="cuda"))
    for hook in hooks:
        hook.remove()
    return total


def test_training(net: torch.nn.Module, make_faces: Callable[..., Any], report: dict[str, Any]) -> None:
    """A step of the run that makes the weights, on faces that lie on the GPU, and that it learns."""
    faces = make_faces(64)
    targets = torch.from_numpy(faces.points / 48 - 1).float()[:, [keypoint for _, keypoint in HEADS]]
    weights, chances = torch.ones(len(targets), len(HEADS)), torch.arange(1, len(targets) + 1) / len(targets)
    bank = Bank(torch.from_numpy(faces.images[:, None]), targets, weights, chances)
    fit = Fit(Net(), [bank], FitConfig(steps=400, batch=(128,)), torch.device("cuda"))
    first = fit.run(20)
    before = fit.seconds
    last = fit.run(200)
    rate = 200 / (fit.seconds - before)
    assert last < first / 2
    report["training"] = {"steps/s": round(rate, 1), "minutes for 9000 steps": round(9000 / rate / 60, 1)}
