from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.metrics import jackknife, map_at_r_without, retrieval_metrics


def by_deletion(points, labels, groups, asks=None):
    """Delete each group and score the rest; `asks` is whether a sample asks."""
    found = []
    asks = np.ones(len(labels), dtype=bool) if asks is None else asks
    for name in np.unique(groups):
        rest = groups != name
        several = (np.bincount(labels[rest])[labels[rest]] > 1)[asks[rest]].any()
        asking = np.flatnonzero(asks[rest])
        found.append(retrieval_metrics(points[rest], labels[rest], asking=asking)["map_at_r"] if several else math.nan)
    return found


@pytest.mark.parametrize("much", [1 << 28, 0], ids=["each", "by-rank"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(1, 6), st.integers(1, 8), st.booleans())
def test_equals_deleting_each_group(much, seed, count, classes, groups, by_class):
    draw = np.random.default_rng(seed)
    points = draw.integers(0, 4, (count, 2)).astype(float)  # a grid: ties everywhere
    labels, member = draw.integers(0, classes, count), draw.integers(0, groups, count) * 5 - 3
    member = labels if by_class else member
    with patch.object(jackknife, "_MUCH", much):
        found = map_at_r_without(points, labels, member)
    assert found.tolist() == pytest.approx(by_deletion(points, labels, member), abs=1e-12, nan_ok=True)
    asks = draw.random(count) < 0.5
    if asks.any():
        found = map_at_r_without(points, labels, member, asking=np.flatnonzero(asks))
        assert found.tolist() == pytest.approx(by_deletion(points, labels, member, asks), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("by", ["class", "images"])
def test_equals_deleting_each_group_in_several_blocks(monkeypatch, by):
    monkeypatch.setattr("lossbench.metrics.ranking._BLOCK_ELEMENTS", 1)
    monkeypatch.setattr("lossbench.metrics.ranking._LEAST_ROWS", 50)
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 10)
    points = draw.normal(size=(300, 4)) + draw.normal(size=(30, 4))[labels]
    groups = labels if by == "class" else draw.permutation(300) % 50
    found = map_at_r_without(torch.from_numpy(points), torch.from_numpy(labels), torch.from_numpy(groups))
    assert found.tolist() == pytest.approx(by_deletion(points, labels, groups), abs=1e-12)
    assert found.std() > 0


@pytest.mark.slow
def test_a_large_class_among_many_small_ones_is_not_counted_anew_for_each(monkeypatch):
    """Every small class is near every sample of the large one: the work must not be their product."""
    counted = []
    original = jackknife._average_precision
    monkeypatch.setattr(jackknife, "_MUCH", 1 << 16)
    monkeypatch.setattr(
        jackknife, "_average_precision", lambda match, *rest: counted.append(match.numel()) or original(match, *rest)
    )
    labels = np.r_[np.zeros(300, dtype=int), 1 + np.arange(300) // 2]
    points = np.random.default_rng(0).normal(size=(600, 3))
    found = map_at_r_without(points, labels, labels)
    assert sum(counted) < 3 * 600 * 600  # 300 x 150 x 600, were each counted anew
    assert found[::30].tolist() == pytest.approx(np.array(by_deletion(points, labels, labels))[::30], abs=1e-12)


def test_what_is_left_without_a_match_has_no_score():
    assert math.isnan(map_at_r_without(np.eye(3), np.array([0, 0, 1]), np.array([7, 7, 8]))[0])


def test_groups_are_of_the_samples():
    with pytest.raises(ValueError, match="groups: 2 labels for 3 rows"):
        map_at_r_without(np.eye(3), np.array([0, 0, 1]), np.array([7, 8]))
