"""The programs with `--backend tensorrt-rtx`, from the frame to the keypoints, without a GPU: the driver and NVIDIA's
package are stand-ins (tests/standin), everything between them is ours.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from programs import BENCH, TRACK, run_code

from tracker.sources.synthetic import astronaut

pytestmark = pytest.mark.slow

STANDINS = Path(__file__).with_name("standin")
DRIVER = "libcuda.so.1"
COMPILED = "tensorrt-rtx-any-RTX"


@pytest.fixture
def fkp_track(
    stand_in_driver: Callable[..., Path], tmp_path: Path
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The program on ten pictures of one face, in an environment with a GPU."""
    libraries = stand_in_driver()
    (tmp_path / "faces").mkdir()
    for i in range(10):
        cv2.imwrite(str(tmp_path / "faces" / f"{i}.png"), astronaut().image)
    found = f"import ctypes, sys; sys.path.insert(0, {str(STANDINS)!r}); ctypes.CDLL({str(libraries / DRIVER)!r})\n"

    def run(*words: str, program: str = TRACK, **environment: str) -> "subprocess.CompletedProcess[str]":
        environment |= {"XDG_CACHE_HOME": str(tmp_path)}
        return run_code(found + program, "fkp", *words, cwd=tmp_path, **environment)

    return run


WORDS = ("faces", "--keypoints", "k.jsonl", "--overwrite", "--backend")


def keypoints(folder: Path) -> np.ndarray:
    lines = (folder / "k.jsonl").read_text().splitlines()[1:]
    return np.array([json.loads(line)["faces"][0]["points"] for line in lines])


def test_the_first_start_compiles_the_second_does_not_and_both_answer_as_the_processor(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    assert fkp_track(*WORDS, "cpu").returncode == 0
    wanted = keypoints(tmp_path)
    first = fkp_track(*WORDS, "tensorrt-rtx")
    assert first.returncode == 0, first.stderr
    assert "builds an engine" in first.stderr
    np.testing.assert_allclose(keypoints(tmp_path), wanted, atol=0.1)
    cached = sorted(path.name.partition("-")[2] for path in tmp_path.glob("fkp/compiled/*.compiled"))
    assert cached == [f"fp32-{COMPILED}-kernels-Card.compiled", f"fp32-{COMPILED}.compiled"]
    second = fkp_track(*WORDS, "tensorrt-rtx")
    assert "builds an engine" not in second.stderr
    assert "compiles its kernels" not in second.stderr
    assert "backend tensorrt-rtx 1.7.stand-in fp32, Card" in second.stderr


def test_the_doctor_compiles_nothing(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    told = " ".join(fkp_track("--doctor").stdout.split())
    assert "tensorrt-rtx 1.7.stand-in fp32, Card; the first start compiles the network, once" in told
    assert not list(tmp_path.glob("fkp/compiled/*.compiled"))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"WRONG_PX": "0.03"},
            "answers wrongly: 0.03 px of the crop from the processor for a face, expected 0.02",
        ),
        ({"WRONG_PX": "nan"}, "answers wrongly: nan px"),
        ({"NO_CONTEXT": "1"}, "TensorRT gives no execution context: out of memory on the stand-in"),
        ({"LOSE_AT": "1"}, "does not run here (tensorrt-rtx 1.7.stand-in fp32, Card failed (CUDA's"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_gpu_that_does_not_answer_rightly_is_refused_and_auto_takes_the_processor(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"],
    tmp_path: Path,
    environment: dict[str, str],
    said: str,
) -> None:
    named = fkp_track(*WORDS, "tensorrt-rtx", **environment)
    assert named.returncode == 5
    assert said in named.stderr.splitlines()[-1]
    auto = fkp_track(*WORDS, "auto", **environment)
    assert auto.returncode == 0, auto.stderr
    assert said in auto.stderr
    assert "backend onnxruntime-cpu" in auto.stderr
    assert len(keypoints(tmp_path)) == 10


def test_a_gpu_that_is_lost_in_mid_run_costs_auto_one_message_and_the_run_by_name_its_end(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    auto = fkp_track(*WORDS, "auto", LOSE_AT="8")
    assert auto.returncode == 0, auto.stderr
    assert auto.stderr.count("continuing with onnxruntime-cpu") == 1
    assert len(keypoints(tmp_path)) == 10
    named = fkp_track(*WORDS, "tensorrt-rtx", LOSE_AT="8")
    assert named.returncode == 5
    assert "Traceback" not in named.stderr
    assert named.stderr.splitlines()[-1].endswith("--backend auto would continue on the processor")


def test_precision_cache_and_device_reach_the_runtime_from_python_too(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    opening = (
        "from tracker import Tracker; t = Tracker(backend='tensorrt-rtx', precision='fp16', {}); print(t._backend.name)"
    )
    done = fkp_track(program=opening.format("keep_compiled=False"))
    assert done.stdout == "tensorrt-rtx 1.7.stand-in fp16, Card\n"
    assert not list(tmp_path.glob("fkp/compiled/*.compiled"))
    assert "shows 1 GPU, not number 2" in fkp_track(program=opening.format("device=2")).stderr


def test_the_benchmark_shows_the_processor_beside_every_runtime_and_the_reasons_of_those_that_refuse(
    fkp_track: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    short = "import tracker.bench.gpu as gpu; gpu.REPEATS, gpu.CROWD = 11, 10\n"
    done = fkp_track("--gpu", "--json", program=short + BENCH)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cpu"]["backend"].startswith("onnxruntime-cpu")
    for precision in ("fp32", "fp16"):
        assert told[f"tensorrt-rtx {precision}"]["backend"] == f"tensorrt-rtx 1.7.stand-in {precision}, Card"
        assert set(told[f"tensorrt-rtx {precision}"]["crops and network only, us"]) == {"1", "2", "8"}
        assert "is not installed" in told[f"tensorrt {precision}"]["refused"]
        assert "refused" in told[f"cuda {precision}"]
