"""The network: its contract, its heads, what it ignores, what it costs."""

import pytest
import torch
from faces import cut_faces
from torch import Tensor, nn

from tracker.spec import KEYPOINTS, mirrored_name
from train.export.onnx import served
from train.learn.distill import TEACHER
from train.learn.model import HEAD_MIRROR, HEADS, Net, NetConfig, mac_count, parameter_count, standardised

torch.set_num_threads(1)

A_HEADS = range(len(KEYPOINTS))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def faces() -> Tensor:
    """(3, 1, 96, 96) uint8."""
    return torch.from_numpy(cut_faces(3).images[:, None])


def test_every_scheme_has_a_head_for_each_point_it_labels() -> None:
    names = {scheme: [KEYPOINTS[k] for s, k in HEADS if s == scheme] for scheme in "ABC"}
    assert names["A"] == names["B"] == list(KEYPOINTS)
    assert names["C"] == ["left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip"]
    assert len(HEADS) == 34


def test_a_mirrored_head_is_the_other_side_of_the_same_scheme() -> None:
    for (scheme, keypoint), mirror in zip(HEADS, HEAD_MIRROR, strict=True):
        assert HEADS[mirror][0] == scheme
        assert KEYPOINTS[HEADS[mirror][1]] == mirrored_name(KEYPOINTS[keypoint])


@pytest.mark.parametrize("config", [NetConfig(), TEACHER], ids=str)
@torch.no_grad()
def test_crops_become_points_and_sigmas_of_every_head(config: NetConfig, faces: Tensor) -> None:
    points, sigma = Net(config).eval()(faces)
    assert (points.shape, sigma.shape) == ((3, 34, 2), (3, 34))
    assert points.dtype == sigma.dtype == torch.float32
    assert (points.abs() < 1).all()
    assert (sigma > 0).all()


@torch.no_grad()
def test_raw_pixels_and_their_floats_give_the_same_answer(net: Net, faces: Tensor) -> None:
    assert torch.equal(net(faces)[0], net(faces.float())[0])


@torch.no_grad()
def test_a_face_is_judged_alone_whatever_else_is_in_the_batch(net: Net, faces: Tensor) -> None:
    torch.testing.assert_close(net(faces)[0][1:2], net(faces[1:2])[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_sharp_map_gives_its_peak_exactly(net: Net) -> None:
    row, column = torch.arange(34) % 24, (torch.arange(34) * 7) % 24
    logits = torch.zeros(1, 34, 24, 24)
    logits[0, torch.arange(34), row, column] = 1e4
    points, _ = net.read(logits, torch.zeros(1, 96))
    assert torch.equal(points[0], torch.stack([net.axis[column], net.axis[row]], 1))


@torch.no_grad()
def test_two_equal_peaks_give_their_middle_and_more_doubt(net: Net) -> None:
    logits = torch.zeros(2, 34, 24, 24)
    logits[:, :, 12, 4] = 1e4
    logits[1, :, 12, 19] = 1e4
    points, sigma = net.read(logits, torch.zeros(2, 96))
    torch.testing.assert_close(points[1, :, 0], torch.zeros(34))
    assert (sigma[1] > 2 * sigma[0]).all()


def test_cells_lie_evenly_from_edge_to_edge(net: Net) -> None:
    torch.testing.assert_close(net.axis, torch.linspace(-23 / 24, 23 / 24, 24))


def test_exposure_and_contrast_do_not_matter(faces: Tensor) -> None:
    normal = standardised(faces)
    torch.testing.assert_close(normal.mean((1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.std((1, 2, 3)), torch.ones(3), atol=0.01, rtol=0)
    torch.testing.assert_close(standardised(faces * 0.5 + 60), normal, atol=0.03, rtol=0)


@torch.no_grad()
def test_a_blank_crop_gives_finite_numbers(net: Net) -> None:
    points, sigma = net(torch.full((1, 1, 96, 96), 255, dtype=torch.uint8))
    assert torch.isfinite(points).all()
    assert torch.isfinite(sigma).all()


@torch.no_grad()
def test_activations_keep_their_size_through_the_untrained_net(net: Net, faces: Tensor) -> None:
    """What SELU and LeCun's initialisation are for; the way up sums two such activations."""
    seen: dict[str, Tensor] = {}
    stages = {f"down {i}": stage for i, stage in enumerate(net.down_blocks)} | {"up": net.up_blocks[0]}
    for name, stage in stages.items():
        stage.register_forward_hook(lambda _module, _input, output, name=name: seen.update({name: output}))
    net(faces)
    assert len(seen) == 4
    for name, activation in seen.items():
        expected = 2 if name == "up" else 1
        assert abs(activation.mean()) < 0.5, name
        assert expected / 2 < activation.var() < expected * 2, name


def test_costs_are_those_counted_by_hand(net: Net) -> None:
    def block(width: int, inner: int, kernel: int) -> tuple[int, int]:  # depthwise, to the inner width and back
        weights = kernel**2 * width + 2 * width * inner
        return weights, weights + width + inner + width  # biases

    layers = [  # (cells, weights, parameters)
        (24 * 24, 64 * 32, 64 * 32 + 32),
        (12 * 12, 4 * 32 * 48, 4 * 32 * 48 + 48),
        (6 * 6, 4 * 48 * 96, 4 * 48 * 96 + 96),
        *[(24 * 24, *block(32, 32, 3))] * 2,  # one on the way down, one on the way up
        *[(12 * 12, *block(48, 64, 5))] * 2,
        *[(6 * 6, *block(96, 128, 5))] * 2,
        (12 * 12, 48 * 32, 48 * 32 + 32),
        (6 * 6, 96 * 48, 96 * 48 + 48),
        (24 * 24, 9 * 32, 9 * 32 + 32),
    ]
    for heads, gains, counted in ((15, 0, served(net, A_HEADS)), (34, 6, net)):
        read = [(24 * 24, 32 * heads, 32 * heads + heads), (1, 96 * heads, 96 * heads + heads)]
        soft_argmax = heads * 24 * 24 * 4
        assert mac_count(counted) == sum(cells * weights for cells, weights, _ in [*layers, *read]) + soft_argmax
        assert parameter_count(counted) == sum(p for *_, p in [*layers, *read]) + heads + gains


def test_the_net_that_ships_is_small(net: Net) -> None:
    shown = served(net, A_HEADS)
    assert mac_count(shown) <= 12e6
    assert parameter_count(shown) <= 350e3


def test_no_batch_statistics(net: Net) -> None:
    assert not any(isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm) for module in net.modules())
