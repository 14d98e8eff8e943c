"""Samples by class, and the origin to sum them from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Grouping(NamedTuple):
    """Labels (N,) taken apart: distinct `names` (C,) ascending, `own` (N,) in [0, C) and `sizes` (C,)."""

    names: Tensor
    own: Tensor
    sizes: Tensor


def group(labels: Tensor) -> Grouping:
    """The classes of integer labels (N,) of any values."""
    names, own, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    return Grouping(names, own, sizes)


def class_sums(points: Tensor, own: Tensor, classes: int) -> Tensor:
    """Sums (classes, D) of the points (N, D) of each class, in the order of the samples."""
    return points.new_zeros(classes, points.shape[1]).index_add_(0, own, points)


def middle(points: Tensor) -> Tensor:
    """The median (D,) of about a thousand of the points (N, D): an origin that keeps rounding errors small.

    Unlike the mean it is not dragged off by an outlier, and where all points are equal it is exactly that point, so
    that differences from it are zero and not rounding noise.
    """
    some = points[:: max(1, len(points) // 1000)]
    return some.sort(0).values[(len(some) - 1) // 2]  # `median` would not give the same bits on every GPU
