"""Sigma's last step: made for errors whose true size is known, it finds that size, and the network then says it."""

import numpy as np
import pytest
import torch
from faces import cut_faces
from numpy.typing import NDArray

from train.learn.calibrate import FEWEST, adjusted, point_offsets, sigma_scales
from train.learn.model import HEAD_MIRROR, HEADS, Net, NetConfig
from train.learn.targets import read_by_scheme
from train.metrics import Report, report

torch.set_num_threads(1)

SMALL = NetConfig(stem=4, widths=(4, 6), depths=(0, 0), up_depths=(0,))
FACES = 1500


@pytest.fixture(scope="module")
def claimed() -> NDArray[np.float64]:
    """(34,) how many times too small each output says its sigma is; the same for mirrored outputs."""
    factors = np.exp(np.random.default_rng(1).uniform(-0.5, 0.5, len(HEADS)))
    return np.sqrt(factors * factors[list(HEAD_MIRROR)])


@pytest.fixture(scope="module")
def answers(claimed: NDArray[np.float64]) -> tuple[NDArray[np.floating], ...]:
    """points (N, 34, 2), sigma (N, 34), unit; labels (N, 15, 2) crop px and scheme (N,); normal errors."""
    random = np.random.default_rng(0)
    truth = random.uniform(-0.5, 0.5, (FACES, len(HEADS), 2))
    sigma = random.uniform(0.01, 0.06, (FACES, len(HEADS)))
    scheme = random.integers(0, 3, FACES).astype(np.uint8)
    labels, _ = read_by_scheme(truth, sigma, scheme)
    points = truth + random.normal(size=truth.shape) * sigma[..., None]
    return points, sigma / claimed, labels, scheme


def test_the_true_size_of_normal_errors_is_found(
    answers: tuple[NDArray[np.floating], ...], claimed: NDArray[np.float64]
) -> None:
    np.testing.assert_allclose(sigma_scales(*answers), claimed, rtol=0.12)


def test_a_constant_offset_between_labels_and_points_is_found(answers: tuple[NDArray[np.floating], ...]) -> None:
    points, _, labels, scheme = answers
    put_off = np.random.default_rng(2).uniform(-0.02, 0.02, (len(HEADS), 2))
    put_off = (put_off + put_off[list(HEAD_MIRROR)] * (-1, 1)) / 2
    found = point_offsets(points + put_off, labels, scheme)
    np.testing.assert_allclose(found, -put_off, atol=0.005)
    few = point_offsets(points[:30], labels[:30], scheme[:30])
    assert not few.any()


def reported(
    points: NDArray[np.floating], sigma: NDArray[np.floating], labels: NDArray[np.floating], scheme: NDArray[np.uint8]
) -> Report:
    predicted, doubt = read_by_scheme(points, sigma, scheme)
    return report(predicted, labels, scheme, doubt)


def test_shares_within_sigma_are_as_promised_afterwards(answers: tuple[NDArray[np.floating], ...]) -> None:
    points, sigma, labels, scheme = answers
    after = reported(points, sigma * sigma_scales(*answers), labels, scheme)
    before = reported(*answers)
    for name, keypoints in after.calibration_by_scheme.items():
        for keypoint, (one, two) in keypoints.items():
            assert (one, two) == (pytest.approx(0.683, abs=0.05), pytest.approx(0.954, abs=0.03)), (name, keypoint)
    assert any(abs(one - 0.683) > 0.1 for one, _ in before.calibration_by_scheme["A"].values())


def test_heavy_tails_are_shared_out_between_both_promises() -> None:
    random = np.random.default_rng(0)
    truth = np.zeros((4000, len(HEADS), 2))
    scheme = np.zeros(4000, np.uint8)
    labels, _ = read_by_scheme(truth, truth[..., 0], scheme)
    points = truth + random.standard_t(5, truth.shape) * 0.02
    scales = sigma_scales(points, np.full(truth.shape[:2], 0.02), labels, scheme)
    one, two = (float((np.abs(points[:, 0]) <= k * 0.02 * scales[0]).mean()) for k in (1, 2))
    assert 0.683 < one < 0.733
    assert 0.924 < two < 0.954


def test_outputs_with_too_few_labels_are_left_alone(answers: tuple[NDArray[np.floating], ...]) -> None:
    points, sigma, labels, scheme = answers
    few = np.flatnonzero(scheme == 1)[: FEWEST // 4 - 1]  # two coordinates a label, two mirrored outputs
    kept = np.concatenate([np.flatnonzero(scheme == 0), few])
    scales = sigma_scales(points[kept], sigma[kept], labels[kept], scheme[kept])
    of_a = np.array([name == "A" for name, _ in HEADS])
    assert (scales[~of_a] == 1).all()
    assert (scales[of_a] != 1).any()


def test_rows_without_a_label_do_not_count(answers: tuple[NDArray[np.floating], ...]) -> None:
    points, sigma, labels, scheme = answers
    labels = labels.copy()
    labels[::2, 0] = np.nan
    wild = points.copy()
    wild[::2, [i for i, (_, keypoint) in enumerate(HEADS) if keypoint == 0]] += 9
    assert (sigma_scales(wild, sigma, labels, scheme) == sigma_scales(points, sigma, labels, scheme)).all()


def test_the_moved_net_says_the_same_points_further_on() -> None:
    torch.manual_seed(0)
    net = Net(SMALL).eval()
    offsets = np.random.default_rng(0).uniform(-0.1, 0.1, (len(HEADS), 2))
    crops = torch.from_numpy(cut_faces(3).images[:, None])
    with torch.no_grad():
        points, sigma = net(crops)
        moved_points, moved_sigma = adjusted(net, offsets, np.ones(len(HEADS)))(crops)
        assert torch.equal(net(crops)[0], points)
    torch.testing.assert_close(moved_points, points + torch.from_numpy(offsets).float())
    assert torch.equal(moved_sigma, sigma)


def test_the_scaled_net_multiplies_its_sigma_and_keeps_its_points() -> None:
    torch.manual_seed(0)
    net = Net(SMALL).eval()
    scales = np.linspace(0.5, 2, len(HEADS))
    crops = torch.from_numpy(cut_faces(3).images[:, None])
    with torch.no_grad():
        points, sigma = net(crops)
        scaled_points, scaled_sigma = adjusted(net, np.zeros((len(HEADS), 2)), scales)(crops)
        assert torch.equal(net(crops)[1], sigma)  # the net that goes on learning is left as it was
    assert torch.equal(scaled_points, points)
    torch.testing.assert_close(scaled_sigma, sigma * torch.from_numpy(scales).float())
