"""Relatives of center loss. All take uniform batches, and all but contrastive-center are meant as a further term."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench.plugins import Float, Problem, loss

if TYPE_CHECKING:
    from lossbench.losses import ContrastiveCenterLoss, IslandLoss, RingLoss, TripletCenterLoss

ALPHA = Float(0.01, 1.0, log=True, valid=(0.0, 1.0))  # step of centers
SMALL_WEIGHT = Float(1e-4, 1.0, log=True, valid=(0.0, math.inf))  # lambda of terms on raw embeddings


@loss(
    "contrastive-center",
    space={"delta": Float(0.1, 10.0, log=True, valid=(0.0, math.inf))},
    source="arXiv:1707.07391",
)
def contrastive_center(problem: Problem, *, delta: float = 1.0) -> ContrastiveCenterLoss:
    """Squared distance to the own class's center over the sum of those to all others, centers learned by gradient."""
    from lossbench.losses.contrastive_center import ContrastiveCenterLoss

    return ContrastiveCenterLoss(
        problem.num_classes, problem.embedding_dim, delta=delta, generator=problem.generator
    )  # fmt: skip


@loss(
    "triplet-center",
    space={"margin": Float(0.5, 20.0, log=True, valid=(0.0, math.inf)), "alpha": ALPHA},
    weight=SMALL_WEIGHT,
    default_weight=0.1,
    source="arXiv:1803.06189",
)
def triplet_center(problem: Problem, *, margin: float = 5.0, alpha: float = 0.1) -> TripletCenterLoss:
    """Nearer to the own class's center than to the nearest other one, by a margin on half squared distances."""
    from lossbench.losses.triplet_center import TripletCenterLoss

    return TripletCenterLoss(
        problem.num_classes, problem.embedding_dim, margin=margin, alpha=alpha, generator=problem.generator
    )  # fmt: skip


@loss("ring", weight=SMALL_WEIGHT, default_weight=0.01, source="arXiv:1803.00130")
def ring(problem: Problem) -> RingLoss:
    """Half the mean squared difference between the length of an embedding and a learned radius; a further term."""
    from lossbench.losses.ring import RingLoss

    return RingLoss()


@loss(
    "island",
    space={"lambda_1": Float(0.1, 100.0, log=True, valid=(0.0, math.inf)), "alpha": ALPHA},
    weight=SMALL_WEIGHT,
    default_weight=0.01,
    source="arXiv:1710.03144",
)
def island(problem: Problem, *, lambda_1: float = 10.0, alpha: float = 0.5) -> IslandLoss:
    """Center loss whose centers also turn away from each other."""
    from lossbench.losses.island import IslandLoss

    return IslandLoss(
        problem.num_classes, problem.embedding_dim, lambda_1=lambda_1, alpha=alpha, generator=problem.generator
    )  # fmt: skip
