"""Distances of all pairs i < j, exact while they are few and a fixed sample of them when they are many."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.inputs import at_once

MAX_PAIRS = 5_000_000
_CHUNK = 1 << 13
_WORTH_ALL = 4


class PairDistances(NamedTuple):
    """Euclidean distances, float64, of same-class (`genuine`) and different-class (`impostor`) pairs."""

    genuine: Tensor
    impostor: Tensor
    sampled: bool


def pair_distances(points: Tensor, labels: Tensor, *, max_pairs: int, seed: int) -> PairDistances:
    """The distances of all pairs i < j, or of exactly `max_pairs` of them where there are more.

    The sample keeps every genuine pair as long as they fill no more than half of it, because with many classes
    a uniform sample would hold next to none; the rest are impostor pairs. Within its kind every pair is equally
    likely to be drawn, so any figure that depends on the two distributions separately (means, d', ROC) is
    estimated without bias. Memory is O(N D + max_pairs).

    Args:
        points: (N, D) float64.
        labels: (N,) int64.
        max_pairs: largest number of distances computed.
        seed: fixes the sample.

    Raises:
        ValueError: `max_pairs` below 2.
    """
    if max_pairs < 2:
        raise ValueError(f"max_pairs: {max_pairs} is below 2")
    order = torch.argsort(labels, stable=True)
    points = points[order].contiguous()
    counts = torch.unique_consecutive(labels[order], return_counts=True)[1]
    ends = counts.cumsum(0)
    total = len(points) * (len(points) - 1) // 2
    if total <= max_pairs:
        return _all_pairs(points, ends.tolist())
    genuine = int((counts * (counts - 1) // 2).sum())
    kept = _sample(genuine, total - genuine, max_pairs, seed)
    if total <= _WORTH_ALL * max_pairs:  # computing all and keeping some beats gathering the some
        every = _all_pairs(points, ends.tolist())
        return PairDistances(every.genuine[kept[0]], every.impostor[kept[1]], sampled=True)
    rows = torch.arange(len(points), device=points.device)
    end = ends.repeat_interleave(counts)  # of the own class; what follows it is of other classes
    return PairDistances(
        _some_pairs(points, rows + 1, end - rows - 1, kept[0]),
        _some_pairs(points, end, len(points) - end, kept[1]),
        sampled=True,
    )


def _all_pairs(points: Tensor, ends: list[int]) -> PairDistances:
    """Every pair of points sorted by class: within each class, then from it to all later classes."""
    genuine, impostor, start = [], [], 0
    for end in ends:
        # One function for both kinds: another (`pdist`) rounds differently, which would part tied pairs.
        block = _distances(points[start:end], points[start:])
        above = torch.ones(end - start, end - start, dtype=torch.bool, device=points.device).triu(1)
        genuine.append(block[:, : end - start][above])
        impostor.append(block[:, end - start :].flatten())
        start = end
    return PairDistances(torch.cat(genuine), torch.cat(impostor), sampled=False)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Differences first, then squares: the matrix-product form loses small distances to cancellation.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _some_pairs(points: Tensor, first: Tensor, count: Tensor, numbers: Tensor) -> Tensor:
    """Distances of some of the pairs (i, first_i + r), 0 <= r < count_i, which are numbered row by row."""
    last, numbers = count.cumsum(0), numbers.to(points.device)
    distances = points.new_empty(len(numbers))
    size = at_once(_CHUNK, points.device)
    for start in range(0, len(numbers), size):
        chunk = numbers[start : start + size]
        i = torch.searchsorted(last, chunk, right=True)
        j = first[i] + chunk - (last[i] - count[i])
        away = points[i]
        away -= points[j]
        torch.linalg.vector_norm(away, dim=1, out=distances[start : start + size])
    return distances


@lru_cache(maxsize=2)  # runs of one task, and both spaces of a run, ask for the same of validation and of test
def _sample(genuine: int, impostor: int, max_pairs: int, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of the genuine and of the impostor pairs that are kept, `max_pairs` together."""
    kept = min(genuine, max(max_pairs // 2, max_pairs - impostor))
    generator = torch.Generator().manual_seed(seed)
    return _some_numbers(genuine, kept, generator), _some_numbers(impostor, max_pairs - kept, generator)


def _some_numbers(total: int, size: int, generator: torch.Generator) -> Tensor:
    """`size` of the numbers below `total`, rising: one from each of `size` equal stretches.

    That covers all classes evenly and needs no list; a number that straddles two stretches may come twice.
    """
    numbers = torch.arange(size, dtype=torch.float64)
    if size < total:
        numbers = (numbers + torch.rand(size, generator=generator, dtype=torch.float64)) * (total / size)
    return numbers.long().clamp_(max=total - 1)
