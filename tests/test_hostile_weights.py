"""Networks that are not what their card says: refused with exit code 4 before a frame is read, in bounded memory."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.backends.choice import open_backend
from tracker.backends.settings import Settings
from tracker.backends.weights import CARD_VERSION, CONTRACT, CROP, load
from tracker.core.association import EachAlone, Identity
from tracker.core.landmarks import Locate
from tracker.core.loop import track
from tracker.errors import WeightsError
from tracker.geometry import MEAN_SHAPE
from tracker.sinks.keypoints.record import record_of
from tracker.spec import KEYPOINTS, SIZE
from tracker.types import Box, Detection, Frame, Region

onnx = pytest.importorskip("onnx", reason="builds networks with onnx, which the extra train brings")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

N = len(KEYPOINTS)


def constant(name: str, values: Any, dtype: type = np.float32) -> Any:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def network(
    *,
    points: Any = MEAN_SHAPE,
    sigma: Any = 0.1,
    nodes: list[Any] | None = None,
    more: list[Any] | None = None,
    size: int = SIZE,
    outputs: tuple[str, str] = ("points", "sigma"),
    output_type: int = TensorProto.FLOAT,
    external: str | None = None,
) -> bytes:
    """A network that answers the same for every face: `points` (15, 2) and `sigma` (15,)."""
    inits = [
        constant("p", np.broadcast_to(points, (1, N, 2))),
        constant("s", np.broadcast_to(sigma, (1, N))),
        constant("zero", 0.0),
        *(more or []),
    ]
    if external is not None:
        inits[0].ClearField("raw_data")
        inits[0].data_location = TensorProto.EXTERNAL
        inits[0].external_data.add(key="location", value=external)
    ones = [
        helper.make_node("Cast", ["faces"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["m", "zero"], ["n"]),
        helper.make_node("Squeeze", ["n", "axis"], ["n2"]),
        helper.make_node("Squeeze", ["n2", "axis"], ["n1"]),
        *(nodes or []),
        helper.make_node("Add", ["p", "n2"], ["p32"]),
        helper.make_node("Add", ["s", "n1"], ["s32"]),
        helper.make_node("Cast", ["p32"], [outputs[0]], to=output_type),
        helper.make_node("Cast", ["s32"], [outputs[1]], to=output_type),
    ]
    graph = helper.make_graph(
        ones,
        "hostile",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", 1, size, size])],
        [
            helper.make_tensor_value_info(outputs[0], output_type, ["N", N, 2]),
            helper.make_tensor_value_info(outputs[1], output_type, ["N", N]),
        ],
        [*inits, constant("axis", [2], np.int64)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def written(folder: Path, content: bytes) -> Path:
    """A pair of files whose card vouches for `content`."""
    (folder / "fkp.onnx").write_bytes(content)
    card = {
        "fkp_card": CARD_VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        "keypoints": list(KEYPOINTS),
        "crop": CROP,
        "contract": CONTRACT,
    }
    (folder / "fkp.json").write_text(json.dumps(card))
    return folder


def opened(folder: Path) -> Any:
    return open_backend("cpu", load(folder), Settings())


def test_a_network_in_order_is_run(tmp_path: Path) -> None:
    points, _ = opened(written(tmp_path, network()))(np.zeros((3, 1, SIZE, SIZE), np.uint8))
    np.testing.assert_allclose(points, np.broadcast_to(MEAN_SHAPE, (3, N, 2)), atol=1e-6)


def grown(shape: list[int]) -> dict[str, Any]:
    """A tensor of that shape, made while the network runs."""
    return {
        "nodes": [
            helper.make_node("ConstantOfShape", ["shape"], ["giant"]),
            helper.make_node("ReduceSum", ["giant"], ["all"], keepdims=0),
            helper.make_node("Add", ["all", "s"], ["unused"]),
        ],
        "more": [constant("shape", shape, np.int64)],
    }


def resized(scale: float) -> dict[str, Any]:
    return {
        "nodes": [
            helper.make_node("Resize", ["f", "", "scale"], ["giant"]),
            helper.make_node("ReduceMean", ["giant"], ["all"], keepdims=0),
            helper.make_node("Mul", ["all", "zero"], ["nought"]),
            helper.make_node("Add", ["n2", "nought"], ["unused"]),
        ],
        "more": [constant("scale", [1, 1, scale, scale])],
    }


CUSTOM = {"nodes": [helper.make_node("Backdoor", ["n2"], ["unused"], domain="com.example")]}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"size": 64}, r"faces uint8 \(N, 1, 64, 64\).*expected faces uint8 \(N, 1, 96, 96\)"),
        ({"outputs": ("pts", "sigma")}, r"pts float32.*expected .*points float32"),
        ({"output_type": TensorProto.DOUBLE}, r"points double.*expected .*points float32"),
        ({"points": np.nan}, "not finite"),
        ({"sigma": np.inf}, "not finite"),
        ({"sigma": 0.0}, "not positive"),
        ({"sigma": -0.1}, "not positive"),
        ({"external": "/etc/passwd"}, "which its card does not cover"),
        ({"external": "weights.bin"}, "which its card does not cover"),
        (CUSTOM, "cannot load"),
        (grown([10**12]), "cannot be run|cannot load"),
        (grown([2 * 10**9]), "cannot be run|cannot load"),
        (resized(3000.0), "cannot be run|cannot load"),
    ],
    ids=lambda each: "" if isinstance(each, str) else str(next(iter(each))),
)
def test_a_network_that_is_not_what_its_card_says_is_refused(what: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message) as refused:
        opened(written(tmp_path, network(**what)))
    assert "\n" not in str(refused.value)


def test_a_giant_file_and_a_device_are_refused_unread(tmp_path: Path) -> None:
    folder = written(tmp_path, network())
    with (folder / "fkp.onnx").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(WeightsError, match="1099512 MB, expected a few"):
        load(folder)
    with pytest.raises(WeightsError, match="not a file"):
        load(Path("/dev/zero"))


def nothing_finite(faces: Any) -> tuple[Any, Any]:
    return np.full((len(faces), N, 2), np.nan, np.float32), np.ones((len(faces), N), np.float32)


def no_sigma(faces: Any) -> tuple[Any, Any]:
    return np.tile(MEAN_SHAPE.astype(np.float32), (len(faces), 1, 1)), np.full((len(faces), N), np.inf, np.float32)


@pytest.mark.parametrize("identity", [Identity, EachAlone])
@pytest.mark.parametrize("answer", [nothing_finite, no_sigma])
def test_points_that_are_not_finite_are_no_face_but_stay_covered(
    answer: Callable[..., Any], identity: Callable[[], Any]
) -> None:
    region = Region(100.0, 100.0, 80.0, 0.0)
    found = Detection(Box(70, 70, 130, 130), 0.9, region)
    frames = [Frame(np.zeros((200, 200, 3), np.uint8), index, index / 30) for index in range(4)]
    answer.name = "overflowing"  # type: ignore[attr-defined]
    results = list(track(frames, lambda *_: [found], identity(), Locate(answer), lambda _faces, points, _time: points))
    for each in results:
        assert (each.faces, each.keypoints.shape, each.sigma.shape) == ((), (0, N, 2), (0, N))
        assert each.suspected[-1].region.x == pytest.approx(100, abs=1)
        assert "NaN" not in json.dumps(record_of(each), allow_nan=False)
    assert len(results) == 4
