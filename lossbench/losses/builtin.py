"""The built-in losses as plugins: name, search space, sampler, source. Torch is imported when one is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench.losses.catalogue import centers, heads, pairwise, rankings  # noqa: F401  # registers them
from lossbench.losses.catalogue.pairwise import MEMORY, ON_SPHERE
from lossbench.plugins import Choice, Float, Problem, loss

if TYPE_CHECKING:
    from torch import nn

    from lossbench.losses import CenterLoss, ContrastiveLoss, SoftmaxLoss, TripletLoss


@loss(
    "softmax",
    space={
        "head": Choice(("affine", "linear")),
        "label_smoothing": Float(0.0, 0.3, tune=False, valid=(0.0, 0.999)),  # at 1 the labels play no part
    },
    source="cross-entropy on a linear head",
)
def softmax(problem: Problem, *, head: str = "affine", label_smoothing: float = 0.0) -> SoftmaxLoss:
    """Cross-entropy on a head W x + b (`affine`) or W x (`linear`)."""
    from lossbench.losses.softmax import SoftmaxLoss

    return SoftmaxLoss(
        problem.num_classes, problem.embedding_dim, bias=head == "affine", label_smoothing=label_smoothing,
        generator=problem.generator,
    )  # fmt: skip


@loss(
    "contrastive",
    space={
        "pos_margin": Float(0.0, 0.5, valid=ON_SPHERE),
        "neg_margin": Float(0.3, 1.4, valid=ON_SPHERE),
        "miner": Choice(("all", "batch-hard")),
        "memory": MEMORY,
    },
    sampler="balanced",
    weight=Float(1e-2, 10.0, log=True, valid=(0.0, math.inf)),
    source="doi:10.1109/CVPR.2006.100, linear hinge",
)
def contrastive(
    problem: Problem, *, pos_margin: float = 0.0, neg_margin: float = 1.0, miner: str = "all", memory: int = 0
) -> ContrastiveLoss:
    """Linear-hinge pairs on the unit sphere."""
    from lossbench.losses.contrastive import ContrastiveLoss

    return ContrastiveLoss(
        pos_margin=pos_margin, neg_margin=neg_margin, miner=miner, memory=memory, embedding_dim=problem.embedding_dim
    )


@loss(
    "triplet",
    space={
        "margin": Float(0.05, 1.0, valid=ON_SPHERE),
        "miner": Choice(("all", "semi-hard", "batch-hard")),
        "memory": MEMORY,
    },
    sampler="balanced",
    source="arXiv:1503.03832",
)
def triplet(problem: Problem, *, margin: float = 0.2, miner: str = "semi-hard", memory: int = 0) -> TripletLoss:
    """Triplet margin loss on the unit sphere."""
    from lossbench.losses.triplet import TripletLoss

    return TripletLoss(margin=margin, miner=miner, memory=memory, embedding_dim=problem.embedding_dim)


@loss(
    "center",
    space={"alpha": Float(0.01, 1.0, log=True, valid=(0.0, 1.0))},
    weight=Float(1e-4, 1.0, log=True, valid=(0.0, math.inf)),
    default_weight=0.003,
    source="doi:10.1007/978-3-319-46478-7_31",
)
def center(problem: Problem, *, alpha: float = 0.5) -> CenterLoss:
    """Centre loss: half the mean squared distance to the own class's centre."""
    from lossbench.losses.center import CenterLoss

    return CenterLoss(problem.num_classes, problem.embedding_dim, alpha=alpha, generator=problem.generator)


@loss(
    "center-caffe",
    weight=Float(1e-4, 1.0, log=True, valid=(0.0, math.inf)),
    default_weight=0.003,
    source="https://github.com/ydwen/caffe-face",
    deviations={"gradcheck": "by design: the solver gets the released layer's step of the centers, not a gradient"},
)
def center_caffe(problem: Problem) -> nn.Module:
    """Centre loss as the authors released it: the solver moves the centers; its lr takes the place of alpha."""
    from lossbench.losses.center_variants import CaffeCenterLoss

    return CaffeCenterLoss(problem.num_classes, problem.embedding_dim, generator=problem.generator)


@loss(
    "center-autograd",
    weight=Float(1e-4, 1.0, log=True, valid=(0.0, math.inf)),
    default_weight=0.003,
    source="common practice",
)
def center_autograd(problem: Problem) -> nn.Module:
    """Centre loss whose centers are parameters of the one optimizer: lambda and alpha are confounded."""
    from lossbench.losses.center_variants import AutogradCenterLoss

    return AutogradCenterLoss(problem.num_classes, problem.embedding_dim, generator=problem.generator)


@loss(
    "center-popular",
    space={"alpha": Float(0.01, 1.0, log=True, valid=(0.0, 1.0))},
    # Its optimizer divides by the weight: at 0 there is nothing to run.
    weight=Float(1e-4, 1.0, log=True, valid=(1e-9, math.inf)),
    default_weight=0.003,
    source="https://github.com/KaiyangZhou/pytorch-center-loss",
)
def center_popular(problem: Problem, *, alpha: float = 0.5) -> nn.Module:
    """Centre loss as the most starred PyTorch port computes it: the pull shrinks with the number of classes."""
    from lossbench.losses.center_variants import PopularCenterLoss

    return PopularCenterLoss(problem.num_classes, problem.embedding_dim, alpha=alpha, generator=problem.generator)
