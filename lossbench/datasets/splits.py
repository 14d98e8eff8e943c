"""Which samples train, validate and test: fixed for each data set and protocol, and dealt anew for each study.

- closed-set: the same classes everywhere, stratified 60 / 20 / 20. Where the publisher has a test part it is
  the test, and a sixth of the rest validates. What is held out of a class is two samples or more, so that each has a
  match: a class of five to seven gives two to val and two to test, one of three or four gives two to either in turn,
  one of one or two is in train only; `Split.notes` counts them.
- open-set: test classes are disjoint from training classes, validation classes from both.
- query-gallery: the same, and who of val and of test asks and who is asked (`roles`).
- verification: a pairs file. Without a fold it is the development view; fold k of the test view tests on fold k,
  chooses epoch and threshold on fold k + 1, and trains on the rest.

A split of the user's own (`Dataset.fixed_split`) holds under either protocol: closed-set needs every class of val and
test in train, open-set no class of test in train or val. Without a val, a sixth of train validates, or a third of
its classes.

With a deal, `deals` cuts training and validation anew; the test samples are those of the split without one.

Long tail: where a data set sets `max_per_class`, only that many samples of a class count, the first ones, so that
no class drowns the others; a class of one sample is not trained on, because it has no positive pair, but stands
among the samples that are scored. Samples that a pair names are scored in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from lossbench.datasets.dataset import (
    DEV_TEST,
    TEST,
    TRAIN,
    VAL,
    DataError,
    Dataset,
    Indices,
    Pairs,
)
from lossbench.datasets.deals import dealt
from lossbench.datasets.roles import taking_part, with_gallery

MIN_CLASSES = 2  # in each part of an open-set split: retrieval needs impostors
_NOTHING: Indices = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Sorted sample indices of the three parts; pairs where the protocol has them.

    Attributes:
        train, val, test: (n,) int64 sample indices; test is empty in a development view.
        val_pairs, test_pairs: pairs among the samples of val and of test.
        notes: what the split could not use as it would, one line each.
    """

    train: Indices
    val: Indices
    test: Indices
    val_pairs: Pairs | None = None
    test_pairs: Pairs | None = None
    notes: tuple[str, ...] = ()


def split(data: Dataset, protocol: str, *, fold: int | None = None, deal: int | None = None) -> Split:
    """The split of a data set under a protocol.

    Args:
        protocol: `closed-set`, `open-set`, `query-gallery` or `verification`.
        fold: None: the one split, or the development view; k: fold k of a pairs file.
        deal: seed by which training and validation are dealt anew, as far as they are free; None: as published.

    Raises:
        DataError: a protocol that the data set does not offer, or too few classes or samples for it.
    """
    makers: Mapping[str, Callable[[Dataset, int | None], Split]] = {
        "closed-set": _closed_set,
        "open-set": _open_set,
        "query-gallery": partial(_open_set, name="query-gallery"),
        "verification": _verification,
    }
    offered = [name for name in data.protocols or makers if name in makers]
    if protocol not in makers or protocol not in offered:
        raise DataError(f"{_name(data)}: protocol {protocol!r} is not offered; it has {', '.join(offered)}")
    left, rows = (data, None) if protocol == "verification" else taking_part(data)
    parts = makers[protocol](left, fold)
    parts = parts if deal is None else dealt(left, protocol, parts, deal)
    if rows is not None:
        parts = replace(parts, train=rows[parts.train], val=rows[parts.val], test=rows[parts.test])
    return with_gallery(data, parts) if protocol == "query-gallery" else parts


def folds(data: Dataset, protocol: str) -> int:
    """How many folds a protocol tests on, one after the other; 0 where it has one test."""
    if protocol != "verification" or data.class_part is None:
        return 0
    return int(data.class_part.max()) + 1


def classes_of(data: Dataset, samples: Indices) -> Indices:
    """The classes of some samples, sorted, each once."""
    return np.unique(data.labels[samples])


def _name(data: Dataset) -> str:
    return data.name or "data set"


# closed-set


def _closed_set(data: Dataset, fold: int | None) -> Split:
    _no_folds(data, "closed-set", fold)
    notes: tuple[str, ...] = ()
    if data.fixed_split is not None:
        train, val, test = _as_given(data, data.fixed_split)
    elif data.published_test is not None:
        rest = np.flatnonzero(~data.published_test)
        parts = _stratified(data.labels[rest], shares=(5, 1))
        train, val, test = rest[parts[0]], rest[parts[1]], np.flatnonzero(data.published_test)
    else:
        train, val, test = _stratified(data.labels, shares=(3, 1, 1))
        notes = _held_back(data)
    for part, samples in (("val", val), ("test", test)):
        if not _has_match(data.labels[samples]):
            largest = int(np.bincount(data.labels).max())
            needed = "one class of 5 or two of 3 are needed" if data.fixed_split is None else "the split is your own"
            raise DataError(
                f"{_name(data)}: closed-set: no class has two samples in {part}; {needed}, and the largest class has "
                f"{largest}; open-set takes classes of 2"
            )
    return Split(train=train, val=val, test=test, notes=notes)


def _held_back(data: Dataset) -> tuple[str, ...]:
    """What a closed-set split says of its small classes."""
    counts = np.bincount(data.labels)
    tiny, small = int((counts < 3).sum()), int(((counts == 3) | (counts == 4)).sum())
    lines = (
        (tiny, "one or two samples, in train only"),
        (small, "three or four samples, in train and in either val or test"),
    )
    return tuple(f"closed-set: {count} of {len(counts)} classes have {what}" for count, what in lines if count)


def _no_folds(data: Dataset, protocol: str, fold: int | None) -> None:
    if fold is not None:
        raise DataError(f"{_name(data)}: {protocol} has no folds; studies deal train and val anew (budget.studies)")


def _has_match(labels: Indices) -> bool:
    """Whether any sample has another one of its class."""
    return len(labels) > 0 and bool((np.bincount(labels) >= 2).any())


def _stratified(labels: Indices, shares: tuple[int, ...]) -> list[Indices]:
    """Cut every class in the same proportions, in a fixed random order; what rounding leaves goes to the first.

    Where rounding would hold out a single sample of a class it holds out two, as far as one is left to train.

    Returns:
        For each share the sorted indices into `labels`.
    """
    order = _fixed_permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    start = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.arange(len(labels)) - start  # position within the class
    parts: list[Indices] = []
    low = np.zeros_like(rank)
    for held in reversed(_held_out(counts, shares)):
        high = low + np.repeat(held, counts)
        parts.append(np.sort(by_class[(low <= rank) & (rank < high)]))
        low = high
    return [np.sort(by_class[rank >= low]), *reversed(parts)]


def _held_out(counts: Indices, shares: tuple[int, ...]) -> list[Indices]:
    """For each share but the first, how many samples of every class (C,) it gets."""
    held = [(2 * counts * share + sum(shares)) // (2 * sum(shares)) for share in shares[1:]]  # rounded to the nearest
    single = held[0] == 1  # shares beside the first are equal
    turn = np.cumsum(single & (counts <= 2 * len(held))) % len(held)
    for part, number in enumerate(held):
        number[single] = 2
        number[single & (counts <= 2 * len(held)) & (turn != part)] = 0
    return held


def _as_given(data: Dataset, given: Indices) -> tuple[Indices, Indices, Indices]:
    """The user's own split for closed-set; where it has no val, a sixth of train validates."""
    known = np.unique(data.labels[given == TRAIN])
    if len(unseen := np.setdiff1d(data.labels[given != TRAIN], known)):
        raise DataError(
            f"{_name(data)}: closed-set: {_classes(data, unseen)} of its test or val not in its train; "
            "open-set is for classes that were never seen"
        )
    train, val, test = (np.flatnonzero(given == part) for part in (TRAIN, VAL, TEST))
    if not len(val):
        train, val = (train[part] for part in _stratified(data.labels[train], shares=(5, 1)))
    return train, val, test


def _classes(data: Dataset, labels: Indices) -> str:
    """`3 classes (a, b, c) are`: a count and at most three names."""
    names = ", ".join(data.class_names[label] for label in labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"{len(labels)} {'class' if len(labels) == 1 else 'classes'} ({names}) {'is' if len(labels) == 1 else 'are'}"


def _fixed_permutation(count: int) -> Indices:
    # RandomState's stream is frozen for good; that of NumPy's newer generators may change between versions.
    return np.random.RandomState(0).permutation(count).astype(np.int64)


# open-set


def _open_set(data: Dataset, fold: int | None, name: str = "open-set") -> Split:
    _no_folds(data, name, fold)
    if data.fixed_split is not None:
        return _open_set_as_given(data, data.fixed_split, name)
    parts = data.class_split if data.class_split is not None else _made_class_split(data)
    for part, value in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if (count := int((parts == value).sum())) < MIN_CLASSES:
            raise DataError(f"{_name(data)}: {name}: {count} classes in {part}; at least {MIN_CLASSES} are needed")
        if not _has_match(data.labels[parts[data.labels] == value]):
            raise DataError(f"{_name(data)}: {name}: no class of {part} has two samples")
    return Split(
        train=_training_samples(data, parts == TRAIN),
        val=_scored_samples(data, parts == VAL),
        test=_scored_samples(data, parts == TEST),
    )


def _open_set_as_given(data: Dataset, given: Indices, name: str) -> Split:
    """The user's own split for unseen classes; where it has no val, a third of the training classes validates."""
    learnt, tested = (np.unique(data.labels[where]) for where in (given != TEST, given == TEST))
    if len(shared := np.intersect1d(learnt, tested)):
        raise DataError(
            f"{_name(data)}: {name}: {_classes(data, shared)} in test and in train or val; "
            "closed-set is for pictures of known classes"
        )
    if not (given == VAL).any():
        chosen = learnt[_fixed_permutation(len(learnt))][: (len(learnt) + 1) // 3]
        given = np.where(np.isin(data.labels, chosen), VAL, given)
    train, val, test = (np.flatnonzero(given == part) for part in (TRAIN, VAL, TEST))
    for part, samples in (("train", train), ("val", val), ("test", test)):
        if (count := len(np.unique(data.labels[samples]))) < MIN_CLASSES:
            raise DataError(f"{_name(data)}: {name}: {count} classes in {part}; at least {MIN_CLASSES} are needed")
        if not _has_match(data.labels[samples]):
            raise DataError(f"{_name(data)}: {name}: no class of {part} has two samples")
    return Split(train=train, val=val, test=test)


def _made_class_split(data: Dataset) -> Indices:
    """40 % of the classes train, 20 % validate, 40 % test, in a fixed random order."""
    classes = data.num_classes
    held_out = (2 * classes + 2) // 5
    val = (classes + 2) // 5
    return class_split(classes, train=classes - val - held_out, val=val, test=held_out)


def class_split(classes: int, *, train: int, val: int, test: int) -> Indices:
    """(classes,) TRAIN, VAL or TEST in a fixed random order.

    Raises:
        DataError: more classes asked for than there are.
    """
    if train + val + test != classes or min(train, val, test) < 0:
        raise DataError(f"{train} + {val} + {test} classes asked for, but there are {classes}")
    parts = np.repeat(np.array([TRAIN, VAL, TEST], dtype=np.int64), [train, val, test])
    return parts[_fixed_permutation(classes)]


def _checked_fold(data: Dataset, fold: int, folds: int) -> int:
    if not 0 <= fold < folds:
        raise DataError(f"{_name(data)}: fold {fold} is outside 0 to {folds - 1}")
    return fold


# verification


def _verification(data: Dataset, fold: int | None) -> Split:
    if data.pairs is None or data.class_part is None or data.class_split is None:
        raise DataError(f"{_name(data)}: verification needs a pairs file, and this data set has none")
    return _development(data, data.pairs) if fold is None else _test_view(data, data.pairs, data.class_part, fold)


def _development(data: Dataset, pairs: Pairs) -> Split:
    """View 1: learn on its training people, validate on its test people and pairs; there is no test."""
    assert data.class_split is not None
    val_pairs = pairs.of(DEV_TEST)
    return Split(
        train=_training_samples(data, data.class_split != TEST),
        val=_scored_samples(data, data.class_split == TEST, val_pairs),
        test=_NOTHING,
        val_pairs=val_pairs,
    )


def _test_view(data: Dataset, pairs: Pairs, class_part: Indices, fold: int) -> Split:
    """View 2: fold k tests, k + 1 chooses epoch and threshold, the others train."""
    folds = int(class_part.max()) + 1
    test = _checked_fold(data, fold, folds)
    val = (test + 1) % folds
    train = (class_part >= 0) & (class_part != test) & (class_part != val)
    val_pairs, test_pairs = pairs.of(val), pairs.of(test)
    return Split(
        train=_training_samples(data, train),
        val=_scored_samples(data, class_part == val, val_pairs),
        test=_scored_samples(data, class_part == test, test_pairs),
        val_pairs=val_pairs,
        test_pairs=test_pairs,
    )


# long tail


def _training_samples(data: Dataset, classes: npt.NDArray[np.bool_]) -> Indices:
    """What is learnt of some classes (C,) bool: all of it, or what the long-tail rule leaves."""
    chosen = classes[data.labels]
    if data.max_per_class is not None:
        chosen &= (_rank_in_class(data.labels) < data.max_per_class) & (np.bincount(data.labels)[data.labels] >= 2)
    return np.flatnonzero(chosen)


def _scored_samples(data: Dataset, classes: npt.NDArray[np.bool_], pairs: Pairs | None = None) -> Indices:
    """What is scored of some classes (C,) bool, and every sample that `pairs` names."""
    chosen = classes[data.labels]
    if data.max_per_class is not None:
        chosen &= _rank_in_class(data.labels) < data.max_per_class
    if pairs is not None:
        chosen[pairs.first] = True
        chosen[pairs.second] = True
    return np.flatnonzero(chosen)


def _rank_in_class(labels: Indices) -> Indices:
    """How many samples of the own class stand before each sample.

    >>> _rank_in_class(np.array([1, 0, 1, 1])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty_like(labels)
    ranks[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks


# label noise


def with_label_noise(labels: Indices, parts: Split, share: float, generator: np.random.Generator) -> Indices:
    """Labels (N,) of which a share is wrong in train and, separately, in val; test is never touched.

    In an open-set split a wrong label stays among the classes of its own part.
    """
    noisy = labels.copy()
    for samples in (parts.train, parts.val):
        noisy[samples] = mislabel(labels[samples], share, generator)
    return noisy


def mislabel(labels: Indices, share: float, generator: np.random.Generator) -> Indices:
    """Labels (n,) of which round(share * n) are wrong: each of those is another of the classes present.

    Every other class is equally likely (symmetric noise), and none of the chosen labels stays as it was.

    Raises:
        DataError: a share outside [0, 1], or fewer than two classes to confuse.
    """
    if not 0.0 <= share <= 1.0:
        raise DataError(f"label noise: {share} is outside [0, 1]")
    classes, dense = np.unique(labels, return_inverse=True)
    chosen = generator.permutation(len(labels))[: round(share * len(labels))]
    if len(chosen) == 0:
        return labels.copy()
    if len(classes) < 2:
        raise DataError("label noise: a label cannot be wrong where there is only one class")
    dense = dense.copy()
    dense[chosen] = (dense[chosen] + generator.integers(1, len(classes), size=len(chosen))) % len(classes)
    return classes[dense]
