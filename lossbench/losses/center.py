"""Centre loss as the paper writes it: Wen et al., ECCV 2016, doi:10.1007/978-3-319-46478-7_31."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def initial_centers(num_classes: int, embedding_dim: int, generator: torch.Generator | None) -> Tensor:
    """Centers (C, D) uniform in +-sqrt(3 / D), the Xavier filler of the authors' example."""
    bound = math.sqrt(3.0 / embedding_dim)
    return torch.empty(num_classes, embedding_dim).uniform_(-bound, bound, generator=generator)


class CenterLoss(nn.Module):
    """Half the mean squared distance to the own class's centre (Wen et al. 2016, Eq. 2).

    Eq. 2 sums over the batch; we take the mean, as the authors' layer does, so that lambda does not depend on
    the batch size. Centres are a buffer that moves by Eq. 4 on every call in training mode, as batch
    normalisation moves its statistics: no gradient reaches them and no optimiser owns them.

    Args:
        num_classes: C.
        embedding_dim: D.
        alpha: step of the centres, in [0, 1].
        generator: where the initial centres are drawn from.

    Raises:
        ValueError: alpha outside [0, 1].

    >>> loss = CenterLoss(num_classes=2, embedding_dim=2, alpha=0.5)
    >>> _ = loss.centers.zero_()
    >>> loss(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])).item()
    1.0
    >>> loss.centers.tolist()  # a quarter of the way: alpha * n / (1 + n)
    [[0.5, 0.0], [0.0, 0.0]]
    """

    centers: Tensor  # (C, D)

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        alpha: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha: {alpha} is outside [0, 1]")
        self.alpha = alpha
        self.register_buffer("centers", initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); in training mode the centres step once.

        Loss and step both use the centres from before the step.
        """
        offsets = embeddings - self.centers[labels]  # a copy of the rows: the step does not reach the graph
        loss = offsets.square().sum() / (2 * len(labels))
        if self.training:
            self._step(offsets.detach(), labels)
        return loss

    @torch.no_grad()
    def _step(self, offsets: Tensor, labels: Tensor) -> None:
        """Eq. 4: c_j moves by alpha * sum(x_i - c_j) / (1 + n_j), in O(B D) whatever C is."""
        ordered = labels.sort().values  # counting by `unique` would make the host wait for a device
        counts = torch.searchsorted(ordered, labels, right=True) - torch.searchsorted(ordered, labels)
        # Eq. 4's own 1 +: absent classes do not move and nothing divides by zero.
        pull = self.alpha / (1 + counts).to(self.centers.dtype)
        self.centers.index_add_(0, labels, offsets.to(self.centers.dtype) * pull.unsqueeze(1))
