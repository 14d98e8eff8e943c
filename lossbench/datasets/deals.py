"""Training and validation dealt anew, one deal a study; test stays what it is, so that nobody has tuned on it.

A deal is a number that seeds it; None is the split as it was published. What a protocol leaves free is dealt:

- closed-set: what is not test; every class gives validation as many samples as it did.
- open-set and query-gallery: the classes that are not test, as many to either part as they were; classes of one family
  stay together. A validation part that the publisher or the user chose (`val_is_made` is False, or `fixed_split` has
  one) is never mixed with training, under any protocol.
- verification: nothing; its folds are the deal.

Where a task takes fewer classes than there are (`subset`), the deal chooses them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lossbench.datasets.dataset import VAL, Dataset, Indices

if TYPE_CHECKING:
    from lossbench.datasets.splits import Split

PARTS, TRAIN_CLASSES, VAL_CLASSES = 1, 2, 3  # what is drawn in a deal, each from a stream of its own


def generator(deal: int, what: int) -> np.random.RandomState:
    """The stream of one part of a deal; RandomState's is frozen for good, which that of NumPy's newer ones is not."""
    return np.random.RandomState([what, deal & 0xFFFFFFFF, deal >> 32])


def dealt(data: Dataset, protocol: str, parts: Split, deal: int) -> Split:
    """The parts of a split with training and validation dealt anew.

    Args:
        deal: below 2**64.
    """
    if not mixes(data, protocol):
        return parts
    pool = np.sort(np.concatenate([parts.train, parts.val]))
    rng = generator(deal, PARTS)
    if protocol == "closed-set":
        val = _some_samples(data.labels[pool], np.isin(pool, parts.val), rng)
    else:
        val = _some_classes(data, pool, parts, rng)
    return replace(parts, train=pool[~val], val=pool[val])


def mixes(data: Dataset, protocol: str) -> bool:
    """Whether training and validation are one pool that a deal cuts anew."""
    if data.fixed_split is not None:
        return not (data.fixed_split == VAL).any()
    return protocol == "closed-set" or (
        protocol in ("open-set", "query-gallery") and (data.class_split is None or data.val_is_made)
    )


def leaves_free(
    data: Dataset, protocol: str, parts: Split, *, train_classes: int | None = None, val_classes: int | None = None
) -> bool:
    """Whether two deals of a task can differ: its parts are dealt, or the classes of one are chosen.

    Args:
        parts: the split without a deal.
        train_classes, val_classes: how many classes the task takes; None: all.
    """
    chosen = ((parts.train, train_classes), (parts.val, val_classes))
    fewer = any(count is not None and count < len(np.unique(data.labels[part])) for part, count in chosen)
    return mixes(data, protocol) or (fewer and protocol != "verification")


def _some_samples(labels: Indices, val: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Of the samples with `labels` (n,), as many others of every class as `val` (n,) has: bool (n,)."""
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts, wanted = np.bincount(labels), np.bincount(labels[val], minlength=labels.max() + 1)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # position within the class
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[by_class[rank < np.repeat(wanted, counts)]] = True
    return chosen


def _some_classes(data: Dataset, pool: Indices, parts: Split, rng: np.random.RandomState) -> np.ndarray:
    """Which samples of `pool` (n,) validate: those of as many other families of classes as do now, bool (n,).

    A class of one sample, which is not trained on, stays where it is.
    """
    family = np.arange(data.num_classes) if data.class_family is None else data.class_family
    counts = np.bincount(data.labels[pool], minlength=data.num_classes)
    validates = np.zeros(data.num_classes, dtype=bool)
    validates[data.labels[parts.val]] = True
    moving = np.isin(family, family[counts > 1]) & (counts > 0)
    wanted = len(np.unique(family[moving & validates]))
    chosen = rng.permutation(np.unique(family[moving]))[:wanted]
    validates[moving] = np.isin(family[moving], chosen)
    return validates[data.labels[pool]]
