"""Fewer training classes: the same ones for every run of a task."""

from __future__ import annotations

import numpy as np

from lossbench.datasets.dataset import DataError, Dataset, Indices
from lossbench.datasets.splits import Split

ORDER_SEED = 0  # part of the definition: the first n classes of one fixed order


def training_samples(data: Dataset, parts: Split, classes: int | None) -> Indices:
    """The training samples of `classes` training classes, or all of them.

    Raises:
        DataError: more classes than there are.
    """
    labels = data.labels[parts.train]
    available = np.unique(labels)
    if classes is None:
        return parts.train
    if classes > len(available):
        raise DataError(f"train_classes: {classes} is more than the {len(available)} training classes there are")
    chosen = np.random.RandomState(ORDER_SEED).permutation(available)[:classes]
    return parts.train[np.isin(labels, chosen)]
