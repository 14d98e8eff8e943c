"""One pair: against SciPy, brute force, closed forms, and simulation with a known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from lossbench.statistics.effects import (
    Effect,
    mean_interval,
    minimum_detectable_effect,
    paired_effect,
    paired_power,
    seeds_needed,
    sign_flip_p,
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


@pytest.mark.parametrize("n", [1, 2, 5, 8, 10])
@pytest.mark.parametrize("discrete", [False, True])
def test_sign_flip_p_is_the_share_of_all_flips(n: int, discrete: bool) -> None:
    generator = np.random.default_rng(n)
    for _ in range(5):
        # Accuracies come in steps: sums tie, and rounding must not break the ties
        drawn = generator.integers(-3, 6, n) * 0.1 if discrete else generator.normal(0.3, 1, n)
        values = np.asarray(drawn, dtype=np.float64)
        assert sign_flip_p(values) == pytest.approx(brute_force_flips(values), abs=1e-12)


def test_sign_flip_p_of_differences_of_one_sign_is_two_of_all_flips() -> None:
    assert sign_flip_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]) == 2 / 256


def test_sign_flip_p_of_no_difference_is_one() -> None:
    assert sign_flip_p(np.zeros(8)) == 1.0
    assert math.isnan(sign_flip_p([math.nan]))


def test_sampled_flips_agree_with_exact_ones_and_repeat() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, 21)
    sampled = sign_flip_p(values)
    sums = np.array([0.0])
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12)
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 99_999))
    assert sampled == sign_flip_p(values[::-1]) == sign_flip_p(-values)


def test_sampled_flips_never_give_zero() -> None:
    assert sign_flip_p(np.full(40, 1.0) + np.arange(40) / 100) == 1 / 100_000


def test_sign_flip_p_stands_beside_the_t_test_from_eight_pairs_on() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 8))
    assert paired_effect(*scores[:, :7]).p_sign_flip is None
    assert paired_effect(*scores).p_sign_flip == pytest.approx(brute_force_flips(scores[0] - scores[1]))


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
    unknown = (effect.sd, effect.low, effect.high, effect.p, effect.standardized, effect.min_detectable)
    assert all(math.isnan(value) for value in unknown)
    assert effect.p_sign_flip is None
    assert not effect.identical
    assert not effect.constant


@pytest.mark.parametrize("n", [2, 8])
def test_identical_scores_have_no_effect_and_p_one(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    effect = paired_effect(scores, scores)
    assert effect.identical
    assert (effect.mean, effect.sd, effect.low, effect.high, effect.p) == (0, 0, 0, 0, 1)
    assert effect.standardized == 0
    assert math.isnan(effect.min_detectable)


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
    assert math.isnan(effect.min_detectable)


def test_the_largest_scores_have_an_effect() -> None:
    effect = paired_effect([1e150, 1.0, 0.0] * 3, [-1e150, 0.0, 1e-300] * 3)
    assert math.isfinite(effect.sd)
    assert effect.p_sign_flip is not None


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
def test_the_order_of_seeds_does_not_change_a_bit(
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
    if effect.p_sign_flip is not None:
        assert 2.0 ** (1 - effect.n) <= effect.p_sign_flip <= 1


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
    assert sum(effect.p_sign_flip is not None and effect.p_sign_flip < 0.05 for effect in effects) <= 67


def test_the_interval_covers_the_true_effect_at_eight_seeds() -> None:
    low, high = binomial_range(0.95)
    effects = [paired_effect(row, np.zeros(8)) for row in samples(2, effect=0.4)]
    assert low <= sum(effect.low <= 0.4 <= effect.high for effect in effects) <= high


@pytest.mark.parametrize("true_effect", [0.5, 1.0])
def test_power_is_what_the_noncentral_t_predicts(true_effect: float) -> None:
    low, high = binomial_range(paired_power(true_effect, 1.0, 8))
    found = sum(paired_effect(row, np.zeros(8)).p < 0.05 for row in samples(3, effect=true_effect))
    assert low <= found <= high


def test_the_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    low, high = binomial_range(0.8)
    true_effect = minimum_detectable_effect(8, 1.0)
    found = sum(paired_effect(row, np.zeros(8)).p < 0.05 for row in samples(4, effect=true_effect))
    assert low <= found <= high


# Power


@pytest.mark.parametrize("n", [2, 5, 8, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 15])
@pytest.mark.parametrize("standardized", [0.0, 0.3, 1.0, 3.0])
def test_power_is_the_integral_over_the_estimated_spread(n: int, alpha: float, standardized: float) -> None:
    critical = stats.t.isf(alpha / 2, n - 1)

    def rejects(quantile: float) -> float:
        spread = math.sqrt(stats.chi2.ppf(quantile, n - 1) / (n - 1))
        shift = standardized * math.sqrt(n)
        return float(stats.norm.sf(critical * spread - shift) + stats.norm.cdf(-critical * spread - shift))

    expected, _ = integrate.quad(rejects, 0, 1, limit=200, points=[0.001, 0.01, 0.1])
    assert paired_power(-standardized * 2, 2.0, n, alpha=alpha) == pytest.approx(expected, abs=1e-5)


def test_power_without_an_effect_is_the_level_and_grows_with_seeds() -> None:
    assert paired_power(0.0, 1.0, 8) == pytest.approx(0.05)
    powers = [paired_power(0.5, 1.0, n) for n in range(2, 200)]
    assert all(first <= second + 1e-12 for first, second in itertools.pairwise(powers))
    assert math.isnan(paired_power(0.5, 1.0, 1))


def test_power_of_large_effects_is_one_without_gaps() -> None:
    for effect in np.geomspace(5, 1e150, 400):
        assert paired_power(float(effect), 1.0, 8) == pytest.approx(1.0)
        assert paired_power(float(effect), 1e-150, 20, alpha=0.001) == pytest.approx(1.0)


@pytest.mark.parametrize(("standardized", "expected"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_for_cohens_effects(standardized: float, expected: int) -> None:
    """The sample sizes that power tables give for a paired two-sided test at 5 % and power 0.8."""
    assert seeds_needed(standardized, 1.0) == expected
    assert seeds_needed(-standardized * 7, 7.0) == expected


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 45])
def test_minimum_detectable_effect_inverts_power_and_seeds_needed(n: int, alpha: float) -> None:
    effect = minimum_detectable_effect(n, 0.02, alpha=alpha)
    assert paired_power(effect, 0.02, n, alpha=alpha) == pytest.approx(0.8, abs=1e-8)
    assert seeds_needed(effect * 1.000001, 0.02, alpha=alpha) == n
    if alpha == 0.05:
        rng = np.random.default_rng(n)
        measured = paired_effect(rng.normal(size=n), np.zeros(n))
        assert measured.min_detectable == pytest.approx(minimum_detectable_effect(n, measured.sd))


def test_no_number_of_seeds_finds_nothing() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-9, 1.0) is None
    assert seeds_needed(1e150, 1e-150) == 2
    assert math.isnan(minimum_detectable_effect(1, 1.0))
    assert math.isnan(minimum_detectable_effect(8, 0.0))


@pytest.mark.parametrize(("effect", "sd"), [(math.inf, 1.0), (math.nan, 1.0), (1.0, 0.0), (1.0, math.nan)])
def test_power_of_nonsense_is_an_error(effect: float, sd: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        paired_power(effect, sd, 8)
    with pytest.raises(ValueError, match="must be"):
        seeds_needed(effect, sd)


def test_power_must_exceed_the_level() -> None:
    with pytest.raises(ValueError, match=r"power: 0\.01 must lie between"):
        minimum_detectable_effect(8, 1.0, power=0.01)
    with pytest.raises(ValueError, match=r"power: 1\.0 must lie between"):
        seeds_needed(1.0, 1.0, power=1.0)


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
