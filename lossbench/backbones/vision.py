"""Models of timm and torchvision, by name, with the size and the normalization that their weights were trained with.

Neither is a dependency: `pip install 'lossbench[vision]'`. Nothing is downloaded; weights come from a file.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.plugins import PluginError
from lossbench.plugins.mistakes import nearest

_defined: list[torch.library.Library] = []  # a library's operators go when the library goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and what its weights expect.

    Attributes:
        network: from normalized color images (B, 3, H, W) to outputs (B, D).
        size: edge of the images in pixels.
        mean, std: of the three channels, of values in [0, 1].
    """

    network: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Normalized(nn.Module):
    """A model that takes what lossbench gives a network, (x - 127.5) / 128, and gray images as color."""

    scale: Tensor  # (3, 1, 1)
    shift: Tensor  # (3, 1, 1)

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model.network
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.mean, model.std))
        self.register_buffer("scale", 128 / 255 / std, persistent=False)
        self.register_buffer("shift", (127.5 / 255 - mean) / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (B, D) of images (B, 1 or 3, H, W)."""
        outputs: Tensor = self.model(images * self.scale + self.shift)  # one channel spreads over three
        return outputs


def timm_model(name: str, outputs: int) -> Model:
    """The model of that name of timm, untrained, its last layer with so many outputs; 0: without one, pooled.

    Raises:
        PluginError: timm is not installed, or knows no such model.
    """
    timm = _library("timm")
    if name not in timm.list_models():
        raise PluginError(f"timm: unknown model {name!r}{nearest(name, timm.list_models())}")
    network = timm.create_model(name, pretrained=False, num_classes=outputs)
    known = timm.data.resolve_model_data_config(network)
    return Model(network=network, size=known["input_size"][-1], mean=tuple(known["mean"]), std=tuple(known["std"]))


def torchvision_model(name: str, outputs: int) -> Model:
    """The classifier of that name of torchvision, untrained, its last layer with so many outputs; 0: without one.

    Raises:
        PluginError: torchvision is not installed, knows no such classifier, or it does not end in a linear layer.
    """
    models: Any = _library("torchvision").models
    known = models.list_models(module=models)
    if name not in known:
        raise PluginError(f"torchvision: unknown model {name!r}{nearest(name, known)}")
    network = models.get_model(name, weights=None, **({"num_classes": outputs} if outputs else {}))
    if not outputs:
        _cut(network, name)
    expected = models.get_model_weights(name).DEFAULT.transforms()
    return Model(
        network=network, size=expected.crop_size[0], mean=tuple(expected.mean), std=tuple(expected.std)
    )  # fmt: skip


def _cut(network: nn.Module, name: str) -> None:
    """Let a classifier give what its last layer would have taken."""
    path, last = list(network.named_modules())[-1]
    if not isinstance(last, nn.Linear):
        raise PluginError(f"torchvision: {name!r} does not end in a linear layer that could be taken off")
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())


def _library(name: str) -> ModuleType:
    """timm or torchvision; timm imports torchvision, too.

    The wheel of torchvision for CUDA does not load its operators beside a CPU build of torch, and its Python part then
    misses two of them, which no classifier uses; they are declared where the import has failed for want of them.
    """
    try:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _defined.append(library)
            importlib.import_module("torchvision")
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PluginError(f"{name}: needs a package more: pip install 'lossbench[vision]'") from error
