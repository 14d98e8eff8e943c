"""Retrieval: each sample asks for the others of its class among all others, or queries ask a gallery (Euclidean)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.galleries import Questions, match_ranks, read_questions
from lossbench.metrics.grouping import class_sums, group
from lossbench.metrics.inputs import Array, read_rows, read_sample
from lossbench.metrics.ranking import Gallery, nearest_blocks

RECALL_AT = (1, 2, 4, 8)
CMC_AT = (1, 5, 10)


def retrieval_metrics(
    embeddings: Array,
    labels: Array,
    *,
    gallery: Array | None = None,
    gallery_labels: Array | None = None,
    groups: Array | None = None,
    gallery_groups: Array | None = None,
    places: Array | None = None,
    asking: Array | None = None,
    chunk: int | None = None,
    average: Literal["sample", "class"] = "sample",
) -> dict[str, float]:
    """MAP@R, R-precision, precision at 1 and recall at 1, 2, 4, 8, means over queries (Musgrave et al. 2020).

    AP@R = 1/R sum_{i <= R} P(i) rel(i), R the number of other samples of the query's class. A tie counts against
    the query: an impostor as near as a match, to within rounding, ranks before it, so a collapsed embedding is
    not rewarded. Samples that are alone in their class are no queries but stay in the gallery.

    With a gallery, or with groups, the embeddings are queries. Left out of a query's ranking are gallery samples of its
    own class *and* group, and itself; R counts what else is of its class. Queries without any are not counted. The
    figures are then those of re-identification (Zheng et al. 2015): the mean average precision over *all* matches, and
    CMC@k, the share of queries with a match among the k first.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.
        gallery, gallery_labels: (M, D) and (M,); distractors are samples of labels that no query has. Left out, the
            queries themselves.
        groups, gallery_groups: (N,) and (M,) integers, such as cameras; below 0: not known, of no sample's own group.
        places: (N,) row of each query in the gallery, where it is never its own neighbor; -1: it does not stand there.
        asking: (A,) rows of the embeddings that ask; None: all. The gallery is whole either way, so that a sample of
            the queries has figures that estimate those of all.
        chunk: queries compared at once; the values do not depend on it. Memory is O(N D + chunk N).
        average: means over queries, or over classes of their queries' means, so that no large class drowns the others.

    Returns:
        `map_at_r`, `precision_at_1`, `r_precision`, `recall_at_1`, `recall_at_2`, `recall_at_4`, `recall_at_8`; with a
        gallery or groups `map_at_r`, `mean_average_precision`, `cmc_at_1`, `cmc_at_5`, `cmc_at_10`.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no query with a match, chunk below 1.

    >>> import numpy as np
    >>> found = retrieval_metrics(np.array([[0.0], [1.0], [3.0], [4.5]]), np.array([0, 0, 1, 0]))
    >>> round(found["precision_at_1"], 3), round(found["map_at_r"], 3)
    (0.667, 0.417)
    >>> points, labels, cameras = np.array([[0.0], [0.1], [1.0], [2.0]]), np.array([0, 0, 1, 0]), np.array([1, 1, 1, 2])
    >>> retrieval_metrics(points, labels, groups=cameras)["mean_average_precision"]
    0.5277777777777778

    The first two ask across a lone impostor: 1/2 each; the last has matches at the ranks 2 and 3: (1/2 + 2/3) / 2.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: {chunk} is below 1")
    if gallery is None and not (gallery_labels is gallery_groups is places is None):
        raise ValueError("gallery_labels, gallery_groups and places are of a gallery, and there is none")
    if gallery is not None or groups is not None:
        asked = _asked(embeddings, labels, gallery, gallery_labels, groups, gallery_groups, places, asking)
        return _of_gallery(asked, chunk, average)
    ranked = largest_class_first(*read_sample(embeddings, labels))
    who = ranked.places(read_rows(asking, len(ranked.order), ranked.own.device))
    who = who[ranked.relevant[who] > 0]
    if not len(who):
        classes = len(ranked.gallery.bounds) - 1
        of = f"none of the {classes} classes" if asking is None else "of those that ask none is of a class that"
        raise ValueError(f"labels: {of} has two samples; one at least must have")
    relevant, own = ranked.relevant[who], ranked.own[who]
    # The largest classes come first, so that only their blocks are searched as deep as they need.
    depth = relevant.clamp(min=max(RECALL_AT)).clamp(max=len(ranked.order) - 1)
    blocks = nearest_blocks(
        ranked.gallery.points, ranked.own, ranked.gallery, depth, leave_one_out=True, asked=who, rows=chunk
    )
    scores = torch.cat([_scores(ranked.own[found] == own[block, None], relevant[block]) for block, found in blocks])
    if average == "class":
        scores = _class_means(scores, own)
    ap, precision, *recall = scores.mean(0).tolist()
    return {
        "map_at_r": ap,
        "precision_at_1": recall[0],
        "r_precision": precision,
        **{f"recall_at_{k}": value for k, value in zip(RECALL_AT, recall, strict=True)},
    }


def _asked(
    queries: Array,
    labels: Array,
    gallery: Array | None,
    gallery_labels: Array | None,
    groups: Array | None,
    gallery_groups: Array | None,
    places: Array | None,
    asking: Array | None,
) -> Questions:
    """The questions of queries to a gallery; without one, each sample asks all of them for those of other groups."""
    if gallery is None:
        gallery, gallery_labels, gallery_groups, places = queries, labels, groups, torch.arange(len(queries))
    if gallery_labels is None:
        raise ValueError("gallery_labels: a gallery needs them")
    return read_questions(
        queries, labels, gallery, gallery_labels,
        groups=groups, gallery_groups=gallery_groups, places=places, asking=asking,
    )  # fmt: skip


def _of_gallery(asked: Questions, chunk: int | None, average: str) -> dict[str, float]:
    blocks = match_ranks(asked, rows=chunk)
    scores = torch.cat([_gallery_scores(ranks, asked.relevant[which]) for which, ranks in blocks])
    if average == "class":
        scores = _class_means(scores, asked.own)
    at_r, mean_ap, *cmc = scores.mean(0).tolist()
    found = {"map_at_r": at_r, "mean_average_precision": mean_ap}
    return found | {f"cmc_at_{k}": value for k, value in zip(CMC_AT, cmc, strict=True)}


def _gallery_scores(ranks: Tensor, relevant: Tensor) -> Tensor:
    """AP@R, AP over all matches and CMC of each query of a block (rows, 5), from the ranks of its matches (rows, M)."""
    precision = torch.arange(1, ranks.shape[1] + 1, device=ranks.device) / ranks
    at_r = (precision * (ranks <= relevant[:, None])).sum(1) / relevant
    return torch.stack([at_r, precision.sum(1) / relevant, *((ranks[:, 0] <= k).double() for k in CMC_AT)], 1)


def _class_means(scores: Tensor, own: Tensor) -> Tensor:
    """Means (C, k) of the scores (Q, k) of each class that asks; `own` (Q,) is the class of a query."""
    _, row, sizes = group(own)
    means: Tensor = class_sums(scores, row, len(sizes)) / sizes[:, None]
    return means


def nearest_neighbours(
    embeddings: Array, labels: Array, k: int, *, asking: Array | None = None, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest other samples of every sample, in the order that `retrieval_metrics` scores.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers; at equal distance, samples of other labels come first.
        k: neighbors for each sample, 1 to N - 1.
        asking: (A,) rows of the samples whose neighbors are wanted; None: of all N.
        chunk: samples compared at once.

    Returns:
        Indices (A, k) int64 and Euclidean distances (A, k) float64.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, k or chunk out of range.

    >>> import numpy as np
    >>> nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1]), 1)[0].flatten().tolist()
    [1, 0, 1]
    """
    points, known = read_sample(embeddings, labels)
    if not 1 <= k < len(points):
        raise ValueError(f"k: {k} is outside [1, {len(points) - 1}], the number of other samples")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: {chunk} is below 1")
    asked = read_rows(asking, len(points), points.device)
    ranked = largest_class_first(points, known)
    order, gallery, who = ranked.order, ranked.gallery, ranked.places(asked)
    answer = torch.empty_like(order)  # of a sample, where its neighbors are written
    answer[asked] = torch.arange(len(asked), device=order.device)
    indices = order.new_empty(len(asked), k)
    distances = points.new_empty(len(asked), k)
    depth = torch.full_like(who, k)
    blocks = nearest_blocks(gallery.points, ranked.own, gallery, depth, leave_one_out=True, asked=who, rows=chunk)
    for block, found in blocks:
        rows = answer[order[who[block]]]
        indices[rows] = order[found]
        for rank in range(k):  # one rank at a time keeps memory at rows x D
            away = gallery.points[who[block]] - gallery.points[found[:, rank]]
            distances[rows, rank] = torch.linalg.vector_norm(away, dim=1)
    return indices, distances


class Ranked(NamedTuple):
    """Samples sorted by class, largest class first: original positions, class, R, and the points."""

    order: Tensor
    own: Tensor
    relevant: Tensor
    gallery: Gallery

    def places(self, rows: Tensor) -> Tensor:
        """Where samples (A,) stand in this order, ascending."""
        wanted = torch.zeros(len(self.order), dtype=torch.bool, device=self.order.device)
        wanted[rows] = True
        return torch.nonzero(wanted[self.order]).flatten()


def largest_class_first(points: Tensor, labels: Tensor) -> Ranked:
    """The samples in the order in which they ask, so that a block of queries searches as deep as it needs."""
    _, own, sizes = group(labels)
    by_size = sizes.argsort(descending=True, stable=True)
    place = torch.empty_like(by_size)
    place[by_size] = torch.arange(len(sizes), device=sizes.device)
    own = place[own]
    order = own.argsort(stable=True)
    sizes, own = sizes[by_size], own[order]
    return Ranked(order, own, sizes[own] - 1, Gallery(points[order], [0, *sizes.cumsum(0).tolist()]))


def _scores(match: Tensor, relevant: Tensor) -> Tensor:
    """AP@R, R-precision and the recalls of each query of a block (rows, 6), float64."""
    hits = match.cumsum(1, dtype=torch.float64)
    place = torch.arange(1, match.shape[1] + 1, dtype=torch.float64, device=match.device)
    precision = hits.gather(1, relevant[:, None] - 1)[:, 0] / relevant
    recall = [(hits[:, min(k, match.shape[1]) - 1] > 0).double() for k in RECALL_AT]
    counted = match & (place <= relevant[:, None])
    average = hits.mul_(counted).div_(place).sum(1) / relevant
    return torch.stack([average, precision, *recall], 1)
