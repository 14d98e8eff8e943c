"""What every deal of every data set must be: disjoint, sealed, of one size, within the publisher's parts."""

from __future__ import annotations

import numpy as np

from lossbench.datasets import Dataset
from lossbench.datasets.dataset import TEST, TRAIN, VAL
from lossbench.datasets.splits import split

DEALS = (0, 1, 2, 2**40 + 5, 2**63 - 1)


def parts_of(data: Dataset, protocol: str, fold: int | None, deal: int | None) -> dict[str, np.ndarray]:
    parts = split(data, protocol, fold=fold, deal=deal)
    return {"train": parts.train, "val": parts.val, "test": parts.test}


def assert_disjoint(data: Dataset, protocol: str, samples: list[np.ndarray]) -> None:
    """No sample twice; closed-set: classes of val and test are learnt; else no class is in two parts."""
    together = np.concatenate(samples)
    assert len(np.unique(together)) == len(together)
    classes = [set(data.labels[part].tolist()) for part in samples]  # by the labels, not by the splitter's own means
    if protocol == "closed-set":
        assert classes[1] <= classes[0]
        assert classes[2] <= classes[0]
    else:
        assert sum(map(len, classes)) == len(set.union(*classes))


def assert_sound(data: Dataset, protocol: str, fold: int | None = None) -> int:
    """Check several deals against the split without one; return how many of them are different deals."""
    fixed = parts_of(data, protocol, fold, None)
    dealt = [parts_of(data, protocol, fold, deal) for deal in DEALS]
    for parts in dealt:
        assert_disjoint(data, protocol, list(parts.values()))
        assert np.array_equal(parts["test"], fixed["test"])
        assert all(np.array_equal(part, np.unique(part)) for part in parts.values())
        assert {name: _size(data, protocol, part) for name, part in parts.items()} == {
            name: _size(data, protocol, part) for name, part in fixed.items()
        }
        if protocol == "closed-set":
            for name in ("train", "val"):
                assert np.array_equal(*(np.bincount(data.labels[each[name]]) for each in (parts, fixed)))
        _assert_published_parts(data, protocol, parts, fixed)
    again = parts_of(data, protocol, fold, DEALS[0])
    assert all(np.array_equal(again[name], dealt[0][name]) for name in again)
    return len({parts["val"].tobytes() for parts in dealt})


def _size(data: Dataset, protocol: str, samples: np.ndarray) -> int:
    """Samples; in open-set families of the classes that have a match."""
    if protocol == "closed-set":
        return len(samples)
    counts = np.bincount(data.labels[samples], minlength=data.num_classes)
    family = np.arange(data.num_classes) if data.class_family is None else data.class_family
    return len(np.unique(family[counts > 1]))


def _assert_published_parts(data, protocol, parts, fixed) -> None:
    """Nothing leaves what the publisher gave to test, or to validation where that is the publisher's."""
    together = [np.sort(np.concatenate([each["train"], each["val"]])) for each in (parts, fixed)]
    assert np.array_equal(*together)
    unseen = protocol in ("open-set", "query-gallery")
    if protocol == "verification" or (unseen and data.class_split is not None and not data.val_is_made):
        assert all(np.array_equal(parts[name], fixed[name]) for name in parts)
    if unseen and data.class_split is not None:
        published = {"train": (TRAIN, VAL), "val": (TRAIN, VAL), "test": (TEST,)}
        for name, samples in parts.items():
            assert np.isin(data.class_split[data.labels[samples]], published[name]).all()
    if unseen and data.class_family is not None:
        families = [set(data.class_family[data.labels[samples]].tolist()) for samples in parts.values()]
        assert sum(map(len, families)) == len(set.union(*families))  # whole alphabets
