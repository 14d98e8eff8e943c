"""MagFace: Meng, Zhao, Huang and Zhou, CVPR 2021, arXiv:2103.06627."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossbench.losses.cosine_head import CosineHead, own_angles


class MagFaceLoss(CosineHead):
    """ArcFace with a margin that grows with the length of the embedding, and a term that lengthens it.

        L_i = -log(exp(s cos(theta_y + m(a_i))) / (exp(s cos(theta_y + m(a_i))) + sum_{j != y} exp(s cos theta_j)))
              + lambda_g g(a_i),    a_i = ||x_i||                                     (section 3.2)
        m(a) = (u_m - l_m) / (u_a - l_a) (a - l_a) + l_m
        g(a) = 1 / a + a / u_a^2

    Section 3.2 leaves m and g open but for their shapes; these are the ones of the authors' code. The paper takes a_i
    within [l_a, u_a] and needs lambda_g of at least
    s u_a^2 l_a^2 / (u_a^2 - l_a^2) (u_m - l_m) / (u_a - l_a), 22.6 at its other defaults, so that samples near
    their proxy grow longer. Outside of [l_a, u_a] m keeps the value of that end, as in the authors' code, which
    holds a in g there too, so that a short embedding never grows; here g goes on below l_a by its tangent. Beyond an
    angle of pi - m the own cosine is cos theta_y - m sin m, as in our ArcFace, so that it goes on falling.

    Args:
        num_classes: C.
        embedding_dim: D.
        l_a, u_a: the lengths between which the margin grows.
        l_m, u_m: the margin at these, in radians.
        lambda_g: weight of g.
        scale: s.
        generator: where the proxies are drawn from.

    Raises:
        ValueError: not 0 < l_a < u_a, or u_m below l_m.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_m: float = 0.45,
        u_m: float = 0.8,
        lambda_g: float = 35.0,
        scale: float = 64.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_dim, scale=scale, generator=generator)
        if not 0.0 < l_a < u_a:
            raise ValueError(f"l_a, u_a: {l_a:g} and {u_a:g} are no lengths of which the first is smaller")
        if not l_m <= u_m:
            raise ValueError(f"l_m, u_m: {l_m:g} is more than {u_m:g}")
        self.l_a, self.u_a, self.l_m, self.u_m, self.lambda_g = l_a, u_a, l_m, u_m, lambda_g

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        lengths = torch.linalg.vector_norm(embeddings.to(self.proxies.dtype), dim=1)
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        margins = self.l_m + slope * (lengths.clamp(self.l_a, self.u_a) - self.l_a)
        cosines = self.cosines(embeddings)
        angles = own_angles(cosines, labels)
        falling = torch.cos(angles) - margins * torch.sin(margins)
        own = torch.where(angles <= math.pi - margins, torch.cos(angles + margins), falling)
        return self.cross_entropy(cosines, own, labels) + self.lambda_g * self._lengthening(lengths).mean()

    def _lengthening(self, lengths: Tensor) -> Tensor:
        """g (B,), below l_a by its tangent."""
        inside = lengths.clamp(min=self.l_a)
        return 1 / inside + inside / self.u_a**2 + (1 / self.u_a**2 - 1 / self.l_a**2) * (lengths - inside)
