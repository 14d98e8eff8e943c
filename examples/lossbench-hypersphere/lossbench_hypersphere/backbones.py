"""A network of two layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench import Problem, backbone

if TYPE_CHECKING:
    from torch import nn


@backbone("two-layers", source="two linear layers of 128 units, ReLU between them")
def two_layers(problem: Problem) -> nn.Module:
    """Two linear layers: the cheapest network that learns something."""
    from torch import nn

    pixels = math.prod(problem.image_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, problem.embedding_dim))
