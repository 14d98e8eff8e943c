"""One pair: against SciPy, brute force, closed forms, and simulation with a known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lossbench.statistics.effects import (
    Effect,
    mean_interval,
    paired_effect,
    t_interval,
)

pytestmark = pytest.mark.filterwarnings("error")

REPETITIONS = 1000
EVERY_OTHER_SIGN = np.array([1.0, -1.0] * 4)


def binomial_range(probability: float) -> tuple[float, float]:
    """The counts out of REPETITIONS that a right implementation stays within in 99 % of all tests."""
    low, high = stats.binom.interval(0.99, REPETITIONS, probability)
    return float(low), float(high)


def samples(seed: int, n: int = 8, effect: float = 0.0) -> npt.NDArray[np.float64]:
    """Differences (REPETITIONS, n) of unit spread around `effect`."""
    return np.random.default_rng(seed).normal(effect, 1.0, size=(REPETITIONS, n))


def brute_force_flips(differences: npt.NDArray[np.float64]) -> float:
    observed = abs(differences.sum())
    flips = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=differences.size)]
    return float(np.mean(np.array(flips) >= observed - 1e-12))


# Against SciPy and brute force


@pytest.mark.parametrize("n", [2, 3, 8, 25])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_paired_effect_is_scipys_paired_t_test(n: int, confidence: float) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n))
    effect, expected = paired_effect(a, b, confidence=confidence), stats.ttest_rel(a, b)
    interval = expected.confidence_interval(confidence)
    assert effect.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert effect.mean == pytest.approx((a - b).mean(), rel=1e-12)
    assert effect.sd == pytest.approx((a - b).std(ddof=1), rel=1e-12)
    assert effect.standardized == pytest.approx(effect.mean / effect.sd)
    assert (effect.n, effect.incomplete) == (n, 0)


# Stated rules


def test_pairs_with_a_missing_member_are_left_out_and_counted() -> None:
    a = [0.5, math.nan, 0.7, 0.6, math.nan]
    b = [0.4, 0.5, math.nan, 0.3, math.nan]
    effect = paired_effect(a, b)
    assert (effect.n, effect.incomplete) == (2, 3)
    assert effect.mean == pytest.approx(0.2)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_pairs_give_no_interval_and_no_p(n: int) -> None:
    effect = paired_effect([0.5] * n, [0.4] * n)
    unknown = (effect.sd, effect.low, effect.high, effect.p, effect.standardized)
    assert all(math.isnan(value) for value in unknown)
    assert not effect.identical
    assert not effect.constant


@pytest.mark.parametrize("n", [2, 8])
def test_identical_scores_have_no_effect_and_p_one(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    effect = paired_effect(scores, scores)
    assert effect.identical
    assert (effect.mean, effect.sd, effect.low, effect.high, effect.p) == (0, 0, 0, 0, 1)
    assert effect.standardized == 0


def test_scores_equal_to_rounding_are_identical() -> None:
    assert paired_effect([0.1 + 0.2, 0.5], [0.3, 0.5]).identical


@pytest.mark.parametrize("n", [2, 3, 5, 6, 8, 12])
def test_a_constant_difference_is_judged_by_the_sign_flip_test(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    effect = paired_effect(scores + 0.01, scores)
    assert effect.constant
    assert effect.p == brute_force_flips(np.full(n, 0.01)) == 2.0 ** (1 - n)
    # The interval holds what that test does not reject: the point, or no bound at all
    assert (effect.p < 0.05) == (not math.isnan(effect.low))
    if n >= 6:
        assert effect.low == effect.high == effect.mean == pytest.approx(0.01)
    assert math.isnan(effect.standardized)


def test_the_largest_scores_have_an_effect() -> None:
    effect = paired_effect([1e150, 1.0, 0.0] * 3, [-1e150, 0.0, 1e-300] * 3)
    assert math.isfinite(effect.sd)


@pytest.mark.parametrize(
    ("a", "b", "rule"),
    [
        ([1.0, 2.0], [1.0], "2 and 1 scores"),
        ([[1.0]], [[1.0]], r"a: shape \(1, 1\)"),
        ([1.0, math.inf], [1.0, 1.0], r"a\[1\]: inf must be finite"),
        ([1.0, 1.0], [-math.inf, 1.0], r"b\[0\]: -inf must be finite"),
        (["high"], [1.0], "a: must be a list of numbers"),
    ],
)
def test_wrong_scores_are_named(a: npt.ArrayLike, b: npt.ArrayLike, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        paired_effect(a, b)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_wrong_confidence_is_named(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"confidence: .* between 0 and 1"):
        paired_effect([1.0], [1.0], confidence=confidence)
    with pytest.raises(ValueError, match=r"confidence: .* between 0 and 1"):
        mean_interval([1.0], confidence=confidence)


# Properties

score = st.one_of(
    st.floats(-1e150, 1e150),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.5, 1.0, 1e150, -1e150, 1e-160]),
    st.just(math.nan),
)
paired_scores = st.lists(st.tuples(score, score), max_size=12)


def fields(effect: Effect) -> list[float | None]:
    return [getattr(effect, name) for name in Effect.__dataclass_fields__]


def same(first: Effect, second: Effect) -> bool:
    return all(
        a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(fields(first), fields(second), strict=True)
    )


@given(paired_scores)
@settings(max_examples=150, deadline=None)
def test_an_effect_reverses_with_its_recipes(pairs: list[tuple[float, float]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert same(paired_effect(b, a), paired_effect(a, b).reversed())


@given(paired_scores.flatmap(lambda pairs: st.tuples(st.just(pairs), st.permutations(pairs))))
@settings(max_examples=150, deadline=None)
def test_the_order_of_studies_does_not_change_a_bit(
    orders: tuple[list[tuple[float, float]], list[tuple[float, float]]],
) -> None:
    first, second = (paired_effect([a for a, _ in order], [b for _, b in order]) for order in orders)
    assert same(first, second)


@given(paired_scores)
@settings(max_examples=150, deadline=None)
def test_effects_are_consistent(pairs: list[tuple[float, float]]) -> None:
    effect = paired_effect([a for a, _ in pairs], [b for _, b in pairs])
    assert effect.n + effect.incomplete == len(pairs)
    if effect.n >= 2:
        assert 0 <= effect.p <= 1
        if not math.isnan(effect.low):
            assert effect.low <= effect.mean <= effect.high


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(0.01, 100))
@settings(max_examples=100, deadline=None)
def test_effects_carry_the_unit_of_the_metric(values: list[float], unit: float) -> None:
    plain = paired_effect(values, np.zeros(len(values)))
    scaled = paired_effect(np.array(values) * unit, np.zeros(len(values)))
    assert scaled.mean == pytest.approx(plain.mean * unit, rel=1e-9, abs=1e-12)
    assert scaled.sd == pytest.approx(plain.sd * unit, rel=1e-9, abs=1e-12)


# Simulation with a known truth


def test_a_a_runs_differ_in_at_most_67_of_1000_repetitions() -> None:
    effects = [paired_effect(row, np.zeros(8)) for row in samples(1)]
    assert sum(effect.p < 0.05 for effect in effects) <= 67


def test_the_interval_covers_the_true_effect_at_eight_studies() -> None:
    low, high = binomial_range(0.95)
    effects = [paired_effect(row, np.zeros(8)) for row in samples(2, effect=0.4)]
    assert low <= sum(effect.low <= 0.4 <= effect.high for effect in effects) <= high


# Intervals of means


def test_mean_interval_is_scipys_for_every_column() -> None:
    curves = np.random.default_rng(0).normal(size=(8, 5, 3))
    band = mean_interval(curves)
    expected = stats.ttest_1samp(curves, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(band.low, expected.low)
    np.testing.assert_allclose(band.high, expected.high)
    np.testing.assert_allclose(band.mean, curves.mean(axis=0))
    np.testing.assert_allclose(band.sd, curves.std(axis=0, ddof=1))
    assert band.n.tolist() == [[8] * 3] * 5


def test_mean_interval_of_another_axis_and_of_one_list() -> None:
    values = np.random.default_rng(1).normal(size=(3, 6))
    np.testing.assert_array_equal(mean_interval(values, axis=-1).low, mean_interval(values.T).low)
    low, high = t_interval(float(values[0].mean()), float(values[0].std(ddof=1)), 6, 0.95)
    single = mean_interval(values[0])
    assert (float(single.low), float(single.high)) == pytest.approx((low, high))


def test_mean_interval_of_missing_infinite_and_equal_values() -> None:
    nan, inf = math.nan, math.inf
    band = mean_interval([[1.0, nan, nan, inf, 0.1], [2.0, 5.0, nan, 1.0, 0.1], [nan, nan, nan, 2.0, 0.1]])
    np.testing.assert_array_equal(band.n, [2, 1, 0, 2, 3])
    np.testing.assert_array_equal(band.mean, [1.5, 5.0, nan, nan, 0.1])
    np.testing.assert_array_equal(band.low[1:], [nan, nan, nan, 0.1])
    np.testing.assert_array_equal(band.high[1:], [nan, nan, nan, 0.1])
    assert band.low[0] == pytest.approx(1.5 - 12.7062047 * math.sqrt(0.5) / math.sqrt(2))
    assert mean_interval(np.empty((0, 2))).n.tolist() == [0, 0]


def test_mean_interval_names_a_wrong_axis() -> None:
    with pytest.raises(ValueError, match="axis: 1 is not an axis"):
        mean_interval([1.0, 2.0], axis=1)
    with pytest.raises(ValueError, match="axis: 0 is not an axis"):
        mean_interval(1.0)


# Bounds


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9), st.floats(0.5, 0.999))
@settings(max_examples=150, deadline=None)
def test_intervals_stay_within_what_scores_can_be(pairs: list[tuple[float, float]], confidence: float) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    free, effect = paired_effect(a, b, confidence=confidence), paired_effect(a, b, confidence=confidence, bounds=(0, 1))
    if not math.isnan(free.low):
        assert (effect.low, effect.high) == (max(free.low, -1), min(free.high, 1))
    assert (effect.mean, effect.p, effect.sd) == (free.mean, free.p, free.sd)
    band, within = mean_interval(a, confidence=confidence), mean_interval(a, confidence=confidence, bounds=(0, 1))
    assert (float(within.low), float(within.high)) == (max(float(band.low), 0), min(float(band.high), 1))


def test_a_mean_near_the_top_has_no_interval_beyond_it() -> None:
    within = mean_interval([0.99, 1.0, 0.9], bounds=(0.0, 1.0))
    assert float(within.high) == 1.0
    assert float(mean_interval([0.99, 1.0, 0.9]).high) > 1.0
    assert paired_effect([1.0, 0.9, 0.2], [0.0, 0.1, 0.0], bounds=(0, 1)).high == 1.0
