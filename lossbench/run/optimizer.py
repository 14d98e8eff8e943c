"""The optimizer over network and losses, and its learning rate from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lossbench.backbones.trunk import Trunk
from lossbench.run.model import Model
from lossbench.run.sampled import move_parts_only
from lossbench.specification.training_settings import Training


def make_optimizer(model: Model, settings: Training, lr: float) -> torch.optim.Optimizer:
    """One optimizer over network and losses; weight decay only on parameters of two or more dimensions.

    Each group says its `lr_factor`, which is 1 but for a trunk that learns at a rate of its own.
    """
    params = [param for part in model.parts().values() for param in part.parameters() if param.requires_grad]
    groups = [
        {**group, "lr": lr * factor, "lr_factor": factor}
        for part, factor in _by_rate(params, model.trunk)
        for group in _by_decay(part, settings.weight_decay)
    ]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=lr, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, fused=True)
    move_parts_only(optimizer, model.parts().values())
    return optimizer


def _by_rate(params: list[nn.Parameter], trunk: Trunk | None) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters with the factor of their learning rate, as few groups as there are factors."""
    if trunk is None or trunk.lr_factor == 1.0:
        return [(params, 1.0)]
    slow = set(map(id, trunk.parameters))
    rest = [param for param in params if id(param) not in slow]
    return [([param for param in params if id(param) in slow], trunk.lr_factor), *([(rest, 1.0)] if rest else [])]


def _by_decay(params: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Groups of an optimizer; a second group is a second call of the fused step."""
    if not decay:
        return [{"params": params}]
    return [
        {"params": [param for param in params if param.ndim > 1], "weight_decay": decay},
        {"params": [param for param in params if param.ndim <= 1], "weight_decay": 0.0},
    ]


def rate_factor(settings: Training, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each of so many steps.

    Warm-up as Luo et al. 2019 (arXiv:1903.07071, section 3.1) have it, from a tenth and linear, in the first tenth of
    the steps; they let steps follow, not a cosine.
    """
    warm = max(1, steps // 10)
    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "cosine": lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / steps)),
        "step": lambda step: 0.8 ** ((step >= 0.5 * steps) + (step >= 0.8 * steps)),
        "warmup-cosine": lambda step: (
            0.1 + 0.9 * step / warm
            if step < warm
            else 0.5 * (1.0 + math.cos(math.pi * (min(step, steps) - warm) / max(1, steps - warm)))
        ),
    }
    return factors[settings.schedule]
