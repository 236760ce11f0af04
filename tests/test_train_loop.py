"""The training loop: it learns, ignores what is not labelled, and resumes as if it had never stopped."""

import json
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch
from faces import cut_faces
from torch import Tensor

from tracker.errors import DataError, SinkError
from tracker.spec import unit_from_crop
from tracker.support.process import undisturbed
from train.learn.augment import Augmentation, Bank, Drawn, draw
from train.learn.loop import Fit, FitConfig, has_bfloat16
from train.learn.losses import LossConfig, loss
from train.learn.model import HEADS, Net, NetConfig

torch.set_num_threads(1)

CPU = torch.device("cpu")
SMALL = NetConfig(stem=8, widths=(8, 12, 16), depths=(1, 1, 1), up_depths=(1, 0))
CONFIG = FitConfig(steps=7, batch=(3, 2), average=0.9)


def bank_of(count: int, size: int = 96) -> Bank:
    """Labelled for every head, all schemes alike."""
    images, points = cut_faces(count, size=size)
    targets = torch.from_numpy(unit_from_crop(points)[:, [keypoint for _, keypoint in HEADS]]).float()
    chances = torch.arange(1, count + 1) / count
    labelled = torch.ones(count, len(HEADS))
    return Bank(torch.from_numpy(images[:, None]), targets, labelled, chances, labelled, targets)


@pytest.fixture(scope="module")
def banks() -> list[Bank]:
    return [bank_of(4), bank_of(3, size=184)]


def fresh(banks: list[Bank], config: FitConfig = CONFIG, *, seed: int = 0) -> Fit:
    torch.manual_seed(seed)
    return Fit(Net(SMALL), banks, config, CPU)


def numbers(fit: Fit) -> list[Tensor]:
    return [*fit.net.parameters(), *fit.averaged.parameters()]


def test_a_resumed_run_ends_exactly_where_one_without_a_break_does(banks: list[Bank], tmp_path: Path) -> None:
    straight = fresh(banks)
    straight.run(3)
    expected_loss = straight.run(100)
    stopped = fresh(banks)
    stopped.run(3)
    stopped.save(tmp_path / "checkpoint.safetensors")
    resumed = fresh(banks, seed=1)
    resumed.resume(tmp_path / "checkpoint.safetensors")
    assert resumed.step_count == 3
    assert resumed.seconds == pytest.approx(stopped.seconds)
    assert resumed.run(100) == expected_loss
    assert resumed.done
    assert all(torch.equal(a, b) for a, b in zip(numbers(resumed), numbers(straight), strict=True))


def test_a_run_never_takes_more_steps_than_it_was_given(banks: list[Bank]) -> None:
    fit = fresh(banks)
    fit.run(5)
    assert (fit.step_count, fit.done) == (5, False)
    fit.run(5)
    assert (fit.step_count, fit.done) == (7, True)
    before = [number.clone() for number in numbers(fit)]
    assert fit.run(5) == 0
    assert all(torch.equal(a, b) for a, b in zip(numbers(fit), before, strict=True))


def test_the_learning_rate_rises_then_falls_to_nothing(banks: list[Bank]) -> None:
    fit = fresh(banks, FitConfig(steps=10, batch=(1, 1), warm_up=0.3))
    rates = []
    while not fit.done:
        fit.run(1)
        rates.append(fit._optimizers[0].param_groups[0]["lr"])
    assert rates[:4] == sorted(rates[:4])
    assert rates[3] == fit.config.learning_rate
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < 0.1 * fit.config.learning_rate


def test_the_last_steps_are_slower_calmer_and_of_other_faces(
    banks: list[Bank], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = FitConfig(steps=12, batch=(1, 2), finish=5, finish_batch=(2, 1))
    fit = fresh(banks, config)
    seen: list[tuple[float, int, float]] = []

    def draw_and_note(bank: Bank, count: int, settings: Augmentation) -> Drawn:
        if bank is fit.banks[0]:
            seen.append((fit._optimizers[0].param_groups[0]["lr"], count, settings.calm))
        return draw(bank, count, settings)

    monkeypatch.setattr("train.learn.loop.draw", draw_and_note)
    fit.run(100)
    rates, counts, calm = zip(*seen, strict=True)
    assert counts == (1,) * 7 + (2,) * 5
    assert calm == (config.augmentation.calm,) * 7 + (config.finish_augmentation.calm,) * 5
    assert max(rates[:7]) > rates[6] < rates[8] > rates[11]
    assert max(rates[7:]) <= 0.2 * config.learning_rate


@pytest.mark.slow
def test_a_handful_of_faces_is_learnt() -> None:
    bank = bank_of(8)
    config = FitConfig(steps=70, batch=(8,), learning_rate=5e-3, augmentation=Augmentation(flip=0, calm=1))
    torch.manual_seed(0)
    fit = Fit(Net(), [bank], config, CPU)
    first = fit.run(10)
    fit.run(50)
    assert fit.run(10) < first / 5
    with torch.no_grad():
        points, _ = fit.averaged(bank.images)
    untrained_px = 18
    assert ((points - bank.targets) * 48).square().mean().sqrt() < untrained_px / 6


def test_a_checkpoint_is_written_in_one_move_and_holds_no_code(
    banks: list[Bank], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fresh(banks)
    fit.run(1)
    path = tmp_path / "checkpoint.safetensors"
    fit.save(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["step_count"]["dtype"] == "I64"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def full(*_: object) -> None:
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(SinkError, match=r"cannot write the checkpoint .*checkpoint.safetensors .*No space.*make room"):
        fit.save(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="sees in /proc what is mapped")
def test_a_resumed_checkpoint_can_be_replaced(banks: list[Bank], tmp_path: Path) -> None:
    """Windows replaces no file that is mapped into memory."""
    fit = fresh(banks)
    fit.run(1)
    fit.save(tmp_path / "checkpoint.safetensors")
    again = fresh(banks)
    again.resume(tmp_path / "checkpoint.safetensors")
    assert "checkpoint.safetensors" not in Path("/proc/self/maps").read_text()
    assert again.step_count == 1


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (FitConfig(steps=8, batch=(3, 2), average=0.9), r"\{'steps': 7\}, not \{'steps': 8\}"),
        (FitConfig(steps=7, batch=(3, 2), average=0.9, seed=5), "seed"),
        (FitConfig(steps=7, batch=(3, 2), average=0.9, loss=LossConfig(heat=0.2)), "'heat': 0.1.*'heat': 0.2"),
    ],
)
def test_another_run_is_not_resumed(banks: list[Bank], tmp_path: Path, now: FitConfig, message: str) -> None:
    fit = fresh(banks)
    fit.run(1)
    fit.save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(DataError, match=message):
        fresh(banks, now).resume(tmp_path / "checkpoint.safetensors")


def test_a_run_on_other_labels_of_as_many_faces_is_not_resumed(banks: list[Bank], tmp_path: Path) -> None:
    fit = Fit(Net(SMALL), banks, CONFIG, CPU, {"faces": "ab12"})
    fit.run(1)
    fit.save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(DataError, match=r"'ab12'.*'cd34'"):
        Fit(Net(SMALL), banks, CONFIG, CPU, {"faces": "cd34"}).resume(tmp_path / "checkpoint.safetensors")


def test_a_run_on_other_faces_is_not_resumed(banks: list[Bank], tmp_path: Path) -> None:
    fit = fresh(banks)
    fit.run(1)
    fit.save(tmp_path / "checkpoint.safetensors")
    other = fresh([bank_of(5), banks[1]])
    with pytest.raises(DataError, match=r"\{'faces': \[4, 3\]\}, not \{'faces': \[5, 3\]\}"):
        other.resume(tmp_path / "checkpoint.safetensors")


def test_what_is_no_checkpoint_is_refused(banks: list[Bank], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half a checkpoint")
    with pytest.raises(DataError, match="is not a checkpoint"):
        fresh(banks).resume(path)


def test_a_stop_waits_for_the_end_of_a_step() -> None:
    done = []

    def step() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the step")

    others = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program run by another test leaves its own
    try:
        with pytest.raises(KeyboardInterrupt):
            step()
        assert done
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, others)


def answers(net: Net) -> tuple[Tensor, Tensor, Tensor]:
    """Points, sigma and logits of two random maps, ready for gradients."""
    torch.manual_seed(0)
    logits = torch.randn(2, 34, 24, 24, requires_grad=True)
    return *net.read(logits, torch.zeros(2, 96)), logits


def wanted(targets: Tensor, weights: Tensor, doubts: Tensor | None = None) -> Drawn:
    """What a batch of crops asks for that shows nothing."""
    return Drawn(torch.empty(0), targets, weights, weights if doubts is None else doubts, targets)


def test_targets_without_weight_do_not_matter() -> None:
    net = Net()
    points, sigma, logits = answers(net)
    targets, weights = torch.zeros(2, 34, 2), torch.ones(2, 34)
    weights[0, 3:] = 0
    moved = torch.where(weights[..., None] > 0, targets, 0.7)
    values = [loss(points, sigma, logits, net.axis, wanted(t, weights), LossConfig()) for t in (targets, moved)]
    assert values[0] == values[1]
    values[1].backward()
    assert not logits.grad[0, 3:].any()
    assert logits.grad[0, :3].any()


def test_a_batch_without_any_label_gives_no_loss_and_no_nan() -> None:
    net = Net()
    points, sigma, logits = answers(net)
    nothing = torch.zeros(2, 34)
    assert loss(points, sigma, logits, net.axis, wanted(torch.zeros(2, 34, 2), nothing), LossConfig()) == 0


def test_sigma_learns_the_size_of_the_error_without_moving_points() -> None:
    net, config = Net(), LossConfig(heat=0, sigma=1)
    points = torch.zeros(1, 34, 2, requires_grad=True)
    targets = torch.full((1, 34, 2), 0.05)
    tried = [torch.full((1, 34), s) for s in (0.02, 0.05, 0.12)]
    maps, all_of = torch.zeros(1, 34, 24, 24), torch.ones(1, 34)
    values = [loss(points, s, maps, net.axis, wanted(targets, all_of), config) for s in tried]
    assert values[1] < min(values[0], values[2])
    gradients = [torch.autograd.grad(value, points)[0] for value in values]
    assert torch.equal(gradients[0], gradients[2])


def test_without_a_face_sigma_is_taught_to_be_half_a_crop_wide() -> None:
    net, config, tried = Net(), LossConfig(), (0.1, 0.5, 2.0)
    points, maps, nothing = torch.zeros(1, 34, 2, requires_grad=True), torch.zeros(1, 34, 24, 24), torch.zeros(1, 34)
    values = [
        loss(points, torch.full((1, 34), s), maps, net.axis, wanted(points.detach(), nothing, nothing - 1), config)
        for s in tried
    ]
    assert values[1] < min(values[0], values[2])
    assert not torch.autograd.grad(values[0], points)[0].any()


def test_a_hidden_point_teaches_sigma_fully_and_the_point_a_little() -> None:
    net, config = Net(), LossConfig(heat=0, sigma=1)
    points, maps = torch.zeros(1, 34, 2, requires_grad=True), torch.zeros(1, 34, 24, 24)
    targets, weights, doubts = torch.full((1, 34, 2), 0.3), torch.ones(1, 34), torch.ones(1, 34)
    weights[0, 3] = 0.4
    sigma = torch.full((1, 34), 0.02, requires_grad=True)
    value = loss(points, sigma, maps, net.axis, wanted(targets, weights, doubts), config)
    of_points, of_sigma = torch.autograd.grad(value, (points, sigma))
    assert of_points[0, 3, 0] == pytest.approx(0.4 * of_points[0, 4, 0])
    assert of_sigma[0, 3] == pytest.approx(of_sigma[0, 4])


@pytest.mark.parametrize("hardware", [True, False])
def test_bfloat16_is_taken_on_a_gpu_whose_hardware_has_it(hardware: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says yes for emulation too, which is slower than float32."""

    def supported(including_emulation: bool = True) -> bool:
        return hardware or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert has_bfloat16(torch.device("cuda")) is hardware
