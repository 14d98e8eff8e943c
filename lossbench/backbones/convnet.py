"""A small strided convolutional network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 32)


class ConvNet(nn.Module):
    """(3x3 convolution, batch normalization, ReLU) three times, each halving the edge, then a linear layer.

    Strides instead of pooling: the same network with max-pooling takes three to four times as long on a CPU.

    Args:
        image_shape: (channels, height, width).
        embedding_dim: D.
    """

    def __init__(self, image_shape: tuple[int, int, int], embedding_dim: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        blocks: list[nn.Module] = []
        for out_channels in CHANNELS:
            blocks += [
                nn.Conv2d(channels, out_channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
            channels, height, width = out_channels, -(-height // 2), -(-width // 2)
        self.features = nn.Sequential(*blocks)
        self.embed = nn.Linear(channels * height * width, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, C, H, W)."""
        return self.embed(torch.flatten(self.features(images), 1))  # type: ignore[no-any-return]
