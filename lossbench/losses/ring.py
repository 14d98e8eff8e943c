"""Ring loss: Zheng, Pal and Savvides, CVPR 2018, arXiv:1803.00130."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RingLoss(nn.Module):
    """Half the mean squared difference between the length of an embedding and a learned radius.

        L_R = 1/(2m) sum_i (||x_i|| - R)^2

    The paper's factor lambda is the weight of the term. R is a parameter; its start is the mean length of the first
    training batch. It takes no labels: alone it would shrink or stretch the embeddings and no more.

    >>> loss = RingLoss()
    >>> loss(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([0, 1])).item()  # lengths 5 and 1, radius 3
    2.0
    >>> loss.radius.item()
    3.0
    """

    started: Tensor  # (): whether the radius has been set from a batch

    def __init__(self) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
        """Loss of a batch (B, D); labels are ignored."""
        lengths = torch.linalg.vector_norm(embeddings, dim=1)
        if self.training and not self.started:
            with torch.no_grad():
                self.radius.copy_(lengths.mean())
                self.started.fill_(True)
        loss: Tensor = (lengths - self.radius).square().mean() / 2
        return loss
