"""When to stop and who leaves: hand-made cases; neither rule says who is better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lossbench.statistics.racing import clearly_beaten, undecided_at_top
from lossbench.statistics.verdicts import Constant, compare_all

pytestmark = pytest.mark.filterwarnings("error")


def table(means: list[float], studies: int, seed: int = 0, spread: float = 0.005) -> dict[str, dict[int, float]]:
    """Recipes `r0`, `r1`, ...; the study's luck is common and large."""
    generator = np.random.default_rng(seed)
    luck = 0.1 * generator.normal(size=studies)
    drawn = {f"r{i}": mean + luck + spread * generator.normal(size=studies) for i, mean in enumerate(means)}
    return {name: dict(enumerate(values.tolist(), 1)) for name, values in drawn.items()}


def test_nothing_is_decided_before_the_first_look() -> None:
    assert undecided_at_top(compare_all(table([0.1, 0.9], 6)))
    assert not undecided_at_top(compare_all(table([0.1, 0.9], 7)))
    assert not undecided_at_top(compare_all({"only": {1: 0.5}}))


def test_a_tie_at_the_top_is_undecided_until_it_is_shown_to_be_one() -> None:
    scores = table([0.5, 0.9, 0.9], 7)
    assert undecided_at_top(compare_all(scores))
    assert undecided_at_top(compare_all(scores, equivalence=0.001))
    assert not undecided_at_top(compare_all(scores, equivalence=0.05))


def test_ties_below_the_top_do_not_matter() -> None:
    comparison = compare_all(table([0.5, 0.5, 0.9], 7))
    assert comparison.pair("r0", "r1").verdict == "indistinguishable"
    assert not undecided_at_top(comparison)


def test_dropped_recipes_do_not_keep_a_race_open() -> None:
    scores = table([0.5, 0.9, 0.5], 7)
    scores["r2"] = dict(list(scores["r2"].items())[:2])
    assert not undecided_at_top(compare_all(scores, dropped={"r2": 2}))


def test_those_far_behind_leave_from_the_second_study_on() -> None:
    means = [0.5, 0.9, 0.895, 0.6]
    assert clearly_beaten(table(means, 1)) == ()
    assert clearly_beaten(table(means, 2)) == ("r0", "r3")
    assert clearly_beaten(table(means, 2), keep=["r0"]) == ("r3",)
    assert clearly_beaten(table(means, 2), higher_is_better=False) == ("r1", "r2", "r3")
    constant = {"pixels": Constant(value=0.1)}
    assert clearly_beaten(table(means, 2) | constant) == ("r0", "r3")
    assert clearly_beaten(constant) == ()


def test_two_studies_that_happen_to_agree_are_no_certainty() -> None:
    """The pair's own sd is zero; the other recipes tell how much studies differ."""
    scores = {"a": {1: 0.90, 2: 0.80}, "b": {1: 0.89, 2: 0.79}, "c": {1: 0.80, 2: 0.88}, "d": {1: 0.88, 2: 0.79}}
    assert clearly_beaten(scores) == ()


def test_only_studies_that_all_have_count() -> None:
    scores = table([0.5, 0.9], 3)
    del scores["r1"][3]
    scores["r0"][2] = math.nan
    assert clearly_beaten(scores) == ()


def test_equal_recipes_rarely_leave() -> None:
    left = [clearly_beaten(table([0.5] * 10, 3, seed)) for seed in range(300)]
    assert sum(len(names) for names in left) <= 30  # of 3,000
