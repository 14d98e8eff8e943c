"""MAP@R without each group of samples: how much a figure hangs on which classes or images were tested."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lossbench.metrics.galleries import Questions
from lossbench.metrics.grouping import group
from lossbench.metrics.inputs import Array, at_once, read_labels, read_rows, read_sample
from lossbench.metrics.ranking import nearest_blocks
from lossbench.metrics.retrieval import Ranked, largest_class_first

_PART_ELEMENTS = 1 << 19
_MUCH = 1 << 28  # neighbors counted anew in a block: seconds


def map_at_r_without(embeddings: Array, labels: Array, groups: Array, *, asking: Array | None = None) -> Tensor:
    """MAP@R of what is left when one group of samples is deleted, from the queries and from the gallery.

    The neighbors are searched once, deep enough for any deletion, and counted anew for each group: O(N^2 D) for
    the search, and O(R + largest group) for each query and each group that is near it or of its class. Where a large
    class has many small ones among its neighbors, these cost O(R + largest group) for a query all together.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.
        groups: (N,) integers of any values: the group of each sample, of which there are G.
        asking: (A,) rows of the samples that ask; None: all.

    Returns:
        (G,) float64 on the device of the embeddings, groups ascending; NaN where what is left has no class of two
        samples.

    Raises:
        ValueError: arrays that do not fit, values that are not finite.

    >>> import numpy as np
    >>> points, labels = np.array([[0.0], [1.0], [1.4], [5.0], [6.0]]), np.array([0, 0, 1, 1, 1])
    >>> map_at_r_without(points, labels, np.array([0, 0, 1, 2, 2])).tolist()
    [1.0, 1.0, 0.5]
    """
    points, known = read_sample(embeddings, labels)
    names, member, sizes = group(read_labels(groups, len(points), points.device, "groups"))
    ranked = largest_class_first(points, known)
    member = member[ranked.order]
    who = ranked.places(read_rows(asking, len(points), points.device))
    own, group_of, all_relevant = ranked.own[who], member[who], ranked.relevant[who]
    depth = (all_relevant + sizes.max()).clamp(max=len(points) - 1)
    everyone = (all_relevant > 0).double()
    sums, counts = (
        points.new_zeros(len(names)),
        everyone.sum() - points.new_zeros(len(names)).index_add_(0, group_of, everyone),
    )
    blocks = nearest_blocks(ranked.gallery.points, ranked.own, ranked.gallery, depth, leave_one_out=True, asked=who)
    for block, found in blocks:
        relevant, near = all_relevant[block], member[found]
        match = ranked.own[found] == own[block, None]
        average = _average_precision(match, relevant)
        sums += average.sum() - points.new_zeros(len(names)).index_add_(0, group_of[block], average)
        fewer = _members(ranked, member, own[block], len(names))
        touched = (fewer > 0).scatter_(1, torch.where(_first(near, relevant), near, group_of[block, None]), True)
        touched.scatter_(1, group_of[block, None], False)  # such a query is deleted itself
        if int(touched.sum()) * near.shape[1] > _MUCH:
            small = (fewer == 0) & (sizes <= _small(sizes))  # its deletion takes no match away
            sums += _moved_up(match, relevant, near, (touched & small).gather(1, near), len(names))
            touched &= ~small
        for row, place in _in_parts(touched.nonzero(), near.shape[1]):
            left = relevant[row] - fewer[row, place]
            again = _average_precision(match[row], left, near[row] != place[:, None])
            sums.index_add_(0, place, again - average[row])
            counts.index_add_(0, place, (left > 0).double() - (relevant[row] > 0).double())
    return torch.where(counts > 0, sums / counts, math.nan)


def _small(sizes: Tensor) -> int:
    """The size up to which groups (G,) are counted by rank: a rank costs about what one group counted anew does."""
    most = sizes.sort().values
    larger = len(sizes) - torch.searchsorted(most, most, right=True)
    return int(most[(most + larger).argmin()])


def _moved_up(match: Tensor, relevant: Tensor, near: Tensor, counted: Tensor, groups: int) -> Tensor:
    """What AP@R of all queries of a block gains (G,) where the deletion of a group only moves their matches up.

    With the k-th neighbor of a group gone as well as those before it, all after it stand k places higher, no longer
    k - 1. So the group's gain is the sum, over its neighbors, of what the matches after each gain by one more place.

    Args:
        match, near: (rows, M) whether a neighbor is of the query's class, and its group.
        relevant: (rows,) R of each query.
        counted: (rows, M) the neighbors of groups that are to be counted.
    """
    rank = torch.arange(1, near.shape[1] + 1, device=near.device)
    hits = match.cumsum(1, dtype=torch.float64) * match
    which = _repetition(near).masked_fill_(~counted, 0)
    gain = torch.zeros_like(hits)
    before = torch.zeros_like(hits)
    for up in range(int(which.max()) + 1):
        higher = (rank - up).clamp(min=1)
        share = hits * (higher <= relevant[:, None]) / higher
        after = share.sum(1, keepdim=True) - share.cumsum(1)
        gain = torch.where(which == up, after - before, gain) if up else gain
        before = after
    gain /= relevant.clamp(min=1)[:, None]
    gains: Tensor = hits.new_zeros(groups).index_add_(0, near.flatten(), gain.flatten())
    return gains


def _repetition(near: Tensor) -> Tensor:
    """For each of the neighbors (rows, M), the how many-th of its group it is, from 1."""
    order = near.argsort(dim=1, stable=True)
    place = torch.arange(near.shape[1], device=near.device).expand_as(near)
    same = near.gather(1, order)
    starts = torch.ones_like(same, dtype=torch.bool)
    starts[:, 1:] = same.diff(dim=1) != 0
    first = (place * starts).cummax(1).values
    found: Tensor = torch.empty_like(near).scatter_(1, order, place - first + 1)
    return found


def gallery_map_at_r_without(asked: Questions) -> Tensor:
    """MAP@R of what is left when one class of the gallery is deleted, from the queries and from the gallery.

    R of the other queries stays, so that only those near which the class lies are counted anew.

    Returns:
        (C,) float64, the gallery's classes ascending; NaN where no query is left.
    """
    sizes = torch.tensor(asked.gallery.bounds, device=asked.own.device).diff()
    queries = asked.own.bincount(minlength=len(sizes))
    sums = asked.points.new_zeros(len(sizes))
    for block in asked.blocks(asked.relevant + sizes.max()):
        own, relevant, near = asked.own[block.which], asked.relevant[block.which], asked.classes[block.found]
        average = _average_precision(block.match, relevant, block.kept)
        sums += average.sum() - torch.zeros_like(sums).index_add_(0, own, average)
        first = block.kept.cumsum(1) <= relevant[:, None]
        touched = torch.zeros(len(own), len(sizes), dtype=torch.bool, device=own.device)
        touched.scatter_(1, torch.where(first, near, own[:, None]), True).scatter_(1, own[:, None], False)
        for row, place in _in_parts(touched.nonzero(), near.shape[1]):
            kept = block.kept[row] & (near[row] != place[:, None])
            sums.index_add_(0, place, _average_precision(block.match[row], relevant[row], kept) - average[row])
    left = len(asked.own) - queries
    return torch.where(left > 0, sums / left, math.nan)


def _members(ranked: Ranked, member: Tensor, own: Tensor, groups: int) -> Tensor:
    """(rows, G): how many samples of the class of each query, `own` (rows,) ascending, each group holds."""
    first, last = int(own[0]), int(own[-1])
    samples = slice(ranked.gallery.bounds[first], ranked.gallery.bounds[last + 1])
    held = (ranked.own[samples] - first) * groups + member[samples]
    return held.bincount(minlength=(last + 1 - first) * groups).view(-1, groups)[own - first]


def _first(near: Tensor, relevant: Tensor) -> Tensor:
    """Which neighbors (rows, depth) are among the R nearest of their query."""
    return torch.arange(near.shape[1], device=near.device) < relevant[:, None]


def _in_parts(pairs: Tensor, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and groups of pairs (P, 2), as many at once as rows of that width fit."""
    for part in torch.split(pairs, max(1, at_once(_PART_ELEMENTS, pairs.device) // width)):
        yield part[:, 0], part[:, 1]


def _average_precision(match: Tensor, relevant: Tensor, kept: Tensor | None = None) -> Tensor:
    """AP@R (rows,) over the neighbors that are kept, of which `relevant` (rows,) could match; 0 where none could."""
    hits = match if kept is None else match & kept
    rank = torch.ones_like(match).cumsum(1) if kept is None else kept.cumsum(1)
    counted = hits & (rank <= relevant[:, None])
    average: Tensor = (counted * hits.cumsum(1) / rank.clamp(min=1).double()).sum(1) / relevant.clamp(min=1)
    return average
