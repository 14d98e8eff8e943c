"""Triplet-center loss: He et al., CVPR 2018, arXiv:1803.06189."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lossbench.losses.center import initial_centers


class TripletCenterLoss(nn.Module):
    """Nearer to the own class's center than to the nearest other one, by a margin.

        L = mean_i max(0, D(x_i, c_{y_i}) + m - min_{j != y_i} D(x_i, c_j)),   D(x, c) = ||x - c||^2 / 2

    The paper sums over the batch; we take the mean, as for center loss, so that lambda does not depend on the batch
    size. The centers are a buffer that moves on every call in training mode, c_j <- c_j - alpha delta_j, by the paper's
    averaged gradient: over the samples i with a positive loss

        delta_j = sum_{y_i = j} (c_j - x_i) / (1 + n_j)  -  sum_{q_i = j} (c_j - x_i) / (1 + k_j)

    where q_i is the nearest other class, and n_j and k_j count the terms of the two sums. No gradient reaches them.

    Args:
        num_classes: C, at least two.
        embedding_dim: D.
        margin: m, on half squared distances of raw embeddings; the paper sets 5.
        alpha: step of the centers, in [0, 1].
        generator: where the centers are drawn from: uniform in +-sqrt(3 / D).

    Raises:
        ValueError: alpha outside [0, 1], margin below 0, fewer than two classes.

    >>> loss = TripletCenterLoss(num_classes=2, embedding_dim=1, margin=1.0, alpha=1.0)
    >>> _ = loss.centers.copy_(torch.tensor([[0.0], [2.0]]))
    >>> loss(torch.tensor([[1.0]]), torch.tensor([0])).item()  # 1/2 + 1 - 1/2
    1.0
    >>> loss.centers.tolist()  # the own one comes half the way, the other one goes half the way
    [[0.5], [2.5]]
    """

    centers: Tensor  # (C, D)

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        margin: float = 5.0,
        alpha: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha: {alpha} is outside [0, 1]")
        if not margin >= 0.0:
            raise ValueError(f"margin: {margin} is below 0")
        if num_classes < 2:
            raise ValueError(f"num_classes: {num_classes} is below 2")
        self.margin, self.alpha = margin, alpha
        self.register_buffer("centers", initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); in training mode the centers step once, afterwards."""
        rival = self._nearest_other(embeddings.detach(), labels)
        pull, push = embeddings - self.centers[labels], embeddings - self.centers[rival]
        terms = (pull.square().sum(1) / 2 + self.margin - push.square().sum(1) / 2).clamp(min=0.0)
        if self.training:
            self._step(pull.detach(), labels, push.detach(), rival, active=terms.detach() > 0)
        return terms.mean()

    def _nearest_other(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """q_i (B,): the class other than y_i whose center is nearest."""
        distances = torch.cdist(embeddings.to(self.centers.dtype), self.centers)
        return distances.scatter(1, labels.unsqueeze(1), math.inf).argmin(1)

    @torch.no_grad()
    def _step(self, pull: Tensor, labels: Tensor, push: Tensor, rival: Tensor, *, active: Tensor) -> None:
        """Both sums of delta_j over the active samples, each divided by one plus its number of terms."""
        change = torch.zeros_like(self.centers)
        for offsets, classes, sign in ((pull, labels, 1.0), (push, rival, -1.0)):
            weights = active.to(self.centers.dtype)
            counts = self.centers.new_zeros(len(self.centers)).index_add_(0, classes, weights)
            share = sign * weights / (1 + counts[classes])
            change.index_add_(0, classes, offsets.to(self.centers.dtype) * share.unsqueeze(1))
        self.centers += self.alpha * change
