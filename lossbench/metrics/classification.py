"""Closed-set accuracy: by the head, by the nearest class mean, by a vote of neighbors; ties count against."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.grouping import class_sums, group, middle
from lossbench.metrics.inputs import Array, read_labels, read_matrix
from lossbench.metrics.ranking import Gallery, nearest_blocks


def accuracy(logits: Array, labels: Array) -> float:
    """The share of samples whose own logit is larger than every other; a tie is a miss.

    So a head that gives every class the same logit scores 0, not the share of class 0.

    Args:
        logits: (N, C) finite.
        labels: (N,) integers in [0, C).

    Raises:
        ValueError: arrays that do not fit, values that are not finite, labels outside [0, C).

    >>> import numpy as np
    >>> accuracy(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 0]))
    0.5
    """
    values = read_matrix(logits, "logits")
    known = read_labels(labels, len(values), values.device)
    if known.min() < 0 or known.max() >= values.shape[1]:
        bad = int(known.min()) if known.min() < 0 else int(known.max())
        raise ValueError(f"labels: {bad} is outside [0, {values.shape[1] - 1}], the columns of the logits")
    own = values.gather(1, known[:, None])
    rivals = values.scatter(1, known[:, None], -torch.inf).amax(1, keepdim=True)
    return float((own > rivals).double().mean())


def nearest_mean_accuracy(gallery: Array, gallery_labels: Array, queries: Array, labels: Array) -> float:
    """The share of queries that are nearer to their own class's gallery mean than to any other.

    A mean of another class at the same distance, to within rounding, makes a miss. Queries of a class that the
    gallery lacks are misses.

    Args:
        gallery: (G, D) floating, with `gallery_labels` (G,).
        queries: (Q, D) floating, with `labels` (Q,).

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no query of a class in the gallery.

    >>> import numpy as np
    >>> train, test = np.array([[0.0], [2.0], [9.0]]), np.array([[6.0], [8.0]])
    >>> nearest_mean_accuracy(train, np.array([3, 3, 5]), test, np.array([3, 5]))
    0.5
    """
    task = _closed_set(gallery, gallery_labels, queries, labels)
    sizes = torch.tensor(task.gallery.bounds, device=task.own.device).diff()
    origin = middle(task.gallery.points)  # means of a collapsed gallery are then exactly equal
    members = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    means = class_sums(task.gallery.points - origin, members, len(sizes)) / sizes[:, None]
    classes = Gallery(means, list(range(len(sizes) + 1)))
    right = 0
    depth = torch.ones_like(task.own)
    for block, found in nearest_blocks(task.queries - origin, task.own, classes, depth, leave_one_out=False):
        right += int((found[:, 0] == task.own[block]).sum())
    return right / len(task.own)


def knn_accuracy(gallery: Array, gallery_labels: Array, queries: Array, labels: Array, *, k: int = 5) -> float:
    """The share of queries whose class wins the vote of the k nearest gallery samples.

    At the same distance, to within rounding, samples of other classes are the nearer neighbors. A drawn vote goes
    to the class, among those drawn, of the nearest neighbor. Queries of a class that the gallery lacks are misses.

    Args:
        gallery: (G, D) floating, with `gallery_labels` (G,).
        queries: (Q, D) floating, with `labels` (Q,).
        k: neighbors that vote, 1 to G.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, no query of a class in the gallery, k out
            of range.

    >>> import numpy as np
    >>> train, test = np.array([[0.0], [2.0], [3.0], [9.0]]), np.array([[1.0], [8.0]])
    >>> knn_accuracy(train, np.array([0, 0, 1, 1]), test, np.array([0, 1]), k=3)
    1.0
    """
    task = _closed_set(gallery, gallery_labels, queries, labels)
    if not 1 <= k <= len(task.gallery.points):
        raise ValueError(f"k: {k} is outside [1, {len(task.gallery.points)}], the size of the gallery")
    bounds = torch.tensor(task.gallery.bounds, device=task.own.device)
    members = torch.arange(len(bounds) - 1, device=bounds.device).repeat_interleave(bounds.diff())
    preference = torch.arange(k, 0, -1, device=bounds.device)
    right = 0
    depth = torch.full_like(task.own, k)
    for block, found in nearest_blocks(task.queries, task.own, task.gallery, depth, leave_one_out=False):
        voters = members[found]
        votes = sum((voters == voters[:, rank, None]).long() for rank in range(k))
        winner = (votes * (k + 1) + preference).argmax(1, keepdim=True)
        right += int((voters.gather(1, winner)[:, 0] == task.own[block]).sum())
    return right / len(task.own)


class _ClosedSet(NamedTuple):
    """A gallery sorted by class, and queries with their class in it (-1: not there)."""

    gallery: Gallery
    queries: Tensor
    own: Tensor


def _closed_set(gallery: Array, gallery_labels: Array, queries: Array, labels: Array) -> _ClosedSet:
    known = read_matrix(gallery, "gallery")
    known_labels = read_labels(gallery_labels, len(known), known.device, "gallery_labels")
    asked = read_matrix(queries, "queries").to(known.device)
    asked_labels = read_labels(labels, len(asked), known.device)
    if asked.shape[1] != known.shape[1]:
        raise ValueError(f"queries: dimension {asked.shape[1]} is not that of the gallery, {known.shape[1]}")
    names, _, sizes = group(known_labels)
    own = torch.searchsorted(names, asked_labels).clamp_(max=len(names) - 1)
    own = torch.where(names[own] == asked_labels, own, -1)
    if not (own >= 0).any():
        raise ValueError("labels: no query is of a class in gallery_labels; closed-set accuracy needs shared classes")
    members = known_labels.argsort(stable=True)
    return _ClosedSet(Gallery(known[members], [0, *sizes.cumsum(0).tolist()]), asked, own)
