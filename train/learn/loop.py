"""The training loop: draws augmented batches, steps the optimiser, keeps an averaged copy of the weights.

Faces, augmentation and network live on one device, CPU or CUDA; convolutions run in bfloat16 if the device has it.
A checkpoint holds everything that the next step depends on, so a resumed run continues exactly.
"""

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracker.errors import DataError, SinkError
from tracker.support.atomic import write_whole
from tracker.support.process import undisturbed
from train.learn.augment import Augmentation, Bank, Drawn, draw
from train.learn.losses import LossConfig, loss
from train.learn.model import Net, standardised
from train.learn.muon import Muon
from train.learn.parallel import ALONE, Crew

log = logging.getLogger(__name__)

Part = nn.Module | torch.optim.Optimizer
"""What a checkpoint holds the state of."""

CALMER = Augmentation(calm=0.6, zoom_share=0.05, exposure_share=0.06, occlude_share=0.15)
FINISH_RATE = 0.2
"""Highest learning rate of the last steps, as a share of the others'."""

FRESH_RATE, START_RATE = 1.5e-2, 8e-3
"""Highest learning rate from random weights, and from finished ones."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """One training run."""

    steps: int = 9_000
    batch: tuple[int, ...] = (128,)
    """Faces drawn from each bank per step."""
    learning_rate: float = FRESH_RATE
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    finish: int = 0
    """How many of the last steps refine the result, at a low learning rate and with milder augmentation."""
    finish_batch: tuple[int, ...] = ()
    """Faces drawn from each bank per step during those."""
    weight_decay: float = 0.01
    average: float = 0.998
    """Decay of the exponential moving average of the weights, which is the result of training.  It is smaller at first,
    so that the result of a short run does not contain its random start."""
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    finish_augmentation: Augmentation = CALMER
    loss: LossConfig = field(default_factory=LossConfig)


class Fit:
    """A training run in progress: `net` learns, `averaged` is the result."""

    def __init__(
        self,
        net: Net,
        banks: Sequence[Bank],
        config: FitConfig,
        device: torch.device,
        origin: Mapping[str, object] | None = None,
        crew: Crew = ALONE,
    ) -> None:
        """`origin` says where the banks come from; a resumed run compares it.  A `crew` starts with the same `net`."""
        torch.manual_seed(crew.seed(config.seed))
        self.config, self.device, self._origin, self._crew = config, device, origin, crew
        self.banks = [bank.to(device) for bank in banks]
        self.net = net.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.step_count = 0
        self.seconds = 0.0
        """Time in `run`, including the time before a resume."""
        self._loss_sum = torch.zeros((), device=device)
        self._optimizers = _optimizers(self.net, config)

    @property
    def done(self) -> bool:
        return self.step_count >= self.config.steps

    def run(self, steps: int, watch: Callable[[int], object] = lambda step: None) -> float:
        """Take up to `steps` more steps and return their mean loss.  A stop signal takes effect after the current step.

        `watch` is called after each step with its number.
        """
        steps = min(steps, self.config.steps - self.step_count)
        self._loss_sum.zero_()
        started = time.perf_counter()
        try:
            for _ in range(steps):
                with undisturbed(self._tell_stop):
                    self._set_rate()
                    self._step()
                    self.step_count += 1
                watch(self.step_count)
            return float(self._loss_sum) / max(steps, 1)
        finally:
            self.seconds += time.perf_counter() - started

    def is_finite(self) -> bool:
        """Whether learning has not diverged."""
        weights = (*self.net.parameters(), *self.averaged.parameters())
        return all(bool(torch.isfinite(weight).all()) for weight in weights)

    def _tell_stop(self) -> None:
        log.info("stopping: writing step %d", self.step_count + 1)

    def save(self, path: Path) -> None:
        """Write a checkpoint.  Raises SinkError if it cannot be written."""
        write_checkpoint(path, self._state(), self._settings(), self.seconds)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.  Raises DataError if the file is none, or if its run had other settings."""
        state, seconds = read_checkpoint(path, self._settings())
        try:
            self._load_state(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{path} is not a checkpoint of fkp-train ({error}); start again with --overwrite"
            ) from error
        if not self._crew.leads:  # the checkpoint holds only the first process's random state
            torch.manual_seed(self._crew.seed(self.config.seed) + self.step_count)
        self.seconds = seconds

    def _settings(self) -> dict[str, Any]:
        """What a resumed run must share with the stopped one, as JSON returns it."""
        faces = {"faces": [len(bank.images) for bank in self.banks], "origin": self._origin}
        place = {"device": self.device.type}
        settings: dict[str, Any] = json.loads(json.dumps(faces | place | asdict(self.config) | asdict(self.net.config)))
        return settings

    @property
    def _finishing(self) -> bool:
        return self.step_count >= self.config.steps - self.config.finish

    def _set_rate(self) -> None:
        highest, warm_up = self.config.learning_rate, self.config.warm_up
        first, count = 0, self.config.steps - self.config.finish
        if self._finishing:
            first, count, highest = count, self.config.finish, highest * FINISH_RATE
        done = (self.step_count - first) / count
        rising = min(1.0, (done + 1e-6) / max(warm_up, 1e-6))
        falling = 0.5 * (1 + math.cos(math.pi * max(0.0, done - warm_up) / (1 - warm_up)))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = highest * min(rising, falling)

    def _decay(self) -> float:
        """Decay of the average in this step: it covers a tenth of the steps so far, until it reaches `average`."""
        return min(self.config.average, (1 + self.step_count) / (10 + self.step_count))

    def _step(self) -> None:
        with torch.no_grad():
            batch, augmentation = self.config.batch, self.config.augmentation
            if self._finishing:
                batch, augmentation = self.config.finish_batch or batch, self.config.finish_augmentation
            shares = self._crew.share(batch)
            drawn = [draw(bank, count, augmentation) for bank, count in zip(self.banks, shares, strict=True)]
            wanted = Drawn(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
            crops = standardised(wanted.crops).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bfloat16(self.device)):
            logits, deepest = self.net.heat(crops)
        points, sigma = self.net.read(logits, deepest)
        value = loss(points, sigma, logits, self.net.axis, wanted, self.config.loss)
        self.net.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        self._crew.average(self.net.parameters())
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0, foreach=True)
        for optimizer in self._optimizers:
            optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.net.parameters()), 1 - self._decay())
            self._loss_sum += value.detach()

    @property
    def _parts(self) -> dict[str, Part]:
        matrices, others = self._optimizers
        return {"net": self.net, "averaged": self.averaged, "muon": matrices, "adamw": others}

    def _state(self) -> dict[str, Tensor]:
        """Everything the next step depends on, as named tensors."""
        state = state_of(self._parts) | {"step_count": torch.tensor(self.step_count)}
        state["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _load_state(self, state: dict[str, Tensor]) -> None:
        load_state(self._parts, state)
        self.step_count = int(state["step_count"])
        torch.set_rng_state(state["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random.cuda"], self.device)


def state_of(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Everything that networks and optimisers hold, as named tensors."""
    held = {
        name: part.state_dict()
        if isinstance(part, nn.Module)
        else {f"{i}.{moment}": x for i, each in part.state_dict()["state"].items() for moment, x in each.items()}
        for name, part in parts.items()
    }
    return {f"{name}.{inner}": tensor for name, state in held.items() for inner, tensor in state.items()}


def load_state(parts: Mapping[str, Part], state: Mapping[str, Tensor]) -> None:
    """The inverse of `state_of`.  Raises KeyError, RuntimeError or ValueError for the state of something else."""
    for name, part in parts.items():
        own = {inner.removeprefix(f"{name}."): x for inner, x in state.items() if inner.startswith(f"{name}.")}
        if isinstance(part, nn.Module):
            part.load_state_dict(own)
            continue
        moments: dict[int, dict[str, Tensor]] = {}
        for inner, tensor in own.items():
            i, _, moment = inner.partition(".")
            moments.setdefault(int(i), {})[moment] = tensor
        part.load_state_dict({"state": moments, "param_groups": part.state_dict()["param_groups"]})


def write_checkpoint(path: Path, state: Mapping[str, Tensor], settings: Mapping[str, Any], seconds: float) -> None:
    """Write tensors, settings and training time to a safetensors file, atomically.  Raises SinkError."""
    import safetensors.torch  # here, because tests/gpu/prove.py runs the loop on machines without it

    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    notes = {"settings": json.dumps(settings), "seconds": str(seconds), "sha256": _sha256(tensors)}
    try:
        write_whole(path, lambda partial: safetensors.torch.save_file(tensors, partial, notes), overwrite=True)
    except (SinkError, safetensors.SafetensorError) as error:
        raise SinkError(f"cannot write the checkpoint {path} ({error}); make room, then continue") from error


def read_checkpoint(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Tensor], float]:
    """The tensors of a run with these settings, and its seconds.  Raises DataError if the file is anything else."""
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors, notes = {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path} is not a checkpoint ({error}); start again with --overwrite") from error
    if not {"settings", "seconds", "sha256"} <= notes.keys():
        raise DataError(f"{path} is not a checkpoint of fkp-train; start again with --overwrite")
    if notes["sha256"] != _sha256(tensors):
        raise DataError(f"{path} is damaged; start again with --overwrite")
    before = json.loads(notes["settings"])
    differing = [name for name in settings if before.get(name, settings[name]) != settings[name]]
    if differing:
        seen, wanted = ({name: side[name] for name in differing} for side in (before, settings))
        raise DataError(
            f"{path} belongs to a run with {seen}, not {wanted}; resume it with the options it was started with"
        )
    return tensors, float(notes["seconds"])


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode())
        content.update(tensors[name].cpu().numpy().tobytes())
    return content.hexdigest()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes convolutions in bfloat16; otherwise bfloat16 would be slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _optimizers(net: Net, config: FitConfig) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for what mixes channels within the net; AdamW for the first and last layers, depthwise kernels and vectors.

    Biases and scalars do not decay.
    """
    mixing, others, vectors = [], [], []
    for name, weight in net.named_parameters():
        within = not name.startswith(("stem.", "maps.", "doubt."))
        if weight.ndim <= 1:
            vectors.append(weight)
        elif within and weight.ndim == 4 and weight.shape[1] > 1:
            mixing.append(weight)
        else:
            others.append(weight)
    rest = [{"params": others, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return (
        Muon(mixing, lr=config.learning_rate, decay=config.weight_decay),
        torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.99), foreach=True),
    )
