"""The check that twice the epochs change nothing: three answers by hand, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lossbench.statistics.convergence import check_convergence

pytestmark = pytest.mark.filterwarnings("error")


def scores(changes: dict[str, list[float]]) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """Scores at once and at twice the epochs whose changes, study by study, are given."""
    generator = np.random.default_rng(0)
    once = {name: dict(enumerate(generator.random(len(rows)).tolist(), 1)) for name, rows in changes.items()}
    twice = {
        name: {study: once[name][study] + rows[study - 1] for study in once[name]} for name, rows in changes.items()
    }
    return once, twice


NOISE = [0.001, -0.001, 0.002, -0.002, 0.0, 0.001, -0.001]


@pytest.mark.parametrize(
    ("shift", "region", "expected"),
    [
        (0.0, 0.005, "holds"),
        (0.001, 0.005, "holds"),
        (0.004, 0.02, "holds"),  # it changes beyond doubt, and not out of its interval
        (0.004, 0.004, "moves"),
        (0.03, 0.01, "moves"),
        (0.0, 0.0005, "cannot tell"),
    ],
)
def test_three_answers(shift: float, region: float, expected: str) -> None:
    # All scores rise by a tenth: that is no fault
    once, twice = scores({"a": [0.1 + shift + noise for noise in NOISE], "b": [0.1] * 7})
    found = check_convergence(once, twice, {("a", "b"): region})
    assert found.answer == found.changes[0].answer == expected
    expected_test = stats.ttest_1samp(np.array(NOISE) + shift, 0.0)
    assert found.changes[0].effect.mean == pytest.approx(shift)
    assert found.changes[0].effect.p == pytest.approx(expected_test.pvalue)
    assert found.changes[0].effect.low == pytest.approx(expected_test.confidence_interval(0.90).low)


def test_what_cannot_be_told_is_no_pass() -> None:
    once, twice = scores({"a": [0.1], "b": [0.0]})
    assert check_convergence(once, twice, {("a", "b"): 0.5}).answer == "cannot tell"
    assert check_convergence({}, {}, {("a", "b"): 0.5}).answer == "cannot tell"
    assert check_convergence(once, twice, {}).answer == "cannot tell"
    once, twice = scores({"a": NOISE, "b": [0.0] * 7})
    assert check_convergence(once, twice, {("a", "b"): math.nan}).answer == "cannot tell"


def test_one_pair_that_moves_or_is_open_decides_for_all() -> None:
    once, twice = scores({"a": NOISE, "b": [0.0] * 7, "c": [0.05 + 2 * noise for noise in NOISE]})
    regions = {("a", "b"): 0.01, ("a", "c"): 0.01}
    assert [change.answer for change in check_convergence(once, twice, regions).changes] == ["holds", "moves"]
    assert check_convergence(once, twice, regions).answer == "moves"
    assert check_convergence(once, twice, {("a", "b"): 0.01, ("a", "c"): 1.0}).answer == "holds"
    open_ = scores({"a": NOISE, "b": [0.0] * 7, "c": [5 * noise for noise in NOISE]})
    assert check_convergence(*open_, {("a", "b"): 0.01, ("a", "c"): 0.001}).answer == "cannot tell"


def test_studies_are_those_that_have_both() -> None:
    once, twice = scores({"a": NOISE, "b": [0.0] * 7})
    del twice["a"][2]
    del once["b"][5]
    assert check_convergence(once, twice, {("a", "b"): 0.01}).changes[0].effect.n == 5


def test_it_moves_by_mistake_in_at_most_67_of_1000() -> None:
    generator, moved, wrongly_held = np.random.default_rng(1), 0, 0
    zero = dict.fromkeys(range(1, 5), 0.0)
    for _ in range(1000):
        names = {name: dict(enumerate(generator.normal(size=4).tolist(), 1)) for name in "abc"}
        regions = {("a", "b"): 0.3, ("a", "c"): 0.3, ("b", "c"): 0.3}
        moved += check_convergence(dict.fromkeys("abc", zero), names, regions).answer == "moves"
        # The change is exactly the region: "holds" would be wrong
        pair = {"a": {study: value + 2.0 for study, value in names["a"].items()}, "b": names["b"]}
        wrongly_held += check_convergence(dict.fromkeys("ab", zero), pair, {("a", "b"): 2.0}).answer == "holds"
    assert moved <= 67
    assert wrongly_held <= 67
