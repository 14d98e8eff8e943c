"""Small networks on vectors (B, F) that another model has made."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 512
CHANGE = HIDDEN**-0.5  # else one step of Adam at the usual rates moves vectors of length 1 by more than that


def mlp(features: int, embedding_dim: int) -> nn.Sequential:
    """A hidden layer of HIDDEN units with batch normalization and ReLU, then a linear layer."""
    return nn.Sequential(*_hidden(features), nn.Linear(HIDDEN, embedding_dim))


def _hidden(features: int) -> tuple[nn.Module, ...]:
    return nn.Linear(features, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True)


class Residual(nn.Module):
    """x P + f(x) / sqrt(HIDDEN): what comes in, and what a hidden layer adds to it, which is nothing before training.

    Args:
        features: F.
        embedding_dim: D. Where D = F, P is the identity, so that the untrained network is the features themselves;
            else P (F, D) is a random matrix with orthonormal rows or columns, which keeps distances as well as D
            dimensions can, and is not trained.
        generator: where P is drawn from.
    """

    def __init__(self, features: int, embedding_dim: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.change = nn.Sequential(*_hidden(features), nn.Linear(HIDDEN, embedding_dim))
        last = self.change[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.projection: Tensor | None
        kept = None if embedding_dim == features else _orthonormal(features, embedding_dim, generator)
        self.register_buffer("projection", kept)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, D) of vectors (B, F)."""
        kept = x if self.projection is None else x @ self.projection
        embeddings: Tensor = kept + CHANGE * self.change(x)
        return embeddings


def _orthonormal(rows: int, columns: int, generator: torch.Generator | None) -> Tensor:
    """(rows, columns), orthonormal along the shorter side."""
    drawn = torch.randn(max(rows, columns), min(rows, columns), generator=generator)
    basis, _ = torch.linalg.qr(drawn)
    oriented: Tensor = basis if rows >= columns else basis.T
    return oriented.contiguous()
