"""Contrastive-center loss: Qi and Su, ICIP 2017, arXiv:1707.07391."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossbench.losses.center import initial_centers


class ContrastiveCenterLoss(nn.Module):
    """Half the mean ratio of the squared distance to the own center to the sum of those to all other centers.

        L = 1/(2m) sum_i ||x_i - c_{y_i}||^2 / (sum_{j != y_i} ||x_i - c_j||^2 + delta)

    The paper sums over the batch; we take the mean, as for center loss, so that lambda does not depend on the batch
    size. As in the paper the centers are learned by gradient, here by the optimizer that trains the network: they are
    parameters, `proxies` (C, D), and not a buffer that moves by a rule. The sum over all classes costs O(D) a sample:
    with the mean c of the centers it is C ||x - c||^2 + sum_j ||c_j - c||^2.

    Args:
        num_classes: C, at least two.
        embedding_dim: D.
        delta: keeps the denominator from zero; the paper sets 1.
        generator: where the centers are drawn from: uniform in +-sqrt(3 / D).

    Raises:
        ValueError: delta below 0.

    >>> loss = ContrastiveCenterLoss(num_classes=2, embedding_dim=2)
    >>> _ = loss.load_state_dict({"proxies": torch.tensor([[1.0, 0.0], [-1.0, 0.0]])})
    >>> loss(torch.tensor([[0.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1])).item()  # (1/2 + 0/5) / 4
    0.125
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        delta: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not delta >= 0.0:
            raise ValueError(f"delta: {delta} is below 0")
        self.delta = delta
        self.proxies = nn.Parameter(initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        own = (embeddings - self.proxies[labels]).square().sum(1)
        middle = self.proxies.mean(0)
        spread = (self.proxies - middle).square().sum()
        everything = len(self.proxies) * (embeddings - middle).square().sum(1) + spread
        others = (everything - own).clamp(min=0.0)  # below zero by rounding only
        return (own / (others + self.delta)).mean() / 2
