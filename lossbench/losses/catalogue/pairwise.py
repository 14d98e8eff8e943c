"""Losses that compare the samples of a batch in pairs, triplets or larger tuples. All take balanced batches.

`memory` compares the batch with that many embeddings of earlier batches (0: with itself); `miner` picks tuples. Both
are set by experiments and not searched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.plugins import Choice, Float, Int, Problem, loss

if TYPE_CHECKING:
    from pytorch_metric_learning import losses as pml
    from torch import nn

MEMORY = Int(0, 8192, tune=False, valid=(0, 1_000_000))
ON_SPHERE = (0.0, 2.0)  # distances between unit vectors
TEMPERATURE = Float(0.01, 1.0, log=True, valid=(1e-6, 1e3))


@loss(
    "angular",
    space={"alpha": Float(30.0, 55.0, valid=(1.0, 89.0)), "memory": MEMORY},
    sampler="balanced",
    source="arXiv:1708.01682",
)
def angular(problem: Problem, *, alpha: float = 40.0, memory: int = 0) -> nn.Module:
    """The angle at the negative in a triangle with anchor and positive, at most `alpha` degrees."""
    from pytorch_metric_learning.losses import AngularLoss

    from lossbench.losses.library import UnitLoss
    from lossbench.losses.options import with_options

    # The library leaves the negatives at their own length; the paper's vectors are all normalized.
    return UnitLoss(with_options(AngularLoss(alpha=alpha), problem.embedding_dim, memory=memory))


@loss(
    "circle",
    space={
        "m": Float(0.1, 0.5, valid=(0.0, 1.0)),
        "gamma": Float(16.0, 512.0, log=True, valid=(0.0, 1e4)),
        "memory": MEMORY,
    },
    sampler="balanced",
    source="arXiv:2002.10857",
    deviations={"gradcheck": "by design: the weights of the pairs have no gradient"},
)
def circle(problem: Problem, *, m: float = 0.4, gamma: float = 80.0, memory: int = 0) -> nn.Module:
    """Every pair's cosine weighted by how far it is from its optimum."""
    from pytorch_metric_learning.losses import CircleLoss

    from lossbench.losses.options import with_options

    return with_options(CircleLoss(m=m, gamma=gamma), problem.embedding_dim, memory=memory)  # type: ignore[no-any-return]


@loss(
    "snr-contrastive",
    space={
        "pos_margin": Float(0.0, 0.3, valid=(0.0, 100.0)),
        "neg_margin": Float(0.1, 2.0, valid=(0.0, 100.0)),
        "memory": MEMORY,
    },
    sampler="balanced",
    source="arXiv:1904.02616",
)
def snr_contrastive(
    problem: Problem, *, pos_margin: float = 0.0, neg_margin: float = 1.0, memory: int = 0
) -> nn.Module:
    """Contrastive loss on the variance of the difference over the variance of the anchor."""
    from lossbench.losses.library import SNRContrastiveLoss
    from lossbench.losses.options import with_options

    built = SNRContrastiveLoss(pos_margin=pos_margin, neg_margin=neg_margin)
    return with_options(built, problem.embedding_dim, memory=memory)  # type: ignore[no-any-return]


@loss(
    "multi-similarity",
    space={
        "alpha": Float(0.5, 20.0, log=True, valid=(1e-3, 1e4)),
        "beta": Float(10.0, 100.0, log=True, valid=(1e-3, 1e4)),
        "base": Float(0.2, 0.9, valid=(-1.0, 1.0)),
        "miner": Choice(("all", "multi-similarity")),
        "memory": MEMORY,
    },
    sampler="balanced",
    source="arXiv:1904.06627",
)
def multi_similarity(
    problem: Problem,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    miner: str = "multi-similarity",
    memory: int = 0,
) -> nn.Module:
    """Soft maxima over positive and negative cosines, of pairs harder than the opposite kind's extreme plus 0.1."""
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner

    from lossbench.losses.options import with_options

    picks = MultiSimilarityMiner(epsilon=0.1) if miner == "multi-similarity" else None
    built = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
    return with_options(built, problem.embedding_dim, memory=memory, miner=picks)  # type: ignore[no-any-return]


@loss(
    "supcon",
    space={"temperature": TEMPERATURE, "memory": MEMORY},
    sampler="balanced",
    source="arXiv:2004.11362",
)
def supcon(problem: Problem, *, temperature: float = 0.1, memory: int = 0) -> nn.Module:
    """Supervised contrastive: log-softmax over all others, averaged over the positives."""
    from pytorch_metric_learning.losses import SupConLoss

    from lossbench.losses.options import with_options

    return with_options(SupConLoss(temperature=temperature), problem.embedding_dim, memory=memory)  # type: ignore[no-any-return]


@loss("ntxent", space={"temperature": TEMPERATURE}, sampler="balanced", source="arXiv:1807.03748, arXiv:2002.05709")
def ntxent(problem: Problem, *, temperature: float = 0.07) -> pml.NTXentLoss:
    """InfoNCE with labels: each positive against all negatives of its anchor."""
    from lossbench.losses.tuplets import NTXentLoss

    return NTXentLoss(temperature=temperature)


@loss(
    "n-pairs",
    space={"l2": Float(1e-4, 0.1, log=True, valid=(0.0, 1e3))},
    sampler="balanced",
    source="Sohn, NIPS 2016",
    deviations={"permutation": "one pair is taken of each class: which one depends on the order"},
)
def n_pairs(problem: Problem, *, l2: float = 0.02) -> pml.NPairsLoss:
    """One pair a class, each anchor's positive against the others', by inner products with their length held small.

    The library would normalize; the paper regularizes the squared length instead.
    """
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss
    from pytorch_metric_learning.regularizers import LpRegularizer

    return NPairsLoss(
        distance=DotProductSimilarity(normalize_embeddings=False),
        embedding_regularizer=LpRegularizer(p=2, power=2), embedding_reg_weight=l2,
    )  # fmt: skip


@loss(
    "nca",
    space={"softmax_scale": Float(1.0, 32.0, log=True, valid=(0.0, 1e4))},
    sampler="balanced",
    source="Goldberger et al., NIPS 2004",
)
def nca(problem: Problem, *, softmax_scale: float = 9.0) -> pml.NCALoss:
    """Minus the log-probability of a neighbor of the own class, by squared distances on the sphere."""
    from lossbench.losses.library import NCALoss

    return NCALoss(softmax_scale=softmax_scale)


@loss(
    "lifted",
    space={
        "pos_margin": Float(0.0, 0.5, valid=ON_SPHERE),
        "neg_margin": Float(0.3, 1.5, valid=ON_SPHERE),
    },
    sampler="balanced",
    source="arXiv:1511.06452",
)
def lifted(problem: Problem, *, pos_margin: float = 0.0, neg_margin: float = 1.0) -> pml.LiftedStructureLoss:
    """Each positive pair against a soft maximum over the negatives of both its ends."""
    from lossbench.losses.tuplets import LiftedStructureLoss

    return LiftedStructureLoss(pos_margin=pos_margin, neg_margin=neg_margin)


@loss(
    "generalized-lifted",
    space={
        "pos_margin": Float(0.0, 0.5, valid=ON_SPHERE),
        "neg_margin": Float(0.3, 1.5, valid=ON_SPHERE),
    },
    sampler="balanced",
    source="arXiv:1703.07737",
)
def generalized_lifted(
    problem: Problem, *, pos_margin: float = 0.0, neg_margin: float = 1.0
) -> pml.GeneralizedLiftedStructureLoss:
    """Soft maxima over all positives and over all negatives of each anchor."""
    from pytorch_metric_learning.losses import GeneralizedLiftedStructureLoss

    return GeneralizedLiftedStructureLoss(pos_margin=pos_margin, neg_margin=neg_margin)


@loss(
    "margin",
    space={
        "margin": Float(0.05, 0.5, valid=ON_SPHERE),
        "beta": Float(0.6, 1.4, valid=ON_SPHERE),
        "nu": Float(0.0, 0.1, valid=(0.0, 1e3)),
        "boundary": Choice(("fixed", "shared", "per-class")),
        "miner": Choice(("all", "distance-weighted")),
    },
    sampler="balanced",
    source="arXiv:1706.07567",
    deviations={"permutation": "the miner draws negatives at random"},
)
def margin_(
    problem: Problem,
    *,
    margin: float = 0.2,
    beta: float = 1.2,
    nu: float = 0.0,
    boundary: str = "per-class",
    miner: str = "distance-weighted",
) -> nn.Module:
    """Distances below and above a learned boundary by `margin`, negatives drawn evenly over all distances.

    `boundary` says whether `beta` is learned, for each class or for all; `nu` makes a large one costly.
    """
    from pytorch_metric_learning.losses import MarginLoss
    from pytorch_metric_learning.miners import DistanceWeightedMiner

    from lossbench.losses.options import with_options

    built = MarginLoss(
        margin=margin, beta=beta, nu=nu, learn_beta=boundary != "fixed",
        num_classes=problem.num_classes if boundary == "per-class" else None,
    )  # fmt: skip
    picks = DistanceWeightedMiner(cutoff=0.5, nonzero_loss_cutoff=1.4) if miner == "distance-weighted" else None
    return with_options(built, problem.embedding_dim, miner=picks)  # type: ignore[no-any-return]


@loss(
    "tuplet-margin",
    space={
        "margin": Float(1.0, 12.0, valid=(0.0, 90.0)),
        "scale": Float(8.0, 128.0, log=True, valid=(0.0, 1e4)),
    },
    sampler="balanced",
    source="doi:10.1109/ICCV.2019.00659",
)
def tuplet_margin(problem: Problem, *, margin: float = 5.73, scale: float = 64.0) -> pml.TupletMarginLoss:
    """Each positive, its angle eased by `margin` degrees, against all negatives of its anchor."""
    from lossbench.losses.library import SafeCosine
    from lossbench.losses.tuplets import TupletMarginLoss

    return TupletMarginLoss(margin=margin, scale=scale, distance=SafeCosine())


@loss(
    "intra-pair-variance",
    space={
        "pos_eps": Float(0.001, 0.2, log=True, valid=(0.0, 1.0)),
        "neg_eps": Float(0.001, 0.2, log=True, valid=(0.0, 1.0)),
        "memory": MEMORY,
    },
    sampler="balanced",
    source="doi:10.1109/ICCV.2019.00659",
)
def intra_pair_variance(
    problem: Problem, *, pos_eps: float = 0.01, neg_eps: float = 0.01, memory: int = 0
) -> nn.Module:
    """Pairs no worse than the mean pair of their kind; meant beside `tuplet-margin`."""
    from pytorch_metric_learning.losses import IntraPairVarianceLoss

    from lossbench.losses.options import with_options

    built = IntraPairVarianceLoss(pos_eps=pos_eps, neg_eps=neg_eps)
    return with_options(built, problem.embedding_dim, memory=memory)  # type: ignore[no-any-return]


@loss(
    "dynamic-soft-margin",
    space={
        "num_bins": Int(10, 512, tune=False, valid=(2, 100_000)),
        "momentum": Float(0.005, 0.1, log=True, valid=(0.0, 1.0)),
    },
    sampler="balanced",
    source="doi:10.1109/ICCV.2019.00306",
    deviations={"gradcheck": "by design: the weights of the triplets have no gradient"},
)
def dynamic_soft_margin(problem: Problem, *, num_bins: int = 512, momentum: float = 0.01) -> nn.Module:
    """Triplets weighted by the share of recent ones that were easier, kept in a running histogram."""
    from lossbench.losses.library import DynamicSoftMarginLoss

    return DynamicSoftMarginLoss(num_bins=num_bins, momentum=momentum)


@loss(
    "ranked-list",
    space={
        "margin": Float(0.2, 0.8, valid=ON_SPHERE),
        "boundary": Float(0.8, 1.4, valid=ON_SPHERE),
        "negative_scale": Float(1.0, 20.0, log=True, valid=(0.0, 50.0)),
    },
    sampler="balanced",
    source="arXiv:1903.03238",
)
def ranked_list(
    problem: Problem, *, margin: float = 0.4, boundary: float = 1.2, negative_scale: float = 10.0
) -> pml.RankedListLoss:
    """Positives within `boundary - margin`, negatives beyond `boundary`, near negatives weighted exponentially.

    The paper calls the boundary alpha and the scale T_n; the positives are weighted alike (T_p = 0).
    """
    import warnings

    from pytorch_metric_learning.losses import RankedListLoss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of T_n above 5; on the sphere exp(10 * 1.2) is far from overflow
        return RankedListLoss(margin=margin, Tn=negative_scale, Tp=0.0, alpha=boundary, imbalance=0.5)


@loss(
    "tcm",
    space={
        "margin_plus": Float(0.7, 1.0, valid=(-1.0, 1.0)),
        "margin_minus": Float(0.1, 0.6, valid=(-1.0, 1.0)),
    },
    sampler="balanced",
    source="arXiv:2307.04047",
)
def tcm(problem: Problem, *, margin_plus: float = 0.9, margin_minus: float = 0.5) -> pml.ThresholdConsistentMarginLoss:
    """Threshold-consistent margins on the cosines of the hard pairs; meant beside another loss."""
    from pytorch_metric_learning.losses import ThresholdConsistentMarginLoss

    return ThresholdConsistentMarginLoss(margin_plus=margin_plus, margin_minus=margin_minus)
