"""A neck between the network and some of its losses, so that these see another tensor than the others.

BNNeck (Luo et al. 2019, arXiv:1903.07071, section 3.5): the classifier sees the embedding batch-normalized, triplets
and centers see it before; what is embedded and compared is the tensor after the neck.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BEFORE, AFTER = 0, 1  # where what a term sees lies in a necked network's output in training


class Necked(nn.Module):
    """A backbone and a neck.

    Args:
        backbone: images to embeddings (B, D).
        embedding_dim: D.
    """

    def __init__(self, backbone: nn.Module, embedding_dim: int) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, _without_shift(nn.BatchNorm1d(embedding_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) after the neck; in training both, (B, 2, D), BEFORE and AFTER it."""
        before = self.backbone(images)
        before = before.to(torch.promote_types(before.dtype, torch.float32))  # bfloat16 would lose the sums
        after: Tensor = self.neck(before)
        return torch.stack([before, after], 1) if self.training else after


def _without_shift(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """The layer with its bias fixed at zero, as in the authors' code, so that it moves no class off the origin."""
    del norm.bias
    norm.register_buffer("bias", torch.zeros(norm.num_features))
    return norm
