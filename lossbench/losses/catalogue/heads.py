"""Losses with proxies: classification on the sphere, and distances to one or more proxies of each class.

All take uniform batches. Their proxies are parameters: trained by the run's optimizer, saved, and counted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench.plugins import Float, Int, Problem, loss

if TYPE_CHECKING:
    from pytorch_metric_learning import losses as pml

    from lossbench.losses import AdaFaceLoss, MagFaceLoss

SCALE = Float(4.0, 64.0, log=True, valid=(0.0, 1e4))  # of cosines; small class counts want less than a face network
ANGLE = Float(2.0, 45.0, valid=(0.0, 90.0))  # degrees


@loss("arcface", space={"margin": ANGLE, "scale": SCALE}, source="arXiv:1801.07698")
def arcface(problem: Problem, *, margin: float = 28.6, scale: float = 64.0) -> pml.ArcFaceLoss:
    """Softmax on scaled cosines, the own class's angle widened by `margin` degrees."""
    from pytorch_metric_learning.losses import ArcFaceLoss

    from lossbench.losses.library import SafeCosine

    return ArcFaceLoss(
        problem.num_classes, problem.embedding_dim, margin=margin, scale=scale, distance=SafeCosine()
    )  # fmt: skip


@loss(
    "subcenter-arcface",
    space={"margin": ANGLE, "scale": SCALE, "sub_centers": Int(2, 6, valid=(1, 100))},
    source="doi:10.1007/978-3-030-58621-8_43",
)
def subcenter_arcface(
    problem: Problem, *, margin: float = 28.6, scale: float = 64.0, sub_centers: int = 3
) -> pml.SubCenterArcFaceLoss:
    """ArcFace on the nearest of several proxies of each class."""
    from pytorch_metric_learning.losses import SubCenterArcFaceLoss

    from lossbench.losses.library import SafeCosine

    return SubCenterArcFaceLoss(
        num_classes=problem.num_classes, embedding_size=problem.embedding_dim,
        margin=margin, scale=scale, sub_centers=sub_centers, distance=SafeCosine(),
    )  # fmt: skip


@loss(
    "cosface",
    space={"margin": Float(0.05, 0.5, valid=(0.0, 2.0)), "scale": SCALE},
    source="arXiv:1801.09414",
)
def cosface(problem: Problem, *, margin: float = 0.35, scale: float = 64.0) -> pml.CosFaceLoss:
    """Softmax on scaled cosines, the own class's cosine lowered by `margin`."""
    from pytorch_metric_learning.losses import CosFaceLoss

    return CosFaceLoss(problem.num_classes, problem.embedding_dim, margin=margin, scale=scale)


@loss(
    "adaface",
    space={
        "m": Float(0.05, 0.6, valid=(0.0, 1.5)),
        "h": Float(0.1, 1.0, log=True, valid=(1e-3, 1e3)),
        "scale": SCALE,
    },
    source="arXiv:2204.00964",
    deviations={"gradcheck": "by design: the lengths that set the margin have no gradient"},
)
def adaface(problem: Problem, *, m: float = 0.4, h: float = 0.333, scale: float = 64.0) -> AdaFaceLoss:
    """Softmax on scaled cosines, the margin on angle or cosine by how long the embedding is among the others."""
    from lossbench.losses import AdaFaceLoss

    return AdaFaceLoss(
        problem.num_classes, problem.embedding_dim, m=m, h=h, scale=scale, generator=problem.generator
    )  # fmt: skip


@loss(
    "magface",
    space={
        "l_a": Int(1, 50, tune=False, valid=(1, 1_000_000)),
        "u_a": Int(20, 500, tune=False, valid=(2, 1_000_000)),
        "l_m": Float(0.05, 0.5, valid=(0.0, 1.5)),
        "u_m": Float(0.5, 1.0, valid=(0.0, 1.5)),
        "lambda_g": Float(5.0, 100.0, log=True, valid=(0.0, math.inf)),
        "scale": SCALE,
    },
    source="arXiv:2103.06627",
)
def magface(
    problem: Problem,
    *,
    l_a: int = 10,
    u_a: int = 110,
    l_m: float = 0.45,
    u_m: float = 0.8,
    lambda_g: float = 35.0,
    scale: float = 64.0,
) -> MagFaceLoss:
    """ArcFace whose margin grows from `l_m` to `u_m` radians with lengths from `l_a` to `u_a`, which it lengthens."""
    from lossbench.losses import MagFaceLoss

    return MagFaceLoss(
        problem.num_classes, problem.embedding_dim,
        l_a=l_a, u_a=u_a, l_m=l_m, u_m=u_m, lambda_g=lambda_g, scale=scale, generator=problem.generator,
    )  # fmt: skip


@loss(
    "sphereface",
    space={"margin": Int(2, 5, valid=(1, 20)), "scale": Float(0.25, 4.0, log=True, valid=(0.0, 1e4))},
    source="arXiv:1704.08063",
)
def sphereface(problem: Problem, *, margin: int = 4, scale: float = 1.0) -> pml.SphereFaceLoss:
    """Softmax with the own class's angle multiplied by `margin`, proxies normalized, embeddings not."""
    from pytorch_metric_learning.losses import SphereFaceLoss

    from lossbench.losses.library import SafeCosine

    return SphereFaceLoss(
        problem.num_classes, problem.embedding_dim, margin=margin, scale=scale, distance=SafeCosine()
    )  # fmt: skip


@loss(
    "large-margin-softmax",
    space={"margin": Int(2, 5, valid=(1, 20)), "scale": Float(0.25, 4.0, log=True, valid=(0.0, 1e4))},
    source="arXiv:1612.02295",
)
def large_margin_softmax(problem: Problem, *, margin: int = 4, scale: float = 1.0) -> pml.LargeMarginSoftmaxLoss:
    """Softmax with the own class's angle multiplied by `margin`, nothing normalized."""
    from pytorch_metric_learning.losses import LargeMarginSoftmaxLoss

    from lossbench.losses.library import SafeCosine

    return LargeMarginSoftmaxLoss(
        problem.num_classes, problem.embedding_dim, margin=margin, scale=scale, distance=SafeCosine()
    )  # fmt: skip


@loss(
    "normalized-softmax",
    space={"temperature": Float(0.01, 0.5, log=True, valid=(1e-6, 1e3))},
    source="arXiv:1811.12649",
)
def normalized_softmax(problem: Problem, *, temperature: float = 0.05) -> pml.NormalizedSoftmaxLoss:
    """Softmax on cosines over a temperature."""
    from pytorch_metric_learning.losses import NormalizedSoftmaxLoss

    return NormalizedSoftmaxLoss(problem.num_classes, problem.embedding_dim, temperature=temperature)


@loss("p2sgrad", source="arXiv:1905.02479")
def p2sgrad(problem: Problem) -> pml.P2SGradLoss:
    """Squared error of the cosines to all proxies against 1 for the own class and 0 elsewhere."""
    from lossbench.losses.library import P2SGradLoss

    return P2SGradLoss(problem.embedding_dim, problem.num_classes)


@loss(
    "proxy-anchor",
    space={
        "margin": Float(0.0, 0.4, valid=(0.0, 2.0)),
        "alpha": Float(8.0, 64.0, log=True, valid=(1e-3, 1e4)),
    },
    source="arXiv:2003.13911",
)
def proxy_anchor(problem: Problem, *, margin: float = 0.1, alpha: float = 32.0) -> pml.ProxyAnchorLoss:
    """Each proxy as an anchor: a soft maximum over the batch's positives and over its negatives."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss

    return ProxyAnchorLoss(problem.num_classes, problem.embedding_dim, margin=margin, alpha=alpha)


@loss(
    "proxy-nca",
    space={"softmax_scale": Float(1.0, 32.0, log=True, valid=(0.0, 1e4))},
    source="arXiv:1703.07464, scale of arXiv:2004.01113",
    deviations={"half precision": "the gradient of the log of a small probability overflows float16 in the library"},
)
def proxy_nca(problem: Problem, *, softmax_scale: float = 9.0) -> pml.ProxyNCALoss:
    """Neighborhood component analysis between samples and proxies, by squared distances on the sphere.

    The own proxy is part of the denominator, as in ProxyNCA++; the default scale is its temperature 1/9, which is also
    what both published codes reach by making the unit vectors three times as long.
    """
    from lossbench.losses.library import ProxyNCALoss

    return ProxyNCALoss(problem.num_classes, problem.embedding_dim, softmax_scale=softmax_scale)


@loss(
    "soft-triple",
    space={
        "la": Float(5.0, 40.0, log=True, valid=(0.0, 1e4)),
        "gamma": Float(0.02, 0.5, log=True, valid=(1e-4, 1e3)),
        "margin": Float(0.0, 0.1, valid=(0.0, 2.0)),
        "tau": Float(0.0, 0.4, valid=(0.0, math.inf)),
        "centers_per_class": Int(2, 20, tune=False, valid=(2, 100)),
    },
    source="arXiv:1909.05235",
)
def soft_triple(
    problem: Problem,
    *,
    la: float = 20.0,
    gamma: float = 0.1,
    margin: float = 0.01,
    tau: float = 0.2,
    centers_per_class: int = 10,
) -> pml.SoftTripleLoss:
    """Softmax on a soft maximum over several proxies of each class, which `tau` draws together."""
    from pytorch_metric_learning.losses import SoftTripleLoss

    from lossbench.losses.library import WithinClassRegularizer

    return SoftTripleLoss(
        problem.num_classes, problem.embedding_dim, centers_per_class=centers_per_class,
        la=la, gamma=gamma, margin=margin, weight_reg_weight=tau,
        weight_regularizer=WithinClassRegularizer(problem.num_classes, centers_per_class),
    )  # fmt: skip
