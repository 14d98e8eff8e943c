"""The publishers' own files, where LOSSBENCH_DATA names a folder that has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from deal_checks import DEALS, assert_sound

from lossbench.datasets import load
from lossbench.datasets.fetch import verify
from lossbench.datasets.omniglot import VALIDATION_ALPHABETS
from lossbench.datasets.sources import SOURCES
from lossbench.datasets.splits import split

FOLDER = Path(os.environ.get("LOSSBENCH_DATA", "/nonexistent"))
SIZE = {"omniglot": 28, "lfw": 32}


def published(name: str):
    there = all((FOLDER / name / file.name).is_file() for file in SOURCES[name].files)
    reason = f"set LOSSBENCH_DATA to a folder with the files of {name}"
    return pytest.param(name, marks=pytest.mark.skipif(not there, reason=reason))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    loaded = {}

    def get(name):
        if name not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LOSSBENCH_CACHE", str(root))
                loaded[name] = load(name, SIZE.get(name))
        return loaded[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("name", [published(name) for name in SOURCES])
def test_every_protocol_and_fold_is_disjoint(real, name):
    data = real(name)
    folds = {"closed-set": [None], "open-set": [None], "verification": [None, *range(10)]}
    for protocol in data.protocols:
        for fold in folds[protocol]:
            parts = split(data, protocol, fold=fold)
            together = np.concatenate([parts.train, parts.val, parts.test])
            assert len(np.unique(together)) == len(together)
            train, val, test = (set(data.labels[part].tolist()) for part in (parts.train, parts.val, parts.test))
            if protocol == "closed-set":
                assert val | test <= train
            else:
                assert len(train) + len(val) + len(test) == len(train | val | test)


@pytest.mark.slow
@pytest.mark.parametrize("name", [published(name) for name in SOURCES])
def test_deals_are_sound(real, name):
    data = real(name)
    for protocol in data.protocols:
        different = assert_sound(data, protocol, 0 if protocol == "verification" else None)
        assert different == 1 if protocol == "verification" else different > 2  # ten classes have fifteen ways


@pytest.mark.slow
@pytest.mark.parametrize("name", [published("omniglot")])
def test_a_deal_of_omniglot_validates_on_six_other_alphabets(real, name):
    data = real(name)
    alphabets = []
    for deal in DEALS:
        parts = split(data, "open-set", deal=deal)
        names = {data.class_names[label].partition("/")[0] for label in np.unique(data.labels[parts.val])}
        assert len(names) == 6
        alphabets.append(names)
    assert all(names != VALIDATION_ALPHABETS for names in alphabets)


@pytest.mark.slow
@pytest.mark.parametrize("name", [published("lfw")])
def test_the_long_tail_of_lfw(real, name):
    data = real(name)
    for protocol, fold in [("open-set", None), ("verification", None), *[("verification", fold) for fold in range(10)]]:
        parts = split(data, protocol, fold=fold)
        learnt = np.bincount(data.labels[parts.train])
        assert learnt.max() <= 50  # George W. Bush has 530
        assert learnt[learnt > 0].min() == 2  # who has one photograph stands in the gallery only
        named = () if parts.val_pairs is None else (parts.val_pairs.first, parts.val_pairs.second)
        beyond = np.setdiff1d(parts.val, np.concatenate([*named, first_of_each(data.labels, 50)]))
        assert len(beyond) == 0


def first_of_each(labels, count):
    """The first `count` samples of every class."""
    return np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)])


@pytest.mark.slow
@pytest.mark.parametrize("name", [published("mnist")])
def test_mnist_has_its_known_counts(real, name):
    data = real(name)
    assert np.bincount(data.labels[~data.published_test])[:3].tolist() == [5923, 6742, 5958]
    assert np.bincount(data.labels[data.published_test])[:3].tolist() == [980, 1135, 1032]
    assert data.images[0].sum() == 27525


@pytest.mark.slow
@pytest.mark.parametrize("name", [published("omniglot")])
def test_omniglot_has_its_known_counts(real, name):
    data = real(name)
    assert np.bincount(data.class_split).tolist() == [773, 191, 659]
    assert (np.bincount(data.labels) == 20).all()
    assert len({name.partition("/")[0] for name in data.class_names}) == 50


@pytest.mark.slow
@pytest.mark.parametrize("name", [published("lfw")])
def test_lfw_has_its_known_counts(real, name):
    data = real(name)
    counts = np.bincount(data.labels)
    assert (len(data.images), data.num_classes, counts.max(), int((counts == 1).sum())) == (13233, 5749, 530, 4069)
    assert np.bincount(data.class_part).tolist() == [601, 555, 552, 560, 567, 527, 597, 601, 580, 609]
    for fold in range(10):
        parts = split(data, "verification", fold=fold)
        assert parts.test_pairs.same.sum() == 300
        assert len(parts.test_pairs.same) == 600
        parts.test_pairs.within(parts.test)
    assert len(split(data, "verification").val_pairs.same) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", [published(name) for name in SOURCES])
def test_the_files_are_known(name):
    assert [finding for finding in verify(name, FOLDER) if not finding.ok] == []
