"""What a GPU can show, in one command: `python tests/gpu/prove.py --out DIR`, at most eight minutes.

Needs torch, NumPy, onnx, OpenCV and pytest; what is installed besides (ONNX Runtime, TensorRT) is proven too.  Writes
`proof.json` and the table `proof.md`.  Fails where a check fails, and with a GPU also where no runtime ran on it.
Without a GPU it shows what a processor can, and the table says so.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracker.backends.settings import Precision, Settings
from tracker.backends.tensorrt.guard import find_gpu
from tracker.backends.weights import load
from tracker.errors import BackendUnavailable

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "tensorrt", "tensorrt-rtx", "onnxruntime-gpu", "onnxruntime", "numpy", "opencv-python-headless")
LIMIT_S = {"path": 150, "runtimes": 200, "training": 120}
"""Each part runs in a process of its own, so that a lost GPU or a crash of one leaves the others."""


def runtimes() -> dict[str, Any]:
    """Every runtime in each precision: opened, which checks its answers, and timed; or why it refuses."""
    from tracker.bench.gpu import of_runtime

    result: dict[str, Any] = {}
    for name in ("tensorrt", "tensorrt-rtx", "cuda", "cpu"):
        for precision in get_args(Precision) if name != "cpu" else ["fp32"]:
            try:
                result[f"{name} {precision}"] = of_runtime(name, load(), Settings(precision=precision))
            except (BackendUnavailable, ImportError) as refusal:
                result[f"{name} {precision}"] = {"refused": str(refusal)}
    return result


def training() -> dict[str, Any]:
    """The loop that makes the weights: it learns, goes on exactly where a checkpoint was, and takes bfloat16 or not."""
    import numpy as np
    import torch

    from tests.faces import cut_faces
    from train.learn.augment import Bank
    from train.learn.loop import Fit, FitConfig, has_bfloat16
    from train.learn.model import HEADS, Net

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = cut_faces(64)
    targets = torch.from_numpy(faces.points / 48 - 1).float()[:, [keypoint for _, keypoint in HEADS]]
    ones = torch.ones(targets.shape[:2])
    chances = torch.arange(1, len(targets) + 1) / len(targets)
    bank = Bank(torch.from_numpy(faces.images[:, None]), targets, ones, chances, ones, targets)
    steps, batch = (200, 128) if device.type == "cuda" else (10, 16)
    torch.set_num_threads(1)

    def fit() -> Fit:
        torch.manual_seed(0)
        return Fit(Net(), [bank], FitConfig(steps=2 * steps, batch=(batch,)), device)

    first = fit()
    start = first.run(5)
    begun = perf_counter()
    end = first.run(steps)
    steps_per_s = steps / (perf_counter() - begun)
    again = fit()
    state = {name: tensor.clone() for name, tensor in first._state().items()}
    losses = [first.run(3)]
    again._load_state(state)  # random numbers too
    losses.append(again.run(3))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)
    assert end < start
    return {
        "device": str(device),
        "bfloat16": has_bfloat16(device),
        "loss": [round(start, 3), round(end, 3)],
        "steps/s": round(steps_per_s, 1),
        "loss after a resume": losses,
    }


def in_process(part: str, out: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What a part says, or how it failed."""
    script = Path(__file__).with_name("path.py") if part == "path" else Path(__file__)
    command = [sys.executable, str(script), *(() if part == "path" else ("--part", part, "--out")), str(out)]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S[part], check=False
        )
        said: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        if done.returncode and not said.get("failed"):
            said["failed"] = {part: done.stderr[-2000:] or f"exit code {done.returncode}"}
    except subprocess.TimeoutExpired:
        said = {"failed": {part: f"not finished after {LIMIT_S[part]} s"}}
    return said


def stand_in(folder: Path) -> Path | None:
    """A driver for machines without a GPU (tests/standin); None where it cannot be compiled."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        return None
    source, kernels = ROOT / "tests" / "standin" / "libcuda.cpp", ROOT / "tracker" / "backends" / "tensorrt"
    flags = ["-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", f"-I{kernels}"]
    subprocess.run([compiler, *flags, "-o", folder / "libcuda.so.1", source, "-ldl"], check=True)
    (folder / "libcuda.so.1.answers").write_text("0 13000 1 8 9")
    return folder


def proven(folder: Path) -> dict[str, Any]:
    """Everything, part by part."""
    try:
        gpu, no_gpu = str(find_gpu()), ""
    except BackendUnavailable as refusal:
        gpu, no_gpu = "", str(refusal)
    result: dict[str, Any] = {
        "gpu": gpu or None,
        "not run on a GPU": no_gpu or None,
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "network_sha256": load().sha256,
    }
    driver = {}
    if not gpu:
        place = stand_in(folder)
        driver = {"LD_LIBRARY_PATH": str(place)}
        if place is None:
            result["path"] = {"not run": "no GPU, and no g++ to compile a stand-in for its driver"}
    for part, environment in (("path", driver), ("runtimes", {}), ("training", {})):
        if part not in result:
            result[part] = in_process(part, folder / f"{part}.json", environment)
    return result


def ran_on_gpu(result: dict[str, Any]) -> list[str]:
    """The runtimes that answered on a GPU, torch in place of TensorRT's engine among them."""
    if result["gpu"] is None:
        return []
    named = [name for name, said in result["runtimes"].items() if "backend" in said and not name.startswith("cpu")]
    in_place = ["torch in place of the engine"] if "nothing_stays_behind" in result["path"] else []
    return named + in_place


def failures(result: dict[str, Any]) -> dict[str, str]:
    """Everything that failed, by its name."""
    found: dict[str, str] = {}
    for part in LIMIT_S:
        found |= result[part].get("failed", {})
    if result["gpu"] is not None and not ran_on_gpu(result):
        found["runtimes"] = "there is a GPU, but no runtime ran on it"
    return found


def table(result: dict[str, Any]) -> str:
    """The proof for people, in Markdown."""
    where = result["gpu"] or f"**NOT RUN ON A GPU** ({result['not run on a GPU']}); what follows ran on a processor"
    failed = failures(result)
    rows: list[tuple[str, Any]] = [
        ("outcome", f"{len(failed)} failed" if failed else "nothing failed"),
        ("ran on a GPU", ", ".join(ran_on_gpu(result)) or "nothing"),
    ]
    for part in LIMIT_S:
        hidden = ("failed", "seconds", "gpu", "torch")
        rows += [(f"{part}: {name}", said) for name, said in result[part].items() if name not in hidden]
    rows += [(f"FAILED: {name}", why.strip().splitlines()[-1]) for name, why in failed.items()]
    words = ((name.replace("_", " "), said if isinstance(said, str) else json.dumps(said)) for name, said in rows)
    lines = [f"| {name} | {said.replace('|', '/')} |" for name, said in words]
    head = f"{where}. {result['system']}, " + ", ".join(f"{k} {v}" for k, v in result["packages"].items() if v)
    return "\n".join([head, "", "| check | result |", "|---|---|", *lines, ""])


def prove(out: Path) -> int:
    """Write the proof into a folder; 0 where nothing failed."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = proven(Path(folder))
    (out / "proof.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "proof.md").write_text(table(result))
    print(table(result))
    return int(bool(failures(result)))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


PARTS: dict[str, Callable[[], dict[str, Any]]] = {"runtimes": runtimes, "training": training}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for proof.json and proof.md")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part is None:
        sys.exit(prove(asked.out))
    asked.out.write_text(json.dumps(PARTS[asked.part]()))
