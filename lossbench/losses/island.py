"""Island loss: Cai et al., FG 2018, arXiv:1710.03144."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lossbench.losses.center import CenterLoss


class IslandLoss(CenterLoss):
    """Center loss plus lambda_1 times the cosines between all pairs of centers, each raised by one.

        L_IL = L_C + lambda_1 sum_j sum_{k != j} (c_k . c_j / (||c_k|| ||c_j||) + 1)

    L_C is the batch mean of `CenterLoss` where the paper sums. The second sum has no gradient for the embeddings: it
    turns the centers apart, which move on every call in training mode, c_j <- c_j - alpha delta_j, with

        delta_j = sum_{y_i = j} (c_j - x_i) / (1 + n_j)
                  + lambda_1 / (C - 1) sum_{k != j} (c_k / (||c_k|| ||c_j||) - (c_k . c_j) c_j / (||c_k|| ||c_j||^3))

    so that classes absent from the batch move too. With u_j = c_j / ||c_j|| and S their sum the pairs cost O(C D): the
    sum is ||S||^2 - C + C (C - 1), the last term is the part of S - u_j across u_j, over ||c_j||.

    Args:
        num_classes: C, at least two.
        embedding_dim: D.
        lambda_1: weight of the pairs of centers; the paper sets 10.
        alpha: step of the centers, in [0, 1].
        generator: where the centers are drawn from: uniform in +-sqrt(3 / D).

    Raises:
        ValueError: alpha outside [0, 1], lambda_1 below 0, fewer than two classes.

    >>> loss = IslandLoss(num_classes=2, embedding_dim=2, lambda_1=0.5)
    >>> _ = loss.centers.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    >>> loss(torch.tensor([[1.0, 2.0]]), torch.tensor([0])).item()  # 4 / 2 + 0.5 * (1 + 1)
    3.0
    >>> loss.centers.tolist()  # towards the sample by alpha / 2, away from the other by alpha * lambda_1 / ||c||
    [[1.0, 0.25], [-0.125, 2.0]]
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        lambda_1: float = 10.0,
        alpha: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_dim, alpha=alpha, generator=generator)
        if not lambda_1 >= 0.0:
            raise ValueError(f"lambda_1: {lambda_1} is below 0")
        if num_classes < 2:
            raise ValueError(f"num_classes: {num_classes} is below 2")
        self.lambda_1 = lambda_1

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); in training mode the centers step once, afterwards."""
        count = len(self.centers)
        directions = functional.normalize(self.centers)
        total = directions.sum(0)
        pairs = total.square().sum() - count + count * (count - 1)
        away = total - directions
        away = away - (away * directions).sum(1, keepdim=True) * directions
        lengths = self.centers.norm(dim=1, keepdim=True).clamp(min=torch.finfo(self.centers.dtype).tiny)
        loss = super().forward(embeddings, labels) + self.lambda_1 * pairs
        if self.training:
            self.centers -= self.alpha * self.lambda_1 / (count - 1) * away / lengths
        return loss
