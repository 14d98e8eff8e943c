"""What AdaFace and MagFace share: proxies on the sphere and a margin on the angle to the own one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EDGE = 1e-6  # cosines are held that far inside [-1, 1], where the angle still has a gradient


class CosineHead(nn.Module):
    """One proxy a class; logits are scaled cosines.

    Args:
        num_classes: C.
        embedding_dim: D.
        scale: s, by which cosines are multiplied.
        generator: where the directions of the proxies are drawn from, evenly on the sphere.
    """

    def __init__(
        self, num_classes: int, embedding_dim: int, *, scale: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.scale = scale
        self.proxies = nn.Parameter(torch.randn(num_classes, embedding_dim, generator=generator))

    def logits(self, embeddings: Tensor) -> Tensor:
        """Class scores s cos theta_j (B, C) of embeddings (B, D), without a margin."""
        return self.scale * self.cosines(embeddings)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """cos theta_j (B, C) between embeddings (B, D) and proxies."""
        points = functional.normalize(embeddings.to(self.proxies.dtype))
        return functional.linear(points, functional.normalize(self.proxies)).clamp(-1 + EDGE, 1 - EDGE)

    def cross_entropy(self, cosines: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch, with `own` (B,) in place of each sample's cosine to its own proxy."""
        changed = cosines.scatter(1, labels.unsqueeze(1), own.to(cosines.dtype).unsqueeze(1))
        return functional.cross_entropy(self.scale * changed, labels)


def own_angles(cosines: Tensor, labels: Tensor) -> Tensor:
    """theta_y (B,): the angle to the own proxy, in radians."""
    return torch.acos(cosines.gather(1, labels.unsqueeze(1)).squeeze(1))
