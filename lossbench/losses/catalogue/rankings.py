"""Losses that score how a query ranks the rest of the batch. All take balanced batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.plugins import Choice, Float, Int, Problem, loss

if TYPE_CHECKING:
    from pytorch_metric_learning import losses as pml


@loss(
    "fastap",
    space={"num_bins": Int(5, 40, valid=(2, 10_000))},
    sampler="balanced",
    source="doi:10.1109/CVPR.2019.00196",
)
def fastap(problem: Problem, *, num_bins: int = 10) -> pml.FastAPLoss:
    """Average precision of histograms of the squared distances, `num_bins` bins between 0 and 4."""
    from pytorch_metric_learning.losses import FastAPLoss

    return FastAPLoss(num_bins=num_bins)


@loss(
    "smoothap",
    space={"temperature": Float(0.005, 0.1, log=True, valid=(1e-6, 1e3))},
    sampler="balanced",
    source="arXiv:2007.12163",
)
def smoothap(problem: Problem, *, temperature: float = 0.01) -> pml.SmoothAPLoss:
    """Average precision with sigmoids in place of steps."""
    from lossbench.losses.library import SmoothAPLoss

    return SmoothAPLoss(temperature=temperature)


@loss(
    "pnp",
    space={
        "anneal": Float(0.005, 0.1, log=True, valid=(1e-6, 1e3)),
        "alpha": Float(1.0, 8.0, valid=(0.0, 100.0)),
        "b": Float(1.0, 4.0, valid=(1e-3, 100.0)),
        "variant": Choice(("Ds", "Dq", "Iu", "Ib", "O")),
    },
    sampler="balanced",
    source="arXiv:2102.04640",
    deviations={"half precision": "the exponent of the library's sigmoid, up to 50, overflows float16"},
)
def pnp(
    problem: Problem, *, anneal: float = 0.01, alpha: float = 4.0, b: float = 2.0, variant: str = "Dq"
) -> pml.PNPLoss:
    """The number of negatives before each positive, smoothed; the paper's best variant lets far positives go (Dq)."""
    from pytorch_metric_learning.losses import PNPLoss

    return PNPLoss(b=b, alpha=alpha, anneal=anneal, variant=variant)


@loss(
    "histogram",
    space={"n_bins": Int(20, 200, valid=(2, 10_000))},
    sampler="balanced",
    source="arXiv:1611.00822",
)
def histogram(problem: Problem, *, n_bins: int = 100) -> pml.HistogramLoss:
    """The probability that a negative pair is more similar than a positive one, from two histograms of cosines."""
    from lossbench.losses.library import HistogramLoss

    return HistogramLoss(n_bins=n_bins)
