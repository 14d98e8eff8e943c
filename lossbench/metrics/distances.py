"""Distance statistics: how compact the classes are, how far apart, and how the space is used.

Classes with a single sample are left out of everything here, and counted. Definitions: docs/protocol.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lossbench.metrics.grouping import class_sums, group, middle
from lossbench.metrics.inputs import Array, as_tensor, at_once, read_labels, read_matrix, read_sample
from lossbench.metrics.pairs import MAX_PAIRS, PairDistances, pair_distances

_BLOCK_ELEMENTS = 1 << 21


def unit(embeddings: Array) -> Tensor:
    """The embeddings on the unit sphere; a row of zeros has no direction and stays zero.

    In their own precision; half in double, since neither half nor single keeps the order of a narrow cone's distances.

    Args:
        embeddings: (N, D), NumPy or torch.

    Returns:
        A tensor (N, D) of the same floating type (float64 for half precision and integers), same device.

    Raises:
        ValueError: shape or values that are not those of finite embeddings.

    >>> import numpy as np
    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    points = read_matrix(embeddings, "embeddings")
    largest = points.abs().amax(1, keepdim=True)
    points = points / largest.where(largest > 0, 1.0)  # squares of tiny rows must not vanish
    norms: Tensor = torch.linalg.vector_norm(points, dim=1, keepdim=True)
    return (points / norms.where(norms > 0, 1.0)).to(_floating_type(embeddings))


def distance_statistics(
    embeddings: Array,
    labels: Array,
    *,
    max_pairs: int = MAX_PAIRS,
    seed: int = 0,
    pairs: PairDistances | None = None,
) -> dict[str, float]:
    """The distance statistics of the embeddings in the space they are given in.

    `scatter_statistics`, then over pairs i < j `pair_intra_mean`, `pair_inter_mean`, `d_prime` and `pi_ratio`
    (exact up to `max_pairs` pairs, else from a fixed sample of that size), and of the singular values `rho` and
    `effective_rank`. Two figures are counts: `singleton_classes` left out, and `pairs_sampled`, 0 or 1.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.
        max_pairs: number of pairs above which they are sampled.
        seed: fixes that sample.
        pairs: `repeated_class_pairs` of the same points, where they are at hand.

    Returns:
        Figure to value; NaN where the definition gives none (one class only, no spread to divide by).

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no class with two samples.

    >>> import numpy as np
    >>> found = distance_statistics(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1]))
    >>> found["intra_mean"], found["inter_mean"], found["pair_inter_mean"]
    (1.0, 10.0, 10.0)
    """
    classes = _classes(*read_sample(embeddings, labels))
    pairs = pairs or pair_distances(classes.points, classes.own, max_pairs=max_pairs, seed=seed)
    figures = _scatter(classes) | _pair_statistics(pairs)
    return {
        **figures,
        "pi_ratio": _ratio(figures["pair_intra_mean"], figures["inter_mean"]),
        **_spectrum(classes.points, torch.finfo(_floating_type(embeddings)).eps),
        "singleton_classes": float(classes.singletons),
        "pairs_sampled": float(pairs.sampled),
    }


def scatter_statistics(embeddings: Array, labels: Array) -> dict[str, float]:
    """The part of `distance_statistics` that needs class means only; O(N D + C^2 D), for use at every epoch.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.

    Returns:
        `intra_mean`, `intra_variance`, `inter_mean`, `inter_nearest`, `intra_inter_ratio`, `scatter_ratio`.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no class with two samples.

    >>> import numpy as np
    >>> scatter_statistics(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1]))["scatter_ratio"]
    0.04
    """
    return _scatter(_classes(*read_sample(embeddings, labels)))


def per_class_statistics(embeddings: Array, labels: Array) -> dict[str, NDArray[Any]]:
    """One row for each class of at least two samples, as columns.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.

    Returns:
        `label` (ascending), `count`, `intra` (mean distance to the class mean), `nearest_label` and
        `nearest_distance` (to the nearest other class mean; the own label and NaN where there is no other).

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no class with two samples.
    """
    classes = _classes(*read_sample(embeddings, labels))
    nearest, distance, _ = _between(classes.means)
    intra = class_sums(_to_own_mean(classes)[:, None], classes.own, len(classes.labels))[:, 0]
    columns = {
        "label": classes.labels,
        "count": classes.sizes,
        "intra": intra / classes.sizes,
        "nearest_label": classes.labels[nearest],
        "nearest_distance": distance,
    }
    return {name: column.cpu().numpy() for name, column in columns.items()}


def repeated_class_pairs(
    embeddings: Array, labels: Array, *, max_pairs: int = MAX_PAIRS, seed: int = 0
) -> PairDistances:
    """The pair distances that section 2 of the protocol speaks of: classes with a single sample left out.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.
        max_pairs: number of pairs above which they are sampled.
        seed: fixes that sample.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no class with two samples.
    """
    classes = _classes(*read_sample(embeddings, labels))
    return pair_distances(classes.points, classes.own, max_pairs=max_pairs, seed=seed)


def distance_histograms(pairs: PairDistances, bins: int = 64) -> dict[str, NDArray[Any]]:
    """Counts of genuine and impostor distances on common edges from 0 to the largest distance.

    Args:
        pairs: as `repeated_class_pairs` gives them.
        bins: number of bins, at least 1.

    Returns:
        `edges` (bins + 1,), `genuine` (bins,) and `impostor` (bins,).

    Raises:
        ValueError: bins below 1.
    """
    if bins < 1:
        raise ValueError(f"bins: {bins} is below 1")
    top = max(float(kind.max()) for kind in (pairs.genuine, pairs.impostor) if len(kind)) or 1.0
    counts = {
        kind: torch.histc(values, bins, 0.0, top).long().cpu().numpy()
        for kind, values in (("genuine", pairs.genuine), ("impostor", pairs.impostor))
    }
    return {"edges": torch.linspace(0.0, top, bins + 1, dtype=torch.float64).numpy(), **counts}


def center_statistics(centers: Array, embeddings: Array, labels: Array) -> dict[str, float]:
    """How far the centers of a centre loss are from the true class means: ||c_j - mean of class j||.

    Args:
        centers: (C, D); row j belongs to label j.
        embeddings: (N, D) in the space the centers live in.
        labels: (N,) integers in [0, C).

    Returns:
        `center_distance_mean` and `center_distance_max` over the classes with at least two samples, and
        `centers_without_mean`, the number of the others.

    Raises:
        ValueError: arrays that do not fit, labels without a center, no class with two samples.

    >>> import numpy as np
    >>> found = center_statistics(np.array([[0.0], [5.0]]), np.array([[1.0], [3.0]]), np.array([0, 0]))
    >>> found["center_distance_max"], found["centers_without_mean"]
    (2.0, 1.0)
    """
    points = read_matrix(embeddings, "embeddings")
    rows = read_matrix(centers, "centers").to(points.device)
    if rows.shape[1] != points.shape[1]:
        raise ValueError(f"centers: dimension {rows.shape[1]} is not that of the embeddings, {points.shape[1]}")
    known = read_labels(labels, len(points), points.device)
    if known.min() < 0 or known.max() >= len(rows):
        bad = int(known.min()) if known.min() < 0 else int(known.max())
        raise ValueError(f"labels: {bad} has no center; {len(rows)} centers stand for 0 to {len(rows) - 1}")
    classes = _classes(points, known)
    away = torch.linalg.vector_norm(rows[classes.labels] - classes.origin - classes.means, dim=1)
    return {
        "center_distance_mean": float(away.mean()),
        "center_distance_max": float(away.max()),
        "centers_without_mean": float(len(rows) - len(away)),
    }


class _Classes(NamedTuple):
    """The samples of the classes that have at least two; means are relative to `origin`."""

    points: Tensor
    own: Tensor
    labels: Tensor
    sizes: Tensor
    means: Tensor
    origin: Tensor
    singletons: int


def _classes(points: Tensor, labels: Tensor) -> _Classes:
    names, own, sizes = group(labels)
    repeated = sizes > 1
    if not repeated.any():
        raise ValueError(f"labels: none of the {len(names)} classes has two samples; one at least must have")
    keep = repeated[own]
    points, own = points[keep], (repeated.cumsum(0) - 1)[own[keep]]
    names, sizes = names[repeated], sizes[repeated]
    # From the median, embeddings that collapsed to one point are exactly zero, not rounding noise to divide by.
    origin = middle(points)
    means = class_sums(points - origin, own, len(names)) / sizes[:, None]
    return _Classes(points, own, names, sizes, means, origin, int((~repeated).sum()))


def _to_own_mean(classes: _Classes) -> Tensor:
    away = classes.points - classes.origin
    away -= classes.means[classes.own]  # in place: no third array of this size
    distances: Tensor = torch.linalg.vector_norm(away, dim=1)
    return distances


def _scatter(classes: _Classes) -> dict[str, float]:
    own = _to_own_mean(classes)
    intra, within = float(own.mean()), float(own.square().mean())
    _, nearest, inter = _between(classes.means)
    shares = classes.sizes[:, None].double() / len(own)
    overall = (shares * classes.means).sum(0)
    between = float((shares * (classes.means - overall).square()).sum())
    return {
        "intra_mean": intra,
        "intra_variance": within,
        "inter_mean": inter,
        "inter_nearest": float(nearest.mean()),
        "intra_inter_ratio": _ratio(intra, float(nearest.mean())),
        "scatter_ratio": _ratio(within, between),
    }


def _between(means: Tensor) -> tuple[Tensor, Tensor, float]:
    """Index and distance of each class's nearest other mean, and the mean over all pairs of different classes."""
    count = len(means)
    if count == 1:
        return torch.zeros_like(means[:, 0], dtype=torch.int64), torch.full_like(means[:, 0], math.nan), math.nan
    nearest, distance, total = [], [], 0.0
    rows = max(1, at_once(_BLOCK_ELEMENTS, means.device) // count)
    for start in range(0, count, rows):
        block = torch.cdist(means[start : start + rows], means, compute_mode="donot_use_mm_for_euclid_dist")
        total += float(block.sum())
        block.diagonal(start).fill_(math.inf)
        low = block.min(1)
        nearest.append(low.indices)
        distance.append(low.values)
    return torch.cat(nearest), torch.cat(distance), total / (count * (count - 1))


def _pair_statistics(pairs: PairDistances) -> dict[str, float]:
    figures = {"pair_intra_mean": float(pairs.genuine.mean()), "pair_inter_mean": math.nan, "d_prime": math.nan}
    if len(pairs.impostor):
        figures["pair_inter_mean"] = float(pairs.impostor.mean())
        variance = float(pairs.genuine.var(correction=0) + pairs.impostor.var(correction=0))
        gap = abs(figures["pair_inter_mean"] - figures["pair_intra_mean"])
        figures["d_prime"] = _ratio(gap, math.sqrt(variance / 2))
    return figures


def _spectrum(points: Tensor, eps: float) -> dict[str, float]:
    values = torch.linalg.svdvals(points)
    if not values[0] > 0:
        return {"rho": math.nan, "effective_rank": math.nan}
    shares = values / values.sum()
    effective_rank = float(torch.special.entr(shares).sum().exp())
    if values[-1] < max(points.shape) * eps * values[0]:
        return {"rho": math.nan, "effective_rank": effective_rank}
    return {"rho": float(-(shares * len(shares)).log().mean()), "effective_rank": effective_rank}


def _floating_type(embeddings: Array) -> torch.dtype:
    """The precision that directions are kept in: that of the embeddings if it is float32, else double."""
    return torch.float32 if as_tensor(embeddings, "embeddings").dtype == torch.float32 else torch.float64


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
