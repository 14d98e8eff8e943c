"""The search of one recipe: a function of its results, spread evenly, fair over recipes, choose by fresh seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import qmc

from experiments import tiny_plan
from lossbench.sweep.tuning import GENERATION, MODEL_FROM, Search, choose

RULES = ("softmax", "softmax+center", "softmax+contrastive")


@pytest.fixture(scope="module")
def recipes():
    plan = tiny_plan('recipes=["softmax", "softmax+center", "softmax+contrastive"]')
    return {recipe.name: recipe for recipe in plan.recipes}


def searched(recipe, trials, score, *, rates_seed=5, seed=7):
    search = Search(recipe, trials, rates_seed=rates_seed, seed=seed)
    while not search.done:
        search.tell([score(point) for point in search.ask()])
    return search


def test_a_search_is_a_function_of_its_results(recipes):
    first, second = (Search(recipes["softmax+center"], 24, rates_seed=5, seed=7) for _ in range(2))
    while not first.done:
        asked = first.ask()
        assert second.ask() == asked
        scores = [-abs(math.log(float(point["lambda"])) + 4) for point in asked]
        first.tell(scores)
        second.tell(scores)
    assert len(first.points) == 24


def test_all_recipes_of_a_study_see_the_same_learning_rates(recipes):
    points = {name: Search(recipe, 6, rates_seed=5, seed=hash(name)).ask() for name, recipe in recipes.items()}
    rates = {name: [point["lr"] for point in asked] for name, asked in points.items()}
    assert rates["softmax"] == rates["softmax+center"] == rates["softmax+contrastive"]
    assert len(set(rates["softmax"])) == 6
    assert [point["lr"] for point in Search(recipes["softmax"], 6, rates_seed=6, seed=7).ask()] != rates["softmax"]


def test_one_rule_under_two_names_is_searched_at_other_points(recipes):
    first, second = (Search(recipes["softmax+center"], 6, rates_seed=5, seed=seed).ask() for seed in (1, 2))
    assert [point["lr"] for point in first] == [point["lr"] for point in second]
    assert all(a["lambda"] != b["lambda"] for a, b in zip(first[1:], second[1:], strict=True))


def test_the_points_are_spread_evenly_over_every_parameter_and_the_rate_moves_with_none(recipes):
    """Low discrepancy in every plane: well below what as many random points have."""
    recipe = recipes["softmax+center"]
    for seed in range(5):
        points = Search(recipe, 15, rates_seed=seed, seed=100 + seed).ask()[1:]
        shares = np.array([[share(recipe.searched[name], point[name]) for name in recipe.searched] for point in points])
        random = np.mean([qmc.discrepancy(np.random.default_rng(draw).random(shares.shape)) for draw in range(20)])
        assert qmc.discrepancy(shares) < 0.6 * random
        assert (np.abs(np.corrcoef(shares.T) - np.eye(shares.shape[1])) < 0.6).all()


def share(allowed, value):
    low, high = (math.log(end) if allowed.log else end for end in (allowed.low, allowed.high))
    return ((math.log(value) if allowed.log else value) - low) / (high - low)


def test_below_the_limit_scores_change_nothing_and_above_it_the_model_proposes(recipes):
    recipe = recipes["softmax+center"]

    def small(point):
        return -math.log(float(point["lambda"]))

    def large(point):
        return math.log(float(point["lambda"]))

    assert searched(recipe, MODEL_FROM - 1, small).points == searched(recipe, MODEL_FROM - 1, large).points
    one, other = searched(recipe, 24, small), searched(recipe, 24, large)
    assert one.points[:12] == other.points[:12]
    told = [np.median([math.log(float(point["lambda"])) for point in search.points[12:]]) for search in (one, other)]
    assert told[0] < told[1] - 2, "the proposals follow the scores"


def test_generations_do_not_depend_on_who_runs_them(recipes):
    search = Search(recipes["softmax"], 24, rates_seed=5, seed=7)
    sizes = []
    while not search.done:
        asked = search.ask()
        sizes.append(len(asked))
        with pytest.raises(RuntimeError, match="has not been told"):
            search.ask()
        search.tell([0.5] * len(asked))
    assert sizes == [12, GENERATION, GENERATION, GENERATION]


def test_the_shortlist_is_the_default_and_the_highest_others(recipes):
    search = Search(recipes["softmax"], 6, rates_seed=5, seed=7)
    search.ask()
    search.tell([0.9, 0.2, None, 0.5, 0.5, 0.1])
    assert search.shortlist(2) == [0, 3, 4]
    assert search.shortlist(5) == [0, 3, 4, 1, 5, 2], "a failed trial comes last, so that the number is always the same"
    alone = Search(recipes["softmax"], 1, rates_seed=5, seed=7)
    alone.ask()
    alone.tell([None])
    assert alone.shortlist(2) == [0]


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ({0: [0.5, 0.5], 3: [0.4, 0.7], 4: [0.9, 0.1]}, 3),
        ({0: [0.5, 0.5], 3: [0.4, 0.6]}, 0),
        ({0: [0.1, 0.1], 3: [0.9, None]}, 0),
        ({0: [None, None], 3: [None, 0.2]}, 0),
        ({0: [0.1, 0.1], 4: [0.5, 0.7], 3: [0.7, 0.5]}, 3),
    ],
    ids=["highest mean", "the default of equals", "a failed run is out", "all failed", "the lower trial of equals"],
)
def test_the_mean_of_fresh_runs_decides_and_the_trials_own_scores_do_not(again, expected):
    for own in ([0.9, 0.1, 0.1], [None, 0.1, 0.9]):
        found = choose(list(again), own[: len(again)], list(again.values()))
        assert found.trial == expected
    assert found.candidates == tuple(again)
    assert found.again == tuple(map(tuple, again.values()))


def test_one_candidate_needs_no_fresh_runs():
    assert choose([0], [None], []).trial == 0
