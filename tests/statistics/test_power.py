"""Power and numbers of studies: against integrals, published sample sizes, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate, stats

from lossbench.statistics.effects import paired_effect
from lossbench.statistics.looks import schedule
from lossbench.statistics.power import (
    equivalence_power,
    paired_power,
    smallest_found,
    spread_interval,
    studies_for_difference,
    studies_for_equivalence,
    studies_needed,
)

pytestmark = pytest.mark.filterwarnings("error")

REPETITIONS = 1000


def binomial_range(probability: float) -> tuple[float, float]:
    """The counts out of REPETITIONS that a right implementation stays within in 99 % of all tests."""
    low, high = stats.binom.interval(0.99, REPETITIONS, probability)
    return float(low), float(high)


def samples(seed: int, n: int = 8, effect: float = 0.0) -> npt.NDArray[np.float64]:
    """Differences (REPETITIONS, n) of unit spread around `effect`."""
    return np.random.default_rng(seed).normal(effect, 1.0, size=(REPETITIONS, n))


@pytest.mark.parametrize("true_effect", [0.5, 1.0])
def test_power_is_what_the_noncentral_t_predicts(true_effect: float) -> None:
    low, high = binomial_range(paired_power(true_effect, 1.0, 8))
    found = sum(paired_effect(row, np.zeros(8)).p < 0.05 for row in samples(3, effect=true_effect))
    assert low <= found <= high


def test_the_smallest_found_is_found_four_times_in_five() -> None:
    low, high = binomial_range(0.8)
    true_effect = smallest_found(8, 1.0)
    found = sum(paired_effect(row, np.zeros(8)).p < 0.05 for row in samples(4, effect=true_effect))
    assert low <= found <= high


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


def test_power_without_an_effect_is_the_level_and_grows_with_studies() -> None:
    assert paired_power(0.0, 1.0, 8) == pytest.approx(0.05)
    powers = [paired_power(0.5, 1.0, n) for n in range(2, 200)]
    assert all(first <= second + 1e-12 for first, second in itertools.pairwise(powers))
    assert math.isnan(paired_power(0.5, 1.0, 1))


def test_power_of_large_effects_is_one_without_gaps() -> None:
    for effect in np.geomspace(5, 1e150, 400):
        assert paired_power(float(effect), 1.0, 8) == pytest.approx(1.0)
        assert paired_power(float(effect), 1e-150, 20, alpha=0.001) == pytest.approx(1.0)


@pytest.mark.parametrize(("standardized", "expected"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_studies_needed_for_cohens_effects(standardized: float, expected: int) -> None:
    """The sample sizes that power tables give for a paired two-sided test at 5 % and power 0.8."""
    assert studies_needed(standardized, 1.0) == expected
    assert studies_needed(-standardized * 7, 7.0) == expected


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 45])
def test_smallest_found_inverts_power_and_studies_needed(n: int, alpha: float) -> None:
    effect = smallest_found(n, 0.02, alpha=alpha)
    assert paired_power(effect, 0.02, n, alpha=alpha) == pytest.approx(0.8, abs=1e-8)
    assert studies_needed(effect * 1.000001, 0.02, alpha=alpha) == n


def test_no_number_of_studies_finds_nothing() -> None:
    assert studies_needed(0.0, 1.0) is None
    assert studies_needed(1e-9, 1.0) is None
    assert studies_needed(1e150, 1e-150) == 2
    assert math.isnan(smallest_found(1, 1.0))
    assert math.isnan(smallest_found(8, 0.0))


@pytest.mark.parametrize(("effect", "sd"), [(math.inf, 1.0), (math.nan, 1.0), (1.0, 0.0), (1.0, math.nan)])
def test_power_of_nonsense_is_an_error(effect: float, sd: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        paired_power(effect, sd, 8)
    with pytest.raises(ValueError, match="must be"):
        studies_needed(effect, sd)


def test_power_must_exceed_the_level() -> None:
    with pytest.raises(ValueError, match=r"power: 0\.01 must lie between"):
        smallest_found(8, 1.0, power=0.01)
    with pytest.raises(ValueError, match=r"power: 1\.0 must lie between"):
        studies_needed(1.0, 1.0, power=1.0)


# Equivalence


@pytest.mark.parametrize(
    ("n", "region", "alpha"), [(2, 20.0, 0.05), (7, 1.0, 0.035), (7, 0.6, 0.035), (24, 0.8, 0.002)]
)
def test_equivalence_power_is_what_simulation_finds(n: int, region: float, alpha: float) -> None:
    drawn = np.random.default_rng(n).normal(size=(200_000, n))
    half = stats.t.ppf(1 - alpha, n - 1) * drawn.std(axis=1, ddof=1) / math.sqrt(n)
    shown = float((np.abs(drawn.mean(axis=1)) + half < region).mean())
    error = math.sqrt(shown * (1 - shown) / 200_000) + 1e-6
    assert equivalence_power(3 * region, 3.0, n, alpha=alpha) == pytest.approx(shown, abs=4 * error)


def test_equivalence_power_of_wide_and_narrow_regions() -> None:
    assert equivalence_power(100.0, 1.0, 7) == pytest.approx(1.0)
    assert equivalence_power(0.01, 1.0, 7) < 0.01
    assert math.isnan(equivalence_power(1.0, 1.0, 1))
    with pytest.raises(ValueError, match="region, sd: 0"):
        equivalence_power(0.0, 1.0, 7)


# Ranges of studies


@pytest.mark.parametrize("n", [2, 7, 30])
def test_the_interval_of_a_spread_is_the_chi_square_one(n: int) -> None:
    low, high = spread_interval(2.0, n, 0.8)
    assert (n - 1) * 4 / low**2 == pytest.approx(stats.chi2.ppf(0.9, n - 1))
    assert (n - 1) * 4 / high**2 == pytest.approx(stats.chi2.ppf(0.1, n - 1))
    assert all(math.isnan(bound) for bound in spread_interval(2.0, 1))


def test_the_looks_that_find_a_difference_do_and_the_ones_before_do_not() -> None:
    found = studies_for_difference(0.01, 0.01, 7, tests=15)
    for studies, sd in zip((found.least, found.most), spread_interval(0.01, 7), strict=True):
        looks = list(itertools.takewhile(lambda look, last=studies: look.studies <= last, schedule()))
        powers = [paired_power(0.01, sd, look.studies, alpha=0.05 * look.share / 15) for look in looks]
        assert powers[-1] >= 0.8
        assert all(power < 0.8 for power in powers[:-1])
    assert found.least is not None
    assert found.most is not None
    assert found.least < found.most


def test_the_looks_that_show_equivalence() -> None:
    found = studies_for_equivalence(0.005, 0.006, 7)
    low, high = spread_interval(0.006, 7)
    shares = {look.studies: look.share for look in itertools.takewhile(lambda look: look.studies < 1000, schedule())}
    assert found.least is not None
    assert found.most is not None
    assert equivalence_power(0.005, low, found.least, alpha=0.05 * shares[found.least]) >= 0.8
    assert equivalence_power(0.005, high, found.most, alpha=0.05 * shares[found.most]) >= 0.8
    before = max(studies for studies in shares if studies < found.most)
    assert equivalence_power(0.005, high, before, alpha=0.05 * shares[before]) < 0.8


def test_nothing_takes_no_number_of_studies() -> None:
    assert studies_for_difference(0.0, 1.0, 7, tests=1).least is None
    assert studies_for_difference(1.0, 0.1, 7, tests=1).most == 7
