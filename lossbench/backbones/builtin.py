"""The built-in backbones as plugins; torch is imported when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.registry import Problem, backbone

if TYPE_CHECKING:
    from torch import nn


@backbone("convnet", source="three strided 3x3 convolutions, batch normalization, ReLU")
def convnet(problem: Problem) -> nn.Module:
    """Three strided convolutions of 16, 32 and 32 channels: the affordable network for 8 to 32 pixels."""
    from lossbench.backbones.convnet import ConvNet

    return ConvNet(problem.image_shape, problem.embedding_dim)


@backbone("pixels", source="no network")
def pixels(problem: Problem) -> nn.Module:
    """The image itself, flattened: the baseline that learns nothing. Ignores the embedding dimension."""
    from torch import nn

    return nn.Flatten()
