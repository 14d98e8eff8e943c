"""Fewer classes of a part than there are: the same ones for every run of a study."""

from __future__ import annotations

import numpy as np

from lossbench.datasets.dataset import DISTRACTOR, DataError, Dataset, Indices
from lossbench.datasets.deals import TRAIN_CLASSES, VAL_CLASSES, generator
from lossbench.datasets.splits import Split

ORDER_SEED = 0  # without a deal: the first n classes of one fixed order


def training_samples(data: Dataset, parts: Split, classes: int | None, deal: int | None = None) -> Indices:
    """The training samples of `classes` training classes, or all of them.

    Raises:
        DataError: more classes than there are.
    """
    rng = np.random.RandomState(ORDER_SEED) if deal is None else generator(deal, TRAIN_CLASSES)
    return _of_fewer(data, parts.train, classes, rng, "train")


def validation_samples(data: Dataset, parts: Split, classes: int | None, deal: int | None = None) -> Indices:
    """The validation samples of `classes` validation classes, or all of them.

    Raises:
        DataError: more classes than there are.
    """
    rng = np.random.RandomState(ORDER_SEED) if deal is None else generator(deal, VAL_CLASSES)
    return _of_fewer(data, parts.val, classes, rng, "val")


def _of_fewer(data: Dataset, samples: Indices, classes: int | None, rng: np.random.RandomState, part: str) -> Indices:
    labels = data.labels[samples]
    stays = np.zeros(len(labels), dtype=bool) if data.roles is None else data.roles[samples] == DISTRACTOR
    available = np.unique(labels[~stays])
    if classes is None:
        return samples
    if classes > len(available):
        what = {"train": "training", "val": "validation"}[part]
        raise DataError(f"{part}_classes: {classes} is more than the {len(available)} {what} classes there are")
    chosen = rng.permutation(available)[:classes]
    kept: Indices = samples[np.isin(labels, chosen) | stays]
    return kept
