"""AdaFace: Kim, Jain and Liu, CVPR 2022, arXiv:2204.00964."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossbench.losses.cosine_head import CosineHead, own_angles

EPSILON = 1e-3  # beside the standard deviation, as in the authors' code


class AdaFaceLoss(CosineHead):
    """Softmax on scaled cosines, with a margin that follows the length of the embedding.

        q_i = clip((||z_i|| - mu) / (sigma / h), -1, 1)
        mu, sigma: moving averages of mean and standard deviation of the lengths
        f_y = s (cos(theta_y + g_angle) - g_add),  f_j = s cos theta_j for j != y     (Eq. 18)
        g_angle = -m q_i,  g_add = m q_i + m

    All of it is from the paper's section 3.3. The length of an embedding stands for the quality of its picture. The
    shortest (q = -1) have the margin of ArcFace, those of middle length (q = 0) that of CosFace, the longest (q = 1)
    twice that, with their angle eased by m. No gradient goes through q.

    Eq. 18 as printed multiplies the cosine alone by s; its authors correct that to s times the difference. Their code
    weighs the newest batch by 0.01, which a momentum of 0.99 means here. It starts from mu = 20, sigma = 100; we start
    from the first training batch, since the networks here are smaller and train shorter. The standard
    deviation divides by the size of the batch. theta_y + g_angle is held in [0, pi], as in their code.

    Args:
        num_classes: C.
        embedding_dim: D.
        m: the margin; an angle in radians and a difference of cosines.
        h: the share of a standard deviation beyond the mean at which q ends in 1.
        scale: s.
        momentum: weight of the old averages.
        generator: where the proxies are drawn from.
    """

    mean: Tensor  # (): of the lengths
    deviation: Tensor  # ()
    started: Tensor  # (): whether the two have been set from a batch

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        m: float = 0.4,
        h: float = 0.333,
        scale: float = 64.0,
        momentum: float = 0.99,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_dim, scale=scale, generator=generator)
        self.m, self.h, self.momentum = m, h, momentum
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); in training mode the averages step first."""
        quality = self._quality(embeddings)
        cosines = self.cosines(embeddings)
        eased = (own_angles(cosines, labels) - self.m * quality).clamp(0.0, math.pi)  # g_angle = -m q
        return self.cross_entropy(cosines, torch.cos(eased) - self.m * (quality + 1), labels)

    @torch.no_grad()
    def _quality(self, embeddings: Tensor) -> Tensor:
        """q (B,) of the lengths; in training mode the averages step before."""
        lengths = torch.linalg.vector_norm(embeddings.to(self.mean.dtype), dim=1)
        if self.training:
            kept = self.momentum * self.started.to(lengths.dtype)  # nothing is kept of where they stand before
            self.mean.lerp_(lengths.mean(), 1 - kept)
            self.deviation.lerp_(lengths.std(correction=0), 1 - kept)
            self.started.fill_(True)
        quality: Tensor = self.h * (lengths - self.mean) / (self.deviation + EPSILON)
        return quality.clamp(-1.0, 1.0)
