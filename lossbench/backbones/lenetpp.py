"""LeNets++, the network of the centre-loss paper's figures (Wen et al. 2016, Table 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHANNELS = (32, 64, 128)


class LeNetPP(nn.Module):
    """(5x5 convolution, PReLU) twice and a 2x2 maximum, three times; then a linear layer and PReLU.

    With 28 x 28 grey images, D = 2 and a head of ten classes without bias it has 797,624 parameters, as the
    authors' release. Weights are Xavier-uniform in +-sqrt(3 / fan_in), biases zero, PReLUs one slope a channel,
    0.25 at first. The authors' solver doubles the learning rate of biases; ours does not.

    Args:
        image_shape: (channels, height, width); an odd edge loses a pixel when it is halved.
        embedding_dim: D.
        width: factor on the channels of every convolution.
        generator: where the weights are drawn from.

    Raises:
        ValueError: images with an edge below 8 pixels, of which halving three times leaves nothing.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        embedding_dim: int,
        *,
        width: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        channels, height, across = image_shape
        if min(height, across) < 8:
            raise ValueError(f"lenetpp needs images of at least 8 x 8 pixels, not {height} x {across}")
        blocks: list[nn.Module] = []
        for full in CHANNELS:
            out = round(full * width)
            for inside in (channels, out):
                blocks += [nn.Conv2d(inside, out, 5, padding=2), nn.PReLU(out, init=0.25)]
            blocks.append(nn.MaxPool2d(2))
            channels, height, across = out, height // 2, across // 2
        self.features = nn.Sequential(*blocks)
        self.embed = nn.Linear(channels * height * across, embedding_dim)
        self.activation = nn.PReLU(embedding_dim, init=0.25)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = math.sqrt(3.0 / layer.weight[0].numel())
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, C, H, W)."""
        return self.activation(self.embed(torch.flatten(self.features(images), 1)))  # type: ignore[no-any-return]
