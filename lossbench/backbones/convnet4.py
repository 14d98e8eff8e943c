"""The four-block convolutional network of few-shot learning, its first pooling replaced by a stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 32
BLOCKS = 4


class ConvNet4(nn.Module):
    """(3x3 convolution, batch normalization, ReLU, 2x2 max-pooling) four times, then a linear layer.

    Conv-4 of Vinyals et al. 2016 (arXiv:1606.04080) and Snell et al. 2017 with 32 channels, but for the first block,
    which strides instead of pooling: that halves the time on a CPU. Measured with softmax on Omniglot at 28 pixels,
    D 64, 8 epochs of 120 batches of 128, one seed, test MAP@R: pooled throughout .216 in 84 CPU seconds; this one .199
    in 44; strided throughout .185 in 31.

    Args:
        image_shape: (channels, height, width), at least 16 pixels each way; made for 28 to 64.
        embedding_dim: D.
    """

    def __init__(self, image_shape: tuple[int, int, int], embedding_dim: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 2**BLOCKS:
            raise ValueError(f"convnet4 halves the edge {BLOCKS} times: {height} x {width} pixels are too few")
        blocks: list[nn.Module] = []
        for number in range(BLOCKS):
            strided = number == 0
            blocks += [
                nn.Conv2d(channels, CHANNELS, 3, stride=2 if strided else 1, padding=1, bias=False),
                nn.BatchNorm2d(CHANNELS),
                nn.ReLU(inplace=True),
                *([] if strided else [nn.MaxPool2d(2)]),
            ]
            channels = CHANNELS
            height, width = ((edge + strided) // 2 for edge in (height, width))  # a stride rounds up, pooling down
        self.features = nn.Sequential(*blocks)
        self.embed = nn.Linear(channels * height * width, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, C, H, W)."""
        return self.embed(torch.flatten(self.features(images), 1))  # type: ignore[no-any-return]
