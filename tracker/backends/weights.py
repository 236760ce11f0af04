"""The model file and its card: loads them, and verifies that they belong together and fit this tracker.

The card (`fkp.json`) lies beside the network (`fkp.onnx`) and says what it is: sha256, contract, crop geometry, label
convention, training data, metrics, licence.  If it has entries for other forms of the network, for
GPUs and processors, those files lie beside it too.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracker.backends.settings import Precision
from tracker.errors import WeightsError, reason_of
from tracker.geometry import EYE_MIDPOINT, SIDE_IOD
from tracker.spec import KEYPOINTS, SIGNALS, SIZE

log = logging.getLogger(__name__)

CARD_VERSION = 1
LARGEST_BYTES = 2**28
"""Limit of a weights file; ours has half a megabyte."""
EXTERNAL = b"\x0a\x08location"
"""How ONNX writes that a tensor lies in another file: a message whose first field, a string of 8 bytes, says so."""
DEFAULT_DIR = Path(__file__).resolve().parents[2] / "weights"
"""The folder of the weights that ship with the package."""

CONTRACT: dict[str, Any] = {
    "input": {"name": "faces", "dtype": "uint8", "shape": ["N", 1, SIZE, SIZE]},
    "outputs": [
        {"name": "points", "dtype": "float32", "shape": ["N", len(KEYPOINTS), 2], "space": "unit"},
        {"name": "sigma", "dtype": "float32", "shape": ["N", len(KEYPOINTS)], "space": "unit"},
    ],
}
"""The network's input, and the outputs that every network has; the card must say the same."""

SIGNAL_OUTPUTS: list[dict[str, Any]] = [
    {"name": name, "dtype": "float32", "shape": ["N", len(SIGNALS)], "signals": list(SIGNALS)}
    for name in ("signals", "signals_sigma")
]
"""Further outputs of networks that tell signals."""

WITH_SIGNALS: dict[str, Any] = {**CONTRACT, "outputs": [*CONTRACT["outputs"], *SIGNAL_OUTPUTS]}
"""What the card says then."""

CROP: dict[str, Any] = {"side_iod": SIDE_IOD, "eye_midpoint_unit": list(EYE_MIDPOINT)}
"""The framing that the network was trained with; a card with another one belongs to another tracker."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A verified network with its card."""

    path: Path
    """The ONNX file."""
    onnx: bytes
    sha256: str
    card: dict[str, Any]

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Name of each of the network's outputs -> its shape for one face."""
        return {each["name"]: tuple(each["shape"][1:]) for each in self.card["contract"]["outputs"]}

    def noted(self, *keys: str) -> dict[str, Any]:
        """The card's value under these nested keys; empty if there is none."""
        entry: Any = self.card
        for key in keys:
            entry = entry.get(key) if isinstance(entry, dict) else None
        return entry if isinstance(entry, dict) else {}

    def at(self, precision: Precision) -> bytes:
        """The network as ONNX in this precision.

        The fp16 form is a separate file beside the first.  Raises WeightsError if the card lists none, or if the file
        is missing or not the one that the card describes.
        """
        if precision == "fp32":
            return self.onnx
        if precision not in self.card:
            raise WeightsError(f"{self.path} has only fp32; make the fp16 form with: fkp-train export --weights PATH")
        return self._derived(precision)

    def for_cpu(self) -> bytes:
        """The network as ONNX in operations that processors run faster, from a file beside the first.

        Returns the network itself if the card lists no such form or the file is missing.  Raises WeightsError if the
        file is not the one that the card describes.
        """
        if "cpu" in self.card and self._path_of("cpu").exists():
            return self._derived("cpu")
        log.info("%s has no form for processors; fkp-train export makes one, which is a third faster", self.path)
        return self.onnx

    def _derived(self, kind: str) -> bytes:
        """The form of this network that the card has an entry for."""
        path = self._path_of(kind)
        onnx = _read_network(path)
        seen, expected = hashlib.sha256(onnx).hexdigest(), self.card[kind].get("sha256")
        _expect(path, "sha256", seen, expected, "it is not what its card describes")
        return onnx

    def _path_of(self, kind: str) -> Path:
        """Raises WeightsError if the card names no file beside this one."""
        entry = self.card[kind]
        name = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or "\0" in name or name != Path(name).name:
            raise WeightsError(
                f"{self.path.with_suffix('.json')}: {kind} is {_short(entry)}, expected the name of a file beside it; "
                "restore the pair or run fkp-train"
            )
        return self.path.with_name(name)


def load(path: Path | None = None) -> Weights:
    """Read and verify weights: an ONNX file with its card beside it, a folder with `fkp.onnx`, or None for our own.

    Raises WeightsError when a file is missing, cannot be read, does not match its card's sha256, when the card's
    keypoints, crop geometry or contract are not this tracker's, or when its training was not finished.
    """
    path = DEFAULT_DIR if path is None else path
    onnx_path = path / "fkp.onnx" if path.is_dir() else path
    card_path = onnx_path.with_suffix(".json")
    onnx = _read_network(onnx_path)
    card = read_card(card_path)
    sha256 = hashlib.sha256(onnx).hexdigest()
    _expect(card_path, "sha256", sha256, card.get("sha256"), f"{onnx_path.name} is not the file its card describes")
    _expect(card_path, "keypoints", list(KEYPOINTS), card.get("keypoints"))
    _expect(card_path, "crop", CROP, card.get("crop"))
    if card.get("contract") != WITH_SIGNALS:
        _expect(card_path, "contract", CONTRACT, card.get("contract"))
    weights = Weights(onnx_path, onnx, sha256, card)
    if weights.noted("training").get("finished") is False:
        raise WeightsError(
            f"{onnx_path} comes from a training that was stopped early; finish it with: fkp-train --resume"
        )
    return weights


def read_card(path: Path) -> dict[str, Any]:
    """The card as a dict.  Raises WeightsError when it is missing, no JSON object, or of another version."""
    try:
        card = json.loads(_read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not a JSON model card ({error}); restore it or run fkp-train again") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path} holds a JSON {type(card).__name__}, expected an object; restore the model card")
    _expect(path, "fkp_card", CARD_VERSION, card.get("fkp_card"))
    return card


def _read_network(path: Path) -> bytes:
    onnx = _read_bytes(path)
    if EXTERNAL in onnx:
        raise WeightsError(f"{path} keeps tensors in other files, which its card does not cover; save it as one file")
    return onnx


def _read_bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"{path} is not a file; expected an ONNX file with its .json card beside it")
        if path.stat().st_size > LARGEST_BYTES:
            raise WeightsError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, expected a few, like networks of fkp")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {path}: {reason_of(error)}; expected an ONNX file with its .json card beside it"
        ) from error


def _expect(path: Path, key: str, expected: object, seen: object, meaning: str = "") -> None:
    if seen != expected:
        because = f" ({meaning})" if meaning else ""
        raise WeightsError(
            f"{path}: {key} is {_short(seen)}, expected {_short(expected)}{because}; restore the pair or run fkp-train"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."
