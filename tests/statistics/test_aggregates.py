"""Several data sets and tuning curves: closed forms, published values, SciPy and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lossbench.statistics.aggregates import (
    average_ranks,
    critical_difference,
    expected_best,
    friedman,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    rank_groups,
    ranks_tell,
    trials_to_reach,
)

pytestmark = pytest.mark.filterwarnings("error")

NAN = math.nan
FEW = 500  # resamples, where the interval itself is not what is tested


# Ranks


def test_average_ranks_by_hand() -> None:
    """Rows rank 1 2 3, 3 1 2 and, tied, 1.5 1.5 3."""
    scores = [[0.9, 0.8, 0.7], [0.1, 0.5, 0.4], [0.6, 0.6, 0.2]]
    np.testing.assert_allclose(average_ranks(scores), [5.5 / 3, 4.5 / 3, 8 / 3])
    np.testing.assert_allclose(average_ranks(scores, higher_is_better=False), 4 - average_ranks(scores))


def test_incomplete_tasks_have_no_ranks_and_infinite_scores_do() -> None:
    assert average_ranks([[0.9, NAN], [0.1, 0.2]]).tolist() == [2.0, 1.0]
    assert average_ranks([[-math.inf, 0.5, math.inf]]).tolist() == [3.0, 2.0, 1.0]
    assert np.isnan(average_ranks([[0.9, NAN]])).all()
    with pytest.raises(ValueError, match=r"scores: shape \(2,\) must be \(tasks, recipes\)"):
        average_ranks([0.1, 0.2])


def test_friedman_is_scipys_on_the_complete_tasks() -> None:
    scores = np.random.default_rng(0).normal(size=(12, 4)) + np.arange(4) * 0.5
    expected = stats.friedmanchisquare(*scores.T)
    result = friedman(np.vstack([scores, [NAN, 1, 2, 3]]))
    assert (result.statistic, result.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (result.tasks, result.recipes) == (12, 4)


def test_friedman_by_the_closed_form_over_ranks() -> None:
    """12 N / (k (k + 1)) (sum of squared ranks - k (k + 1)^2 / 4), without ties (Demsar 2006)."""
    scores = np.random.default_rng(1).normal(size=(7, 5))
    ranks = average_ranks(scores)
    expected = 12 * 7 / (5 * 6) * (np.square(ranks).sum() - 5 * 36 / 4)
    assert friedman(scores).statistic == pytest.approx(expected)


def test_friedman_of_ties_and_of_too_little() -> None:
    tied = friedman(np.ones((4, 3)))
    assert (tied.statistic, tied.p) == (0.0, 1.0)
    assert math.isnan(friedman([[1.0, 2.0, 3.0]]).p)
    with pytest.raises(ValueError, match="2 recipes; Friedman's test needs at least 3"):
        friedman([[1.0, 2.0], [1.0, 2.0]])


@pytest.mark.parametrize(
    ("recipes", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_critical_difference_with_the_published_quantiles(recipes: int, quantile: float) -> None:
    """Demsar 2006, Table 5(a)."""
    expected = quantile * math.sqrt(recipes * (recipes + 1) / (6 * 14))
    assert critical_difference(recipes, 14) == pytest.approx(expected, rel=5e-4)


@pytest.mark.parametrize(("recipes", "tasks", "alpha"), [(1, 5, 0.05), (3, 0, 0.05), (3, 5, 0.0)])
def test_critical_difference_of_nonsense_is_an_error(recipes: int, tasks: int, alpha: float) -> None:
    with pytest.raises(ValueError):
        critical_difference(recipes, tasks, alpha=alpha)


def test_rank_groups_are_the_bars_of_the_diagram() -> None:
    assert rank_groups([1.0, 2.0, 3.0, 4.0], 1.0) == ((0, 1), (1, 2), (2, 3))
    assert rank_groups([4.0, 1.5, 1.0, 2.0], 1.0) == ((2, 1, 3),)
    assert rank_groups([1.0, 3.0], 1.0) == ()
    assert rank_groups([1.1, 5.2], 4.1) == ((0, 1),)  # 1.1 + 4.1 falls short of 5.2 by rounding alone
    with pytest.raises(ValueError, match="without NaN"):
        rank_groups([1.0, NAN], 1.0)


# Interquartile mean


@pytest.mark.parametrize("shape", [(1, 7), (1, 8), (2, 5), (3, 8), (4, 3)])
def test_interquartile_mean_is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(shape[1]).normal(size=shape)
    result = interquartile_mean(scores, resamples=FEW)
    assert result.estimate == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert result.low < result.estimate < result.high
    assert (result.tasks, result.runs, result.incomplete) == (shape[0], scores.size, 0)


def test_missing_runs_are_left_out_and_counted() -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0, NAN], [NAN] * 5])
    result = interquartile_mean(scores, resamples=FEW)
    assert result.estimate == 2.5
    assert (result.tasks, result.runs, result.incomplete) == (1, 4, 6)


def test_runs_are_resampled_within_tasks_only() -> None:
    """Tasks far apart, runs close together: mixing tasks would make the interval as wide as their gaps."""
    scores = np.array([[0.0], [100.0], [200.0]]) + np.random.default_rng(0).normal(size=(3, 8))
    result = interquartile_mean(scores)
    assert result.high - result.low < 3


def test_intervals_repeat_with_their_seed() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 8))
    assert interquartile_mean(scores, seed=3) == interquartile_mean(scores, seed=3)
    assert interquartile_mean(scores, seed=3).low != interquartile_mean(scores, seed=4).low


@pytest.mark.parametrize("scores", [np.full((2, 4), 0.1), [[0.1], [0.2]], [[0.1, 0.2], [0.3, NAN]]])
def test_without_spread_or_with_one_run_there_is_no_interval(scores: npt.ArrayLike) -> None:
    result = interquartile_mean(scores, resamples=FEW)
    assert math.isfinite(result.estimate)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_nothing_has_no_mean() -> None:
    assert math.isnan(interquartile_mean(np.full((2, 3), NAN)).estimate)
    assert math.isnan(interquartile_mean(np.empty((0, 3))).estimate)


def test_wrong_runs_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores\[0, 1\]: inf must be finite"):
        interquartile_mean([[0.1, math.inf]])
    with pytest.raises(ValueError, match=r"scores: shape \(2,\) must be \(tasks, seeds\)"):
        interquartile_mean([0.1, 0.2])
    with pytest.raises(ValueError, match="resamples: 10"):
        interquartile_mean([[0.1, 0.2]], resamples=10)


def test_the_bootstrap_interval_covers_about_what_its_docstring_says() -> None:
    generator = np.random.default_rng(0)
    results = [interquartile_mean(generator.normal(size=(2, 8)), resamples=FEW) for _ in range(400)]
    covered = sum(result.low <= 0 <= result.high for result in results)
    low, high = stats.binom.interval(0.99, 400, 0.93)
    assert low <= covered <= high


# Probability of improvement


def test_probability_of_improvement_is_the_mean_mann_whitney_share() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 6, size=(2, 3, 7)).astype(np.float64)
    expected = np.mean([stats.mannwhitneyu(x, y).statistic / 49 for x, y in zip(a, b, strict=True)])
    result = probability_of_improvement(a, b, resamples=FEW)
    assert result.estimate == pytest.approx(expected)
    assert result.low < result.estimate < result.high
    assert probability_of_improvement(b, a, resamples=FEW).estimate == pytest.approx(1 - expected)
    lower = probability_of_improvement(a, b, higher_is_better=False, resamples=FEW)
    assert lower.estimate == pytest.approx(1 - expected)


def test_certain_improvement_has_no_interval() -> None:
    scores = np.random.default_rng(0).uniform(size=(2, 5))
    result = probability_of_improvement(scores + 1, scores, resamples=FEW)
    assert result.estimate == 1.0
    assert math.isnan(result.low)


def test_seeds_missing_in_either_recipe_are_left_out_of_both() -> None:
    a = [[0.1, NAN, 0.9, 0.8], [NAN] * 4]
    b = [[NAN, 0.5, 0.3, 0.2], [0.5] * 4]
    result = probability_of_improvement(a, b, resamples=FEW)
    assert (result.estimate, result.tasks, result.runs, result.incomplete) == (1.0, 1, 2, 6)
    with pytest.raises(ValueError, match="must be equal"):
        probability_of_improvement([[1.0, 2.0]], [[1.0]])


# Performance profiles


def test_performance_profile_by_hand() -> None:
    scores = [[0.2, 0.4, 0.6, 0.8], [0.5, 0.5, NAN, NAN]]
    np.testing.assert_allclose(performance_profile(scores, [0.0, 0.5, 0.7, 1.0]), [1.0, 0.25, 0.125, 0.0])
    np.testing.assert_allclose(
        performance_profile(scores, [0.0, 0.5, 0.7, 1.0], higher_is_better=False), [0, 0.25, 0.875, 1.0]
    )
    assert np.isnan(performance_profile([[NAN]], [0.5])).all()
    with pytest.raises(ValueError, match="thresholds"):
        performance_profile(scores, [NAN])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_performance_profiles_fall_from_one_to_zero(scores: list[float]) -> None:
    profile = performance_profile([scores], np.linspace(-0.1, 1.0, 23))
    assert profile[0] == 1
    assert profile[-1] == 0
    assert np.all(np.diff(profile) <= 0)


# Tuning curves

trials = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=7)


@given(trials, st.booleans())
@settings(max_examples=100, deadline=None)
def test_expected_best_is_the_mean_over_all_subsets(values: list[float], higher_is_better: bool) -> None:
    best = max if higher_is_better else min
    expected = [
        np.mean([best(subset) for subset in itertools.combinations(values, k)]) for k in range(1, len(values) + 1)
    ]
    curve = expected_best(values, higher_is_better=higher_is_better)
    np.testing.assert_allclose(curve, expected, rtol=1e-9, atol=1e-9)
    assert curve[-1] == best(values)
    steps = np.diff(curve)
    assert np.all(steps >= 0 if higher_is_better else steps <= 0)


def test_expected_best_of_uniform_ranks_has_a_closed_form() -> None:
    """The expected largest of k out of 1..n is k (n + 1) / (k + 1)."""
    k = np.arange(1, 201)
    np.testing.assert_allclose(expected_best(np.arange(1, 201)), k * 201 / (k + 1), rtol=1e-10)


def test_expected_best_is_unbiased_where_drawing_with_replacement_is_not() -> None:
    """The expected largest of 6 uniform numbers is 6/7; Dodge's estimator from 12 trials stays below it."""
    draws = np.random.default_rng(0).uniform(size=(2000, 12))
    ours = np.array([expected_best(row)[5] for row in draws])
    shares = np.arange(13) / 12
    theirs = np.sort(draws, axis=1) @ np.diff(shares**6)
    error = 3 * ours.std() / math.sqrt(2000)
    assert ours.mean() == pytest.approx(6 / 7, abs=error)
    assert theirs.mean() < 6 / 7 - error


def test_failed_trials_count_as_the_worst() -> None:
    np.testing.assert_allclose(expected_best([0.5, NAN, 0.2, -math.inf]), expected_best([0.5, 0.2, 0.2, 0.2]))
    np.testing.assert_allclose(
        expected_best([5.0, NAN, 2.0, math.inf], higher_is_better=False),
        expected_best([5.0, 5.0, 2.0, 5.0], higher_is_better=False),
    )
    np.testing.assert_allclose(expected_best([0.5, NAN], failed_value=0.1), [0.3, 0.5])
    np.testing.assert_allclose(expected_best([NAN, NAN], failed_value=0.1), [0.1, 0.1])
    np.testing.assert_allclose(expected_best([2.0, NAN], failed_value=4.0, higher_is_better=False), [3.0, 2.0])
    assert np.isnan(expected_best([NAN, NAN])).all()
    assert expected_best([]).size == 0


def test_equal_trials_give_a_flat_curve_exactly() -> None:
    assert expected_best([0.1] * 9).tolist() == [0.1] * 9


def test_wrong_trials_are_named() -> None:
    with pytest.raises(ValueError, match=r"values: shape \(1, 1\)"):
        expected_best([[0.1]])
    with pytest.raises(ValueError, match="failed_value: nan must be finite"):
        expected_best([0.1], failed_value=NAN)


def test_trials_to_reach_a_threshold() -> None:
    curve = expected_best([0.2, 0.5, 0.4])
    assert trials_to_reach(curve, 0.5) == 3
    assert trials_to_reach(curve, curve[0]) == 1
    assert trials_to_reach(curve, 0.51) is None
    assert trials_to_reach([3.0, 2.0, 1.0], 2.0, higher_is_better=False) == 2
    assert trials_to_reach([NAN, NAN], 0.0) is None
    assert trials_to_reach([], 0.0) is None
    with pytest.raises(ValueError, match="threshold: nan"):
        trials_to_reach(curve, NAN)
    with pytest.raises(ValueError, match="curve: shape"):
        trials_to_reach([[0.1]], 0.1)


def test_ranks_tell_nothing_below_ten_data_sets() -> None:
    assert not ranks_tell(9)
    assert ranks_tell(10)
