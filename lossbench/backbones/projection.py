"""The samples as they are, projected where they are too long to be compared in reasonable time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LONGEST = 1024  # values of a sample that are compared as they are


class Projection(nn.Module):
    """A fixed Gaussian projection of flattened samples to 1,024 values, which keeps squared distances in expectation.

    A distance moves by a few percent (Johnson and Lindenstrauss 1984; the relative sd of its square is sqrt(2 / 1024)).
    The projection is the same for every run and data set of as many values.

    Args:
        values: of a sample, C H W.
    """

    directions: Tensor  # (values, 1024)

    def __init__(self, values: int) -> None:
        super().__init__()
        drawn = torch.randn(values, LONGEST, generator=torch.Generator().manual_seed(values))
        self.register_buffer("directions", drawn / math.sqrt(LONGEST))

    def forward(self, samples: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1024)."""
        return samples.flatten(1) @ self.directions
