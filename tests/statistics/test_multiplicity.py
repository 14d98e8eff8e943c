"""Adjusted p values: by hand, against partitions counted one by one, and against the step-down as it is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.statistics.multiplicity import holm, possible_numbers, shaffer, steps

pytestmark = pytest.mark.filterwarnings("error")

# Holm

p_lists = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=12)


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1 give .02, .03, .06, .04; the last is lifted to .06."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_holm_does_not_count_missing_tests() -> None:
    np.testing.assert_allclose(holm([0.01, math.nan, 0.04]), [0.02, math.nan, 0.04])


@pytest.mark.parametrize("p", [-0.1, 1.1, math.inf])
def test_holm_names_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"p_values: .* outside \[0, 1\]"):
        holm([0.5, p])
    with pytest.raises(ValueError, match="one axis"):
        holm([[0.5]])


@given(p_lists)
@settings(max_examples=200, deadline=None)
def test_holm_is_monotone_and_between_raw_and_bonferroni(values: list[float]) -> None:
    raw, adjusted = np.array(values), holm(values)
    present = ~np.isnan(raw)
    np.testing.assert_array_equal(np.isnan(adjusted), ~present)
    raw, adjusted = raw[present], adjusted[present]
    assert np.all(adjusted >= raw)
    assert np.all(adjusted <= np.minimum(raw * max(raw.size, 1), 1.0))
    assert np.all(np.diff(adjusted[np.argsort(raw)]) >= 0)
    if raw.size:
        assert adjusted[raw.argmin()] == min(raw.min() * raw.size, 1.0)


@given(p_lists.flatmap(lambda values: st.tuples(st.just(values), st.permutations(range(len(values))))))
@settings(max_examples=100, deadline=None)
def test_holm_does_not_depend_on_the_order(case: tuple[list[float], list[int]]) -> None:
    values, order = case
    np.testing.assert_array_equal(holm([values[index] for index in order]), holm(values)[order])


# Shaffer


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to sort items into groups of equal ones."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for smaller in partitions(rest):
        for index, group in enumerate(smaller):
            yield [*smaller[:index], [first, *group], *smaller[index + 1 :]]
        yield [[first], *smaller]


@pytest.mark.parametrize("recipes", range(2, 8))
def test_possible_numbers_are_those_of_all_partitions(recipes: int) -> None:
    counted = {sum(len(group) * (len(group) - 1) // 2 for group in p) for p in partitions(list(range(recipes)))}
    assert possible_numbers(recipes) == counted


def test_steps_are_those_of_the_paper() -> None:
    """Shaffer 1986, and Garcia and Herrera 2008 (JMLR 9) for five."""
    assert steps(3) == (3, 1, 1)
    assert steps(4) == (6, 3, 3, 3, 2, 1)
    assert steps(5) == (10, 6, 6, 6, 6, 4, 4, 3, 2, 1)
    assert steps(6)[:6] == (15, 10, 10, 10, 10, 10)
    assert len(steps(40)) == 780


@pytest.mark.parametrize("recipes", range(2, 7))
def test_steps_divide_by_the_most_pairs_that_can_be_equal(recipes: int) -> None:
    pairs = list(combinations(range(recipes), 2))
    for rejected in range(len(pairs)):
        possible = [
            equal
            for p in partitions(list(range(recipes)))
            if (equal := sum(len(group) * (len(group) - 1) // 2 for group in p)) <= len(pairs) - rejected
        ]
        assert steps(recipes)[rejected] == max(possible)


def told(p: list[float], recipes: int, alpha: float) -> list[bool]:
    """The step-down as it is told: reject the smallest while it is below alpha over the pairs that can be equal."""
    rejected = [False] * len(p)
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: (p[i], i))):
        if not p[index] * steps(recipes)[step] < alpha:
            break
        rejected[index] = True
    return rejected


@given(
    st.integers(2, 5).flatmap(
        lambda k: st.tuples(
            st.just(k), st.lists(st.floats(0, 0.2), min_size=k * (k - 1) // 2, max_size=k * (k - 1) // 2)
        )
    ),
    st.floats(0.001, 0.3),
)
@settings(max_examples=200, deadline=None)
def test_shaffer_rejects_what_the_step_down_rejects(case: tuple[int, list[float]], alpha: float) -> None:
    recipes, p = case
    adjusted = shaffer(p, recipes)
    assert (adjusted < alpha).tolist() == told(p, recipes, alpha)
    assert np.all(adjusted <= holm(p))
    assert np.all(adjusted >= p)


def test_shaffer_of_many_tables_at_once_is_that_of_each() -> None:
    p = np.random.default_rng(0).random((4, 5, 10)) ** 3
    for index in np.ndindex(4, 5):
        np.testing.assert_array_equal(shaffer(p, 5)[index], shaffer(p[index], 5))


def test_a_pair_that_was_not_tested_counts_as_not_rejected() -> None:
    np.testing.assert_allclose(shaffer([0.001, math.nan, 0.02], 3), [0.003, math.nan, 0.02])
    np.testing.assert_allclose(shaffer([0.02, math.nan, 0.001], 3), shaffer([0.02, 1.0, 0.001], 3) * [1, math.nan, 1])


def test_shaffer_names_a_wrong_number_of_pairs() -> None:
    with pytest.raises(ValueError, match="4 recipes have 6 pairs"):
        shaffer([0.1, 0.2, 0.3], 4)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        shaffer([1.5], 2)
