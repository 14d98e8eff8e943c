"""Softmax: cross-entropy on a linear head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class SoftmaxLoss(nn.Module):
    """Mean cross-entropy of softmax(W x + b) against the labels, by log-sum-exp, which no logit overflows.

    Args:
        num_classes: C.
        embedding_dim: D.
        bias: whether there is a b; the released example of the centre-loss paper has none.
        label_smoothing: share of each label spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567).
        generator: where W is drawn from: Xavier-uniform in +-sqrt(3 / D); b starts at zero.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        bias: bool = True,
        label_smoothing: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        bound = math.sqrt(3.0 / embedding_dim)
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim).uniform_(-bound, bound, generator=generator))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None

    def logits(self, embeddings: Tensor) -> Tensor:
        """Class scores (B, C) of embeddings (B, D)."""
        return functional.linear(embeddings, self.weight, self.bias)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        return functional.cross_entropy(self.logits(embeddings), labels, label_smoothing=self.label_smoothing)
