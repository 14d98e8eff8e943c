"""Deals of every data set, from small files in the publishers' layouts; `test_published` has the real ones."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from deal_checks import DEALS, assert_disjoint, assert_sound
from hypothesis import given
from hypothesis import strategies as st

from lossbench.datasets import DataError, Dataset
from lossbench.datasets.deals import leaves_free
from lossbench.datasets.splits import classes_of, split
from lossbench.datasets.subset import training_samples, validation_samples
from lossbench.plugins import registry

# SHA-256 of the test samples, as they were before there were deals.
SEALED = {
    ("cifar10", "closed-set", None): "28dc33e4b577",
    ("cifar10", "open-set", None): "125b6ecaae74",
    ("cifar100", "closed-set", None): "853ce3e37b4f",
    ("cifar100", "open-set", None): "d363f925118b",
    ("digits", "closed-set", None): "13dcf57fdb4f",
    ("digits", "open-set", None): "3d1e65b00f1d",
    ("fashion-mnist", "closed-set", None): "b43837efc695",
    ("fashion-mnist", "open-set", None): "8739dde75d7e",
    ("folder", "closed-set", None): "4543e012b923",
    ("folder", "open-set", None): "beee7300d1f7",
    ("lfw", "verification", 0): "78246b68926c",
    ("lfw", "verification", 1): "cb9840672287",
    ("lfw", "open-set", None): "e344f0a0d386",
    ("mnist", "closed-set", None): "b43837efc695",
    ("mnist", "open-set", None): "8739dde75d7e",
    ("omniglot", "closed-set", None): "49fd0e1473c1",
    ("omniglot", "open-set", None): "9f2968fcc247",
}
NOT_FREE = {("glyphs", "open-set"), ("glyphs", "query-gallery"), ("lfw", "verification")}
EVERY = [
    pytest.param(name, protocol, fold, id=f"{name}-{protocol}-{fold}")
    for name in registry.names("dataset")
    for protocol in registry.find("dataset", name).protocols
    for fold in ((None, 0, 1) if protocol == "verification" else (None,))
]


@pytest.mark.parametrize(("name", "protocol", "fold"), EVERY)
def test_deals_are_disjoint_sealed_of_one_size_and_within_the_published_parts(small, name, protocol, fold):
    data = small(name)
    different = assert_sound(data, protocol, fold)
    free = leaves_free(data, protocol, split(data, protocol, fold=fold))
    assert free == ((name, protocol) not in NOT_FREE)
    assert different == 1 if not free else different > 2  # of five; digits has fifteen ways in all


@pytest.mark.parametrize(("case", "digest"), SEALED.items(), ids=str)
def test_test_is_what_it_always_was(small, case, digest):
    name, protocol, fold = case
    for deal in (None, 7):
        samples = split(small(name), protocol, fold=fold, deal=deal).test
        assert hashlib.sha256(samples.astype("<i8").tobytes()).hexdigest()[:12] == digest


@pytest.mark.parametrize(("name", "protocol", "fold"), EVERY)
def test_fewer_classes_are_dealt_too_and_never_leave_their_part(small, name, protocol, fold):
    data = small(name)
    chosen = set()
    for deal in (None, *DEALS):
        parts = split(data, protocol, fold=fold, deal=deal)
        train = training_samples(data, parts, 2, deal)
        assert set(train) < set(parts.train)
        assert len(classes_of(data, train)) == 2
        if protocol in ("open-set", "query-gallery"):
            val = validation_samples(data, parts, 2, deal)
            assert set(val) <= set(parts.val)
            assert len(classes_of(data, val)) == 2
            assert_disjoint(data, protocol, [train, val, parts.test])
        chosen.add(tuple(classes_of(data, train)))
    assert len(chosen) > 1


def test_where_nothing_else_is_free_the_deal_chooses_among_the_classes(small):
    data = small("glyphs")
    parts = split(data, "open-set")
    assert leaves_free(data, "open-set", parts, train_classes=60)
    assert leaves_free(data, "open-set", parts, val_classes=60)
    everything = len(classes_of(data, parts.train))
    assert not leaves_free(data, "open-set", parts, train_classes=everything)
    faces = small("lfw")
    view = split(faces, "verification")
    assert not leaves_free(faces, "verification", view, train_classes=2)


def test_train_and_val_classes_are_chosen_apart(small):
    data = small("glyphs")
    parts = split(data, "open-set", deal=3)
    alone = training_samples(data, parts, 60, 3)
    assert np.array_equal(alone, training_samples(data, parts, 60, 3))
    assert not np.array_equal(alone, training_samples(data, parts, 60, 4))
    assert not np.array_equal(alone, training_samples(data, parts, 60))


def test_more_classes_than_there_are(small):
    data = small("digits")
    parts = split(data, "open-set", deal=1)
    with pytest.raises(DataError, match="val_classes: 3 is more than the 2 validation classes"):
        validation_samples(data, parts, 3, 1)


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=8), deal=st.integers(0, 2**63 - 1))
def test_a_closed_set_deal_keeps_the_counts_of_every_class(counts, deal):
    labels = np.repeat(np.arange(len(counts) + 1), [10, *counts])
    names = tuple(map(str, range(len(counts) + 1)))
    data = Dataset(images=np.zeros((len(labels), 2, 2), dtype=np.uint8), labels=labels, class_names=names)
    fixed, dealt = split(data, "closed-set"), split(data, "closed-set", deal=deal)
    assert np.array_equal(fixed.test, dealt.test)
    for name in ("train", "val"):
        assert np.array_equal(*(np.bincount(labels[getattr(each, name)]) for each in (fixed, dealt)))


def test_a_validation_part_of_the_users_own_never_trains():
    labels = np.repeat(np.arange(12), 4)
    data = Dataset(
        images=np.zeros((48, 2, 2), dtype=np.uint8),
        labels=labels,
        class_names=tuple(map(str, range(12))),
        class_split=np.repeat([0, 1, 2], 4),
    )
    for deal in DEALS:
        assert set(labels[split(data, "open-set", deal=deal).val]) == {4, 5, 6, 7}


# a split of the user's own


def own_split(parts: list[int], counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Dataset(
        images=np.zeros((len(labels), 2, 2), dtype=np.uint8),
        labels=labels,
        class_names=tuple(map(str, range(len(counts)))),
        fixed_split=np.array(parts),
    )


@pytest.mark.parametrize(
    ("protocol", "parts"), [("closed-set", [0, 0, 1, 1, 2, 2] * 4), ("open-set", [0] * 12 + [1] * 6 + [2] * 6)]
)
def test_a_val_of_ones_own_is_in_no_deal_mixed_with_train(protocol, parts):
    data = own_split(parts, [6] * 4 if protocol == "closed-set" else [3] * 8)
    assert not leaves_free(data, protocol, split(data, protocol))
    for deal in range(5):
        assert np.array_equal(split(data, protocol, deal=deal).val, np.flatnonzero(data.fixed_split == 1))


@pytest.mark.parametrize(
    ("protocol", "parts"), [("closed-set", ([0] * 12 + [2] * 2) * 4), ("open-set", [0] * 36 + [2] * 20)]
)
def test_without_one_it_is_dealt_out_of_train_and_test_stays(protocol, parts):
    data = own_split(parts, [14] * 4 if protocol == "closed-set" else [4] * 14)
    found = [split(data, protocol, deal=deal) for deal in range(5)]
    assert all(np.array_equal(each.test, np.flatnonzero(data.fixed_split == 2)) for each in found)
    assert len({each.val.tobytes() for each in found}) > 1
