from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deal_checks import assert_disjoint
from hypothesis import given
from hypothesis import strategies as st

from lossbench.datasets import DataError, Dataset
from lossbench.datasets.dataset import DEV_TEST, TEST, Pairs
from lossbench.datasets.splits import (
    class_split,
    classes_of,
    mislabel,
    split,
    with_label_noise,
)
from lossbench.datasets.subset import training_samples
from lossbench.plugins import registry

BUILTIN = (
    "cars196",
    "cifar10",
    "cifar100",
    "csv",
    "cub200",
    "digits",
    "fashion-mnist",
    "features",
    "folder",
    "glosses",
    "glyphs",
    "huggingface",
    "inshop",
    "lfw",
    "market1501",
    "mnist",
    "omniglot",
    "sop",
)
FOLDS = {"closed-set": (None,), "open-set": (None,), "query-gallery": (None,), "verification": (None, *range(5))}
EVERY_SPLIT = [
    pytest.param(name, protocol, fold, id=f"{name}-{protocol}-{fold}")
    for name in BUILTIN
    for protocol in registry.find("dataset", name).protocols
    for fold in FOLDS[protocol]
]


def tiny(counts, **fields) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 2, 2), dtype=np.uint8)
    names = tuple(str(number) for number in range(len(counts)))
    return Dataset(images=images, labels=labels, class_names=names, name="tiny", **fields)


def test_every_builtin_data_set_is_tested_here():
    assert tuple(registry.names("dataset")) == BUILTIN


@pytest.mark.parametrize(("name", "protocol", "fold"), EVERY_SPLIT)
def test_parts_share_no_sample_and_unseen_classes_are_unseen(small, name, protocol, fold):
    data = small(name)
    parts = split(data, protocol, fold=fold)
    samples = [parts.train, parts.val, parts.test]
    assert_disjoint(data, protocol, samples)
    assert all(np.array_equal(part, np.unique(part)) for part in samples)
    assert len(parts.train)
    assert len(parts.val)
    assert len(parts.test) or (protocol == "verification" and fold is None)


@pytest.mark.parametrize(("name", "protocol", "fold"), EVERY_SPLIT)
def test_fewer_training_classes_come_from_the_training_classes(small, name, protocol, fold):
    data = small(name)
    parts = split(data, protocol, fold=fold)
    fewer = training_samples(data, parts, 2)
    assert set(fewer) < set(parts.train)
    assert len(classes_of(data, fewer)) == 2
    if protocol != "closed-set":
        assert_disjoint(data, protocol, [fewer, parts.val, parts.test])


@pytest.mark.parametrize(("name", "protocol", "fold"), EVERY_SPLIT)
def test_a_split_is_always_the_same(small, name, protocol, fold):
    data = small(name)
    once, again = split(data, protocol, fold=fold), split(data, protocol, fold=fold)
    for part in ("train", "val", "test"):
        assert np.array_equal(getattr(once, part), getattr(again, part))


# closed-set


@given(st.lists(st.integers(8, 40), min_size=2, max_size=6))
def test_closed_set_cuts_every_class_60_20_20(counts):
    data = tiny([10, *counts])
    parts = split(data, "closed-set")
    for label, count in enumerate([10, *counts]):
        cut = [int((data.labels[samples] == label).sum()) for samples in (parts.train, parts.val, parts.test)]
        assert sum(cut) == count
        assert cut[1] == cut[2] == (2 * count + 5) // 10
        assert cut[0] > 0


def test_closed_set_keeps_the_publishers_test_part():
    published = np.arange(140) % 7 == 0
    data = tiny([70, 70], published_test=published)
    parts = split(data, "closed-set")
    assert np.array_equal(parts.test, np.flatnonzero(published))
    assert (len(parts.train), len(parts.val)) == (100, 20)


def test_the_digits_split_is_part_of_the_definition(small):
    # golden: a change here changes every published figure on digits
    parts = split(small("digits"), "closed-set")
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [1079, 359, 359]
    assert parts.test[:8].tolist() == [4, 5, 6, 9, 14, 17, 18, 19]


def test_one_image_classes_are_gallery_only():
    parts = split(tiny([10, 1, 2]), "closed-set")
    assert {10, 11, 12} <= set(parts.train.tolist())


def cut_of(data, parts) -> list[list[int]]:
    """For every class, its samples in train, val and test."""
    places = (parts.train, parts.val, parts.test)
    return [[int((data.labels[part] == label).sum()) for part in places] for label in range(data.num_classes)]


def test_what_is_held_out_of_a_small_class_has_a_match():
    data = tiny([1, 2, 3, 3, 4, 4, 5, 6, 7, 8])
    parts = split(data, "closed-set")
    halves = [[1, 0, 2], [1, 2, 0], [2, 0, 2], [2, 2, 0]]  # three or four samples: two to either part in turn
    assert cut_of(data, parts)[:2] == [[1, 0, 0], [2, 0, 0]]
    assert sorted(cut_of(data, parts)[2:6]) == sorted(halves)
    assert cut_of(data, parts)[6:] == [[1, 2, 2], [2, 2, 2], [3, 2, 2], [4, 2, 2]]
    assert parts.notes == (
        "closed-set: 2 of 10 classes have one or two samples, in train only",
        "closed-set: 4 of 10 classes have three or four samples, in train and in either val or test",
    )
    assert split(tiny([8, 5]), "closed-set").notes == ()


def test_small_classes_beside_a_publishers_test_part():
    data = tiny([5, 11], published_test=np.array([False] * 3 + [True] * 2 + [False] * 9 + [True] * 2))
    assert cut_of(data, split(data, "closed-set")) == [[1, 2, 2], [7, 2, 2]]


@pytest.mark.parametrize("counts", [[2, 2, 2], [4, 2, 2]])
def test_closed_set_refuses_classes_that_are_too_small(counts):
    with pytest.raises(
        DataError, match=rf"no class has two samples in .*the largest class has {max(counts)}; open-set"
    ):
        split(tiny(counts), "closed-set")


# a split of the user's own


def given_split(*parts: str) -> np.ndarray:
    return np.array([["train", "val", "test"].index(part) for part in parts])


def test_a_split_of_ones_own_holds_under_closed_set():
    own = given_split(*(["train"] * 3 + ["val"] * 2 + ["test"] * 2) * 2)
    data = tiny([7, 7], fixed_split=own)
    parts = split(data, "closed-set")
    for part, value in (("train", 0), ("val", 1), ("test", 2)):
        assert np.array_equal(getattr(parts, part), np.flatnonzero(own == value))


def test_without_a_val_of_ones_own_it_comes_out_of_train():
    own = given_split(*(["train"] * 12 + ["test"] * 2) * 2)
    parts = split(tiny([14, 14], fixed_split=own), "closed-set")
    assert np.array_equal(parts.test, np.flatnonzero(own == 2))
    assert (len(parts.train), len(parts.val)) == (20, 4)


def test_a_split_of_ones_own_holds_under_open_set():
    own = np.repeat([0, 0, 1, 1, 2, 2], 3)
    parts = split(tiny([3] * 6, fixed_split=own), "open-set")
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [6, 6, 6]
    assert np.array_equal(parts.val, np.flatnonzero(own == 1))
    without = split(tiny([3] * 8, fixed_split=np.repeat([0, 0, 0, 0, 0, 0, 2, 2], 3)), "open-set")
    assert (len(without.train), len(without.val), len(without.test)) == (12, 6, 6)


@pytest.mark.parametrize(
    ("protocol", "own", "message"),
    [
        (
            "closed-set",
            np.repeat([0, 0, 2, 2], 3),
            r"closed-set: 2 classes \(2, 3\) are of its test or val not in its train",
        ),
        ("open-set", np.array([0, 0, 2] * 4), r"open-set: 4 classes \(0, 1, 2, ...\) are in test and in train or val"),
    ],
)
def test_classes_decide_what_a_split_of_ones_own_is_for(protocol, own, message):
    with pytest.raises(DataError, match=message):
        split(tiny([3] * 4, fixed_split=own), protocol)


def test_a_distractor_is_no_part_of_a_protocol_without_a_gallery():
    roles = np.zeros(60, dtype=np.int64)
    roles[::3] = 3
    parts = split(tiny([6] * 10, roles=roles), "open-set")
    assert not np.isin(np.concatenate([parts.val, parts.test]), np.flatnonzero(roles == 3)).any()


# open-set


def test_digits_open_set_is_4_2_4(small):
    data = small("digits")
    parts = split(data, "open-set")
    assert [len(classes_of(data, part)) for part in (parts.train, parts.val, parts.test)] == [4, 2, 4]


def test_open_set_without_a_class_split_makes_one_40_20_40():
    data = tiny([3] * 20)
    parts = split(data, "open-set")
    assert [len(classes_of(data, part)) for part in (parts.train, parts.val, parts.test)] == [8, 4, 8]


@pytest.mark.parametrize(
    ("counts", "message"), [([3] * 6, "1 classes in val"), ([1] * 20, "no class of train has two samples")]
)
def test_open_set_refuses_what_cannot_be_scored(counts, message):
    with pytest.raises(DataError, match=message):
        split(tiny(counts), "open-set")


def test_more_classes_than_there_are():
    with pytest.raises(DataError, match=r"4 \+ 2 \+ 5 classes asked for, but there are 10"):
        class_split(10, train=4, val=2, test=5)


@pytest.mark.parametrize(("protocol", "fold"), [("open-set", 0), ("closed-set", 0)])
def test_folds_that_do_not_exist(protocol, fold):
    with pytest.raises(DataError, match=rf"{protocol} has no folds; studies deal train and val anew"):
        split(tiny([10] * 20), protocol, fold=fold)


def test_a_protocol_that_is_not_offered_names_those_that_are():
    data = replace(tiny([10] * 10), protocols=("closed-set", "open-set"))
    with pytest.raises(DataError, match="tiny: protocol 'verification' is not offered; it has closed-set, open-set"):
        split(data, "verification")
    with pytest.raises(DataError, match="'few-shot' is not offered"):
        split(data, "few-shot")


def test_verification_needs_a_pairs_file():
    with pytest.raises(DataError, match="pairs file"):
        split(tiny([10] * 10), "verification")


# verification


@pytest.mark.parametrize("fold", range(5))
def test_fold_k_tests_the_next_one_chooses_and_the_others_train(small, fold):
    data = small("lfw")
    parts = split(data, "verification", fold=fold)
    folds = [set(data.class_part[classes_of(data, part)]) for part in (parts.train, parts.val, parts.test)]
    assert folds[2] == {fold}
    assert folds[1] == {(fold + 1) % 5}
    assert folds[0] == set(range(5)) - folds[1] - folds[2]
    for pairs, samples in ((parts.val_pairs, parts.val), (parts.test_pairs, parts.test)):
        assert pairs.same.tolist() == [True] * 3 + [False] * 3
        first, second = pairs.within(samples)
        assert np.array_equal(samples[first], pairs.first)
        assert np.array_equal(samples[second], pairs.second)
        assert np.array_equal(data.labels[pairs.first] == data.labels[pairs.second], pairs.same)


def test_the_development_view_has_no_test(small):
    data = small("lfw")
    parts = split(data, "verification")
    assert len(parts.test) == 0
    assert parts.test_pairs is None
    assert np.array_equal(parts.val_pairs.first, data.pairs.of(DEV_TEST).first)
    assert (data.class_split[classes_of(data, parts.val)] == TEST).all()


@pytest.mark.parametrize(("protocol", "fold"), [("open-set", None), ("verification", None), ("verification", 1)])
def test_the_long_tail_rule(small, protocol, fold):
    data = small("lfw")
    parts = split(data, protocol, fold=fold)
    learnt = np.bincount(data.labels[parts.train])
    assert learnt.max() == 50  # of 53
    assert learnt[learnt > 0].min() == 2
    assert (np.bincount(data.labels[parts.val]) == 1).any()  # people with one photograph stand in the gallery


def test_a_sample_that_a_pair_names_is_scored_beyond_the_cap(small):
    data = small("lfw")
    parts = split(data, "verification", fold=0)
    last = np.flatnonzero(data.labels == 0)[-1]
    assert last in parts.test
    assert (data.labels[parts.test] == 0).sum() == 51


def test_a_pair_outside_the_split_is_refused():
    one = np.array([5])
    pairs = Pairs(first=one, second=one, same=one > 0, part=one)
    with pytest.raises(DataError, match="outside the split"):
        pairs.within(np.array([1, 2, 3]))


# label noise


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(lambda labels: len(set(labels)) > 1),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_mislabel_makes_exactly_the_share_wrong(labels, share, seed):
    labels = np.array(labels)
    noisy = mislabel(labels, share, np.random.default_rng(seed))
    assert (noisy != labels).sum() == round(share * len(labels))
    assert set(noisy.tolist()) <= set(labels.tolist())


def test_mislabel_is_symmetric():
    noisy = mislabel(np.repeat(np.arange(4), 3000), 1.0, np.random.default_rng(0))
    table = np.histogram2d(np.repeat(np.arange(4), 3000), noisy, bins=4)[0]
    assert np.all(np.diag(table) == 0)
    assert np.abs(table[~np.eye(4, dtype=bool)] - 1000).max() < 120


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_mislabel_refuses_impossible_shares(share):
    with pytest.raises(DataError, match="outside"):
        mislabel(np.arange(5), share, np.random.default_rng(0))


def test_mislabel_refuses_a_single_class():
    with pytest.raises(DataError, match="only one class"):
        mislabel(np.zeros(5, dtype=np.int64), 0.5, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "protocol"), [("digits", "closed-set"), ("glyphs", "open-set")])
def test_noise_reaches_train_and_val_but_never_test(small, name, protocol):
    data = small(name)
    parts = split(data, protocol)
    noisy = with_label_noise(data.labels, parts, 0.4, np.random.default_rng(0))
    for samples in (parts.train, parts.val):
        assert (noisy[samples] != data.labels[samples]).mean() == pytest.approx(0.4, abs=2e-3)
        assert set(noisy[samples]) <= set(data.labels[samples])
    assert np.array_equal(noisy[parts.test], data.labels[parts.test])
