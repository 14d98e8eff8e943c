"""Components of variance: against simulated truth and closed forms, and what the price list says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.statistics.components import (
    Components,
    Prices,
    Search,
    cost_of_halving,
    crossed_components,
    spendings,
    variance_components,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_components_by_hand() -> None:
    """Means 1 and 4; between 2 * 4.5 = 9, within 2 (1 and 1 around each mean, one degree each); (9 - 2) / 2."""
    found = variance_components([[0.0, 2.0], [3.0, 5.0]], classes=0.75)
    assert (found.seed, found.study) == pytest.approx((2.0, 3.5))
    assert (found.studies, found.seeds) == (2, 2)
    parts = {"study": 1.75, "seed": 0.5, "test classes": 0.75}
    assert found.shares == pytest.approx({name: part / 3 for name, part in parts.items()})


def test_between_and_within_are_those_of_an_f_test() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4)) + np.arange(6)[:, None]
    found = variance_components(rows)
    assert (4 * found.study + found.seed) / found.seed == pytest.approx(stats.f_oneway(*rows).statistic)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_components_are_right_on_average(missing: float) -> None:
    generator, study, seed = np.random.default_rng(1), [], []
    for _ in range(3000):
        table = 2.0 * generator.normal(size=(7, 1)) + 1.5 * generator.normal(size=(7, 3))
        table[:, 1:][generator.random((7, 2)) < missing] = math.nan
        found = variance_components(table)
        study.append(found.study)
        seed.append(found.seed)
    assert np.nanmean(seed) == pytest.approx(2.25, rel=0.03)
    assert np.mean(study) == pytest.approx(4.0, rel=0.05)


def test_one_run_a_study_cannot_tell_them_apart() -> None:
    found = variance_components([[1.0], [2.0], [4.0]])
    assert math.isnan(found.seed)
    assert found.study == pytest.approx(np.var([1, 2, 4], ddof=1))
    assert found.shares == {"study": 1.0, "seed": 0.0, "test classes": 0.0}
    assert variance_components([[1.0, 9.0], [9.0, 1.0]]).study == 0.0
    with pytest.raises(ValueError, match="1 studies with a value; at least 2"):
        variance_components([[1.0, 2.0], [math.nan, math.nan]])
    with pytest.raises(ValueError, match=r"must be \(studies, seeds\)"):
        variance_components([1.0, 2.0])


def test_the_half_width_is_the_t_intervals() -> None:
    table = np.random.default_rng(2).normal(size=(7, 2)) + 3 * np.random.default_rng(3).normal(size=(7, 1))
    found = variance_components(table)
    interval = stats.ttest_1samp(table.mean(axis=1), 0.0).confidence_interval(0.95)
    assert found.study > 0
    assert found.half_width(7, 2) == pytest.approx((interval.high - interval.low) / 2)
    assert found.half_width(1, 2) == math.inf


def test_crossed_components_are_right_on_average() -> None:
    generator = np.random.default_rng(4)
    for seeds in (1, 3):
        found = []
        for _ in range(2000):
            cells = (
                2.0 * generator.normal(size=(6, 1, 1))
                + 1.0 * generator.normal(size=(1, 6, 1))
                + 0.5 * generator.normal(size=(6, 6, 1))
                + 1.5 * generator.normal(size=(6, 6, seeds))
            )
            one = crossed_components(cells[..., 0] if seeds == 1 else cells)
            found.append((one.search, one.split, one.both, one.seed))
        search, split, both, seed = np.mean(found, axis=0)
        assert search == pytest.approx(4.0, rel=0.06)
        assert split == pytest.approx(1.0, rel=0.08)
        assert both == pytest.approx(0.25 if seeds > 1 else 0.25 + 2.25, rel=0.15)
        assert math.isnan(seed) if seeds == 1 else seed == pytest.approx(2.25, rel=0.03)
    for wrong in (np.ones((1, 3)), np.ones(4), np.full((2, 2), math.nan)):
        with pytest.raises(ValueError, match="2 x 2 or more"):
            crossed_components(wrong)


PRICES = Prices(trial_s=1.0, candidate_s=1.5, final_s=2.0)
SEARCH = Search(trials=6, candidates=2, candidate_seeds=2)


def test_what_a_study_costs() -> None:
    """Six trials, three points under two seeds, two finals."""
    assert SEARCH.seconds(2, PRICES) == 6 + 3 * 2 * 1.5 + 2 * 2


def test_what_half_the_interval_costs() -> None:
    components = Components(study=1.0, seed=1.0, classes=0.0, studies=7, seeds=2)
    found = cost_of_halving(components, SEARCH, 2, PRICES)
    bought = found["studies"] / SEARCH.seconds(2, PRICES)
    assert components.half_width(7 + int(bought), 2) <= components.half_width(7, 2) / 2
    assert components.half_width(6 + int(bought), 2) > components.half_width(7, 2) / 2
    assert found["seeds"] == math.inf  # the study's own luck stays
    only_seed = Components(study=0.0, seed=1.0, classes=0.0, studies=7, seeds=2)
    assert cost_of_halving(only_seed, SEARCH, 2, PRICES)["seeds"] == 7 * (8 - 2) * 2.0
    nothing = Components(study=0.0, seed=0.0, classes=0.0, studies=7, seeds=2)
    assert cost_of_halving(nothing, SEARCH, 2, PRICES) == {"studies": math.inf, "seeds": math.inf}


def test_the_best_way_to_spend_a_minute() -> None:
    long = Search(trials=24, candidates=2, candidate_seeds=2)
    measured = {
        SEARCH: Components(study=4.0, seed=1.0, classes=0.0, studies=7, seeds=2),
        long: Components(study=3.9, seed=1.0, classes=0.0, studies=7, seeds=2),
    }
    found = spendings(measured, PRICES, 140.0)
    assert (found[0].search, found[0].seeds) == (SEARCH, 1)
    assert found[0].studies == int(140 // SEARCH.seconds(1, PRICES)) == 8
    assert found[0].half_width == measured[SEARCH].half_width(8, 1)
    assert [one.half_width for one in found] == sorted(one.half_width for one in found)
    assert all(one.seconds <= 140 for one in found)
    better = measured | {long: Components(study=0.01, seed=0.1, classes=0.0, studies=7, seeds=2)}
    assert spendings(better, PRICES, 140.0)[0].search == long
