"""The table of crossed searches and splits, on made-up scores whose components are known."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks.components import CROSSED, SEEDS, chosen_points, crossed_effects, lines, of_studies, prices_of
from experiments import tiny_plan
from lossbench.statistics.components import Prices, crossed_components

BUDGET = ("studies=7", "trials=6", "candidates=2", "candidate_seeds=2", "seeds=2")
PRICES = Prices(trial_s=1.0, candidate_s=1.5, final_s=2.0)
SHAPE = (CROSSED, CROSSED, SEEDS)
CELLS = [(*at, seed + 1) for *at, seed in product(range(1, CROSSED + 1), range(1, CROSSED + 1), range(SEEDS))]


@pytest.fixture(scope="module")
def plan():
    return tiny_plan('recipes=["softmax", "triplet", "center", "contrastive"]', *(f"budget.{each}" for each in BUDGET))


def scored(values):
    """Scores by recipe, search, split and seed, of arrays (searches, splits, seeds)."""
    return {(name, *cell): table[tuple(np.subtract(cell, 1))] for name, table in values.items() for cell in CELLS}


def simulated(generator, sd):
    """Effects (searches, splits, seeds) whose parts have these standard deviations."""
    search, split, both, seed = sd
    return (
        search * generator.normal(size=(CROSSED, 1, 1))
        + split * generator.normal(size=(1, CROSSED, 1))
        + both * generator.normal(size=(CROSSED, CROSSED, 1))
        + seed * generator.normal(size=SHAPE)
    )


def test_an_effect_is_that_of_one_cell_and_a_failed_run_has_none(plan):
    reference, recipe, *_ = plan.recipes
    base = np.random.default_rng(0).normal(size=SHAPE)
    searches, splits, seeds = np.indices(SHAPE)
    scores = scored({reference.name: base, recipe.name: base + 100 * searches + 10 * splits + seeds})
    effects = crossed_effects(scores | {(recipe.name, 2, 4, 1): None}, recipe, reference)
    expected = 100.0 * searches + 10 * splits + seeds
    expected[1, 3, 0] = np.nan
    assert effects == pytest.approx(expected, nan_ok=True)


def test_the_components_are_those_of_the_effect_and_not_of_the_luck_that_recipes_share(plan):
    reference, recipe, *_ = plan.recipes
    generator, crossed, studies = np.random.default_rng(1), [], []
    for _ in range(600):
        luck = simulated(generator, (0.0, 9.0, 9.0, 9.0))
        scores = scored({reference.name: luck, recipe.name: luck + simulated(generator, (2.0, 1.0, 1.5, 1.0))})
        effects = crossed_effects(scores, recipe, reference)
        one, whole = crossed_components(effects), of_studies(effects)
        crossed.append((one.search, one.split, one.both, one.seed))
        studies.append((whole.study, whole.seed))
    search, split, both, seed = np.mean(crossed, axis=0)
    assert search == pytest.approx(4.0, rel=0.1)
    assert split == pytest.approx(1.0, rel=0.15)
    assert both == pytest.approx(2.25, rel=0.1)
    assert seed == pytest.approx(1.0, rel=0.05)
    # a study has a search, a split and their meeting of its own
    assert np.mean(studies, axis=0) == pytest.approx((4.0 + 1.0 + 2.25, 1.0), rel=0.1)


def test_every_search_meets_every_split_once():
    """Over all ways to pair them, what searches and splits have in common averages out: their variances add up."""
    search, split = np.array([0.0, 1.0, 2.0, 4.0, 8.0]), np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    found = of_studies(np.repeat(np.add.outer(search, split)[..., None], SEEDS, axis=2))
    assert found.study == pytest.approx(np.var(search, ddof=1) + np.var(split, ddof=1))
    assert (found.seed, found.studies, found.seeds) == (0.0, CROSSED, SEEDS)


def test_the_lines_have_the_components_and_what_the_budget_buys(plan):
    reference, *others = plan.recipes
    # searches -2 .. 2 and nothing else: their variance is 2.5; for the others 4 and 16 times that
    search = (np.arange(CROSSED) - 2.0)[:, None, None] * np.ones(SHAPE) / 1000
    values = {reference.name: 0 * search} | {recipe.name: 2**n * search for n, recipe in enumerate(others)}
    first, *rest = lines(plan, plan.experiment.tasks[0], scored(values), PRICES)
    assert first.startswith(f"digits/closed-set: variances of an effect against {reference.name}, in 1e-6")
    assert (
        " ".join(rest[0].split())
        == "triplet search 2.5 (0.0016) split 0.0 (0.0000) both 0.0 (0.0000) seed 0.0 (0.0000)"
    )
    assert rest[1].split()[1:4] == ["search", "10.0", "(0.0032)"]
    # 7 studies of 6 trials, 3 points under 2 seeds, 2 final runs
    seconds = 7 * (6 * 1.0 + 3 * 2 * 1.5 + 2 * 2.0)
    assert f"what {seconds:.0f} CPU seconds a recipe buy" in rest[3]
    # one final run is enough where seeds do nothing: 133 s // 17 s; the variance is the median recipe's
    width = stats.t.ppf(0.975, 7 - 1) * np.sqrt(10e-6 / 7)
    assert rest[4].strip() == f"7 studies of 1 final runs: {width:.4f}"


def test_points_and_prices_are_those_of_the_task_and_of_each_run_once(plan):
    task = plan.experiment.tasks[0]
    place = {"dataset": "digits", "protocol": "closed-set", "recipe": "triplet", "study": 1, "seed": 1}
    rows = [
        {**place, "role": "final", "run_id": "a", "params": {"lr": 0.1}},
        {**place, "role": "final", "run_id": "b", "params": {"lr": 0.1}, "seed": 2},
        {**place, "role": "final", "run_id": "a", "params": {"lr": 0.2}, "recipe": "twin"},  # the very same run
        {**place, "role": "final", "run_id": "c", "params": {"lr": 0.3}, "study": CROSSED + 1},
        {**place, "role": "final", "run_id": "d", "params": {"lr": 0.4}, "protocol": "open-set"},
        {**place, "role": "default", "run_id": "d", "params": {"lr": 0.5}},
        {**place, "role": "trial", "run_id": "e", "params": {"lr": 0.6}},
        {**place, "role": "candidate", "run_id": "f", "params": {"lr": 0.7}},
    ]
    stored = {"rows": rows}
    assert chosen_points(stored, task) == {("triplet", 1): {"lr": 0.1}, ("twin", 1): {"lr": 0.2}}
    seconds = {"a": 1.0, "b": 2.0, "c": 6.0, "d": 100.0, "e": 4.0, "f": 5.0}
    store = SimpleNamespace(read=lambda run: {"cost": {"run_cpu_s": seconds[run]}})
    assert prices_of(store, stored, task) == Prices(trial_s=4.0, candidate_s=5.0, final_s=3.0)
