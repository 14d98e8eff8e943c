"""Exact binomial intervals against SciPy."""

from __future__ import annotations

import pytest
from scipy import stats

from lossbench.statistics.counts import binomial_interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (2, 20), (20, 20), (1, 1), (30, 90)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_clopper_and_pearsons(hits: int, trials: int, confidence: float) -> None:
    expected = stats.binomtest(hits, trials).proportion_ci(confidence, method="exact")
    assert binomial_interval(hits, trials, confidence=confidence) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("hits", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_named(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"hits, trials: {hits}, {trials}"):
        binomial_interval(hits, trials)
