"""A small residual network (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEM = 16
STAGES = (32, 64, 128)


class ResNet(nn.Module):
    """A strided stem, three residual blocks that halve the edge and double the channels, and a linear layer.

    One basic block a stage, where the published networks have two or more. The stem halves the edge as well, so that
    112 pixels end as 7 x 7. The mean over places makes the number of parameters independent of the edge.

    Args:
        image_shape: (channels, height, width); made for 32 to 112 pixels, grey or colour.
        embedding_dim: D.
    """

    def __init__(self, image_shape: tuple[int, int, int], embedding_dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], STEM, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(STEM),
            nn.ReLU(inplace=True),
        )
        widths = (STEM, *STAGES)
        self.stages = nn.Sequential(*[Block(*pair) for pair in zip(widths, STAGES, strict=False)])
        self.embed = nn.Linear(STAGES[-1], embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, C, H, W)."""
        features: Tensor = self.stages(self.stem(images))
        return self.embed(features.mean((2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """The basic block with shortcut B: two 3x3 convolutions, the first of stride 2, beside a 1x1 one of stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=2, bias=False), nn.BatchNorm2d(out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, out, H/2, W/2), rounded up, of (B, in, H, W)."""
        return torch.relu(self.residual(x) + self.shortcut(x))
