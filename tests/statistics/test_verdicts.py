"""Verdicts over all pairs: hand-made cases with known answers, properties, and simulated A/A runs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from lossbench.statistics.effects import minimum_detectable_effect, paired_effect, seeds_needed
from lossbench.statistics.verdicts import Comparison, Constant, Scores, compare_all, holm, tie_groups

pytestmark = pytest.mark.filterwarnings("error")

# Eight seeds: patterns of +-1 with mean zero, orthogonal, so that every effect and sd is known
PATTERNS = linalg.hadamard(8)[1:].astype(np.float64)


def recipe(mean: float, spread: float, pattern: int) -> dict[int, float]:
    return dict(enumerate((mean + spread * PATTERNS[pattern]).tolist()))


def by_seed(values: npt.ArrayLike) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=np.float64).tolist()))


def verdicts(comparison: Comparison) -> dict[tuple[str, str], str]:
    return {(pair.a, pair.b): pair.verdict for pair in comparison.pairs}


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


# Hand-made comparisons


def test_a_winner_beats_every_other_recipe() -> None:
    scores = {"low": recipe(0.4, 0.01, 0), "top": recipe(0.6, 0.01, 1), "middle": recipe(0.5, 0.01, 2)}
    comparison = compare_all(scores)
    assert comparison.winner == "top"
    assert comparison.top_group == ("top",)
    assert [standing.recipe for standing in comparison.ranking] == ["top", "middle", "low"]
    assert comparison.ranking[0].mean == pytest.approx(0.6)
    assert comparison.tie_groups == (("top",), ("middle",), ("low",))
    assert comparison.letters == {"top": "a", "middle": "b", "low": "c"}
    assert comparison.pair("top", "low").verdict == "better"
    assert comparison.pair("low", "top").verdict == "worse"
    assert comparison.pair("low", "top").effect.mean == pytest.approx(-0.2)
    assert not comparison.incomplete


def test_lower_is_better_turns_the_ranking_but_not_the_effects() -> None:
    scores = {"a": recipe(0.4, 0.01, 0), "b": recipe(0.6, 0.01, 1)}
    comparison = compare_all(scores, higher_is_better=False)
    assert comparison.winner == "a"
    assert comparison.pair("a", "b").verdict == "better"
    assert comparison.pair("a", "b").effect.mean == pytest.approx(-0.2)


def test_a_chain_of_ties_has_a_top_group_and_overlapping_groups() -> None:
    """Neighbors differ by .03 (t 1.87), the ends by .06 (t 3.74, p .007, Holm .022)."""
    scores = {name: recipe(0.5 - 0.03 * place, 0.03, place) for place, name in enumerate("abc")}
    comparison = compare_all(scores)
    assert comparison.winner is None
    assert comparison.top_group == ("a", "b")
    assert comparison.tie_groups == (("a", "b"), ("b", "c"))
    assert comparison.letters == {"a": "a", "b": "ab", "c": "b"}
    assert verdicts(comparison) == {
        ("a", "b"): "indistinguishable",
        ("a", "c"): "better",
        ("b", "c"): "indistinguishable",
    }
    p = 2 * stats.t.sf(0.06 * math.sqrt(8) / (0.03 * math.sqrt(2 * 8 / 7)), 7)
    assert comparison.pair("a", "c").effect.p == pytest.approx(p)
    assert comparison.pair("a", "c").p_holm == pytest.approx(3 * p)


def test_holm_over_all_pairs_decides_not_the_raw_p() -> None:
    """The ends of the chain at .045 have p .026: enough for two recipes, not for three."""
    pair = {name: recipe(0.5 - 0.0225 * place, 0.03, place) for place, name in enumerate("abc")}
    assert compare_all({name: pair[name] for name in "ac"}).winner == "a"
    three = compare_all(pair)
    assert three.pair("a", "c").effect.p < 0.05
    assert three.pair("a", "c").verdict == "indistinguishable"
    assert three.tests == 3


def test_the_members_of_a_top_group_may_differ() -> None:
    """A noisy best: b and c differ, yet neither is shown to be worse than a."""
    scores = {"a": recipe(0.52, 0.2, 0), "b": recipe(0.50, 0.005, 1), "c": recipe(0.48, 0.005, 2)}
    comparison = compare_all(scores)
    assert comparison.pair("b", "c").verdict == "better"
    assert comparison.top_group == ("a", "b", "c")
    assert comparison.tie_groups == (("a", "b"), ("a", "c"))


def test_equal_is_a_finding() -> None:
    scores = {"a": recipe(0.500, 0.001, 0), "b": recipe(0.5002, 0.001, 1)}
    assert compare_all(scores).pair("a", "b").verdict == "indistinguishable"
    pair = compare_all(scores, equivalence=0.005).pair("a", "b")
    assert pair.verdict == "equivalent"
    assert not pair.negligible
    assert pair.equivalence_low == pytest.approx(paired_effect(*unzip(scores), confidence=0.9).low)
    assert pair.equivalence_high == pytest.approx(paired_effect(*unzip(scores), confidence=0.9).high)
    assert pair.effect.interval_name == "unadjusted 95 % interval"
    # A region that the interval leaves is no finding
    assert compare_all(scores, equivalence=0.001).pair("a", "b").verdict == "indistinguishable"


def unzip(scores: dict[str, dict[int, float]]) -> tuple[list[float], list[float]]:
    return list(scores["a"].values()), list(scores["b"].values())


def test_a_real_but_useless_difference_is_better_and_negligible() -> None:
    scores = {"a": recipe(0.502, 0.001, 0), "b": recipe(0.500, 0.001, 1)}
    comparison = compare_all(scores, equivalence=0.01)
    assert comparison.winner == "a"
    assert comparison.pair("a", "b").verdict == "better"
    assert comparison.pair("a", "b").negligible
    assert comparison.pair("b", "a").negligible
    assert not compare_all(scores, equivalence=0.001).pair("a", "b").negligible
    assert not compare_all(scores).pair("a", "b").negligible


def test_indistinguishable_says_what_could_have_been_shown() -> None:
    scores = {name: recipe(0.5 - 0.01 * place, 0.03, place) for place, name in enumerate("abc")}
    pair = compare_all(scores).pair("a", "b")
    sd = pair.effect.sd
    assert pair.verdict == "indistinguishable"
    assert pair.first_step_alpha == pytest.approx(0.05 / 3)
    assert pair.effect.min_detectable == pytest.approx(minimum_detectable_effect(8, sd))
    assert pair.min_detectable_holm == pytest.approx(minimum_detectable_effect(8, sd, alpha=0.05 / 3))
    assert pair.seeds_needed == seeds_needed(0.01, sd, alpha=0.05 / 3)


# One seed, missing seeds, constants


def test_one_seed_decides_nothing() -> None:
    comparison = compare_all({"a": {0: 0.9}, "b": {0: 0.1}})
    pair = comparison.pair("a", "b")
    assert (pair.verdict, pair.note) == ("undecided", "one seed")
    assert math.isnan(pair.p_holm)
    assert math.isnan(pair.min_detectable_holm)
    assert pair.seeds_needed is None
    assert comparison.winner is None
    assert comparison.top_group == ("a", "b")
    assert comparison.incomplete


def test_pairs_are_aligned_by_seed_not_by_position() -> None:
    a = {3: 0.6, 1: 0.4, 2: 0.5}
    b = {0: 0.9, 1: 0.39, 2: 0.48, 3: 0.59}
    pair = compare_all({"a": a, "b": b}).pair("a", "b")
    assert (pair.effect.n, pair.effect.incomplete) == (3, 1)
    assert pair.effect.mean == pytest.approx((0.01 + 0.02 + 0.01) / 3)
    assert pair.effect.sd == pytest.approx(np.std([0.01, 0.02, 0.01], ddof=1))


def test_a_missing_run_marks_the_comparison_incomplete() -> None:
    a = recipe(0.6, 0.01, 0) | {3: math.nan}
    comparison = compare_all({"a": a, "b": recipe(0.5, 0.01, 1)})
    assert (comparison.pair("a", "b").effect.n, comparison.pair("a", "b").effect.incomplete) == (7, 1)
    assert comparison.incomplete
    assert comparison.winner == "a"
    assert comparison.ranking[0].seeds == 7


@pytest.mark.parametrize("nothing", [{}, {0: math.nan}, Constant(value=math.nan)])
def test_a_recipe_without_scores_is_missing_and_leaves_no_winner(nothing: Scores) -> None:
    scores: dict[str, Scores] = {
        "a": recipe(0.6, 0.01, 0),
        "b": recipe(0.5, 0.01, 1),
        "failed": nothing,
    }
    comparison = compare_all(scores)
    assert comparison.missing == ("failed",)
    assert comparison.winner is None
    assert comparison.top_group == ("a",)
    assert comparison.tests == 1
    assert comparison.pair("a", "failed").verdict == "undecided"
    assert comparison.pair("a", "failed").note == "no common seed"
    assert comparison.pair("a", "b").verdict == "better"
    assert comparison.incomplete


def test_a_constant_baseline_meets_every_seed() -> None:
    values = 0.5 + 0.05 * np.random.default_rng(0).normal(size=8)
    comparison = compare_all({"pixels": Constant(value=0.173), "trained": by_seed(values)})
    pair, expected = comparison.pair("trained", "pixels"), paired_effect(values, np.full(8, 0.173))
    assert pair.effect == expected
    assert comparison.winner == "trained"
    assert (comparison.ranking[1].recipe, comparison.ranking[1].seeds) == ("pixels", 0)


def test_two_constants_are_a_fact_without_a_test() -> None:
    comparison = compare_all({"a": Constant(value=0.5), "b": Constant(value=0.4)})
    pair = comparison.pair("a", "b")
    assert pair.effect.mean == pytest.approx(0.1)
    assert pair.verdict == "undecided"
    assert comparison.winner is None


@pytest.mark.parametrize(("n", "expected"), [(2, "indistinguishable"), (4, "indistinguishable"), (5, "equivalent")])
def test_identical_recipes_are_equivalent_once_the_sign_flip_test_could_tell(n: int, expected: str) -> None:
    values = by_seed(np.random.default_rng(n).normal(size=n))
    pair = compare_all({"a": values, "b": values}, equivalence=0.01).pair("a", "b")
    assert pair.verdict == expected
    assert pair.note == "identical on every seed"
    assert pair.effect.p == 1
    assert compare_all({"a": values, "b": values}).pair("a", "b").verdict == "indistinguishable"


@pytest.mark.parametrize(("n", "expected"), [(2, "indistinguishable"), (5, "indistinguishable"), (6, "better")])
def test_a_constant_difference_is_never_claimed_by_t_alone(n: int, expected: str) -> None:
    values = np.random.default_rng(n).normal(size=n)
    pair = compare_all({"a": by_seed(values + 0.01), "b": by_seed(values)}).pair("a", "b")
    assert pair.verdict == expected
    assert pair.note == "constant difference: exact sign-flip test"


def test_one_recipe_has_no_pair_and_no_winner() -> None:
    comparison = compare_all({"only": {0: 0.5}})
    assert (comparison.pairs, comparison.winner, comparison.top_group) == ((), None, ("only",))
    with pytest.raises(KeyError, match="no pair of 'only' and 'other'"):
        comparison.pair("only", "other")


@pytest.mark.parametrize(
    ("scores", "settings_", "rule"),
    [
        ({}, {}, "scores: empty"),
        ({"a": {7: math.inf}}, {}, r"scores\['a'\]\[7\]: inf must be finite"),
        ({"a": Constant(value=-math.inf)}, {}, r"scores\['a'\]: -inf must be finite"),
        ({"a": {7: None}}, {}, r"scores\['a'\]\[7\]: None must be a number"),
        ({"a": {7: 0.5}}, {"alpha": 0.5}, "alpha: 0.5 must lie between"),
        ({"a": {7: 0.5}}, {"equivalence": 0.0}, "equivalence: 0.0 must be positive"),
        ({"a": {7: 0.5}}, {"equivalence": math.nan}, "equivalence: nan must be positive"),
    ],
)
def test_wrong_input_is_named(scores: dict[str, Scores], settings_: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        compare_all(scores, **settings_)  # type: ignore[arg-type]


# Tie groups


def test_tie_groups_by_hand() -> None:
    assert tie_groups([], set()) == ()
    assert tie_groups(["a"], set()) == (("a",),)
    assert tie_groups(["a", "b", "c"], set()) == (("a", "b", "c"),)
    assert tie_groups("abcd", {("a", "c"), ("a", "d"), ("d", "b")}) == (("a", "b"), ("b", "c"), ("c", "d"))
    # Without an order: a and d differ, b and c differ, every other pair ties
    assert tie_groups("abcd", {("a", "d"), ("b", "c")}) == (
        ("a", "b"),
        ("a", "c"),
        ("b", "d"),
        ("c", "d"),
    )


def test_more_tie_groups_than_letters_can_show_are_counts() -> None:
    table = np.arange(30)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(30, 8))
    scores = {f"r{index:02}": by_seed(row) for index, row in enumerate(table)}
    twelve = compare_all(dict(list(scores.items())[:12]))
    assert "".join(twelve.letters[f"r{index:02}"] for index in range(12)) == "lkjihgfedcba"
    found = compare_all(scores)
    assert found.letters == {}
    assert found.better_worse == {f"r{index:02}": (index, 29 - index) for index in range(30)}


@given(st.sets(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")).filter(lambda p: p[0] < p[1])))
@settings(max_examples=200, deadline=None)
def test_two_recipes_share_a_group_exactly_where_they_do_not_differ(different: set[tuple[str, str]]) -> None:
    names = "abcdefg"
    groups = [set(group) for group in tie_groups(names, different)]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = any({first, second} <= group for group in groups)
            assert shared == ((first, second) not in different)
    assert set().union(*groups) == set(names)
    assert not any(one < other for one in groups for other in groups)


# Properties of whole comparisons

score_table = st.integers(2, 5).flatmap(
    lambda recipes: st.integers(1, 8).flatmap(
        lambda seeds: st.lists(
            st.lists(
                st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]), st.just(math.nan)),
                min_size=seeds,
                max_size=seeds,
            ),
            min_size=recipes,
            max_size=recipes,
        )
    )
)


@given(score_table, st.sampled_from([None, 0.05, 0.5]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_comparisons_do_not_contradict_themselves(
    table: list[list[float]], equivalence: float | None, higher_is_better: bool
) -> None:
    scores: dict[str, Scores] = {name: by_seed(row) for name, row in zip("abcde", table, strict=False)}
    comparison = compare_all(scores, equivalence=equivalence, higher_is_better=higher_is_better)
    again = compare_all(dict(reversed(scores.items())), equivalence=equivalence, higher_is_better=higher_is_better)
    assert repr(again) == repr(comparison)
    ranked = [standing.recipe for standing in comparison.ranking]
    assert sorted([*ranked, *comparison.missing]) == sorted(scores)
    if comparison.winner:
        assert comparison.top_group == (comparison.winner,)
    elif ranked:
        assert comparison.top_group[0] == ranked[0]
    for pair in comparison.pairs:
        assert (pair.verdict == "undecided") == (pair.effect.n < 2)
        assert (pair.verdict in ("better", "worse")) == (pair.p_holm < 0.05)
        if pair.verdict == "equivalent":
            assert equivalence is not None
            assert -equivalence <= pair.equivalence_low <= pair.equivalence_high <= equivalence


@given(score_table)
@settings(max_examples=60, deadline=None)
def test_a_loss_and_its_negative_give_the_same_verdicts(table: list[list[float]]) -> None:
    scores: dict[str, Scores] = {name: by_seed(row) for name, row in zip("abcde", table, strict=False)}
    negative: dict[str, Scores] = {name: by_seed(-np.array(row)) for name, row in zip("abcde", table, strict=False)}
    first, second = compare_all(scores), compare_all(negative, higher_is_better=False)
    assert verdicts(first) == verdicts(second)
    assert (first.winner, first.top_group, first.tie_groups) == (
        second.winner,
        second.top_group,
        second.tie_groups,
    )


# Simulation with a known truth


def simulated(seed: int, recipes: int, spread_of_seeds: float = 1.0) -> npt.NDArray[np.float64]:
    """Scores (1000, recipes, 8) of recipes that are all the same; what a seed adds is common to them."""
    generator = np.random.default_rng(seed)
    common = spread_of_seeds * generator.normal(size=(1000, 1, 8))
    return 0.5 + 0.02 * (common + generator.normal(size=(1000, recipes, 8)))


def test_a_a_runs_call_any_difference_in_at_most_67_of_1000_repetitions() -> None:
    """Six recipes, eight seeds, fifteen pairs: 67 is the 99 % binomial bound at 5 % for all together."""
    called, named, uncorrected = 0, 0, 0
    for table in simulated(11, recipes=6):
        comparison = compare_all({f"recipe {index}": by_seed(row) for index, row in enumerate(table)})
        called += any(pair.verdict in ("better", "worse") for pair in comparison.pairs)
        named += comparison.winner is not None
        uncorrected += any(pair.effect.p < 0.05 for pair in comparison.pairs)
    assert called <= 67
    assert named <= called
    assert uncorrected > 300  # the bound is not idle


def test_recipes_at_the_edge_of_the_region_are_called_equivalent_in_at_most_67_of_1000() -> None:
    edge = 0.03
    tables = simulated(12, recipes=2)
    tables[:, 0] += edge
    called = sum(
        compare_all({"a": by_seed(a), "b": by_seed(b)}, equivalence=edge).pair("a", "b").verdict == "equivalent"
        for a, b in tables
    )
    assert called <= 67


def test_equal_recipes_are_found_equivalent_when_the_region_is_wide() -> None:
    called = sum(
        compare_all({"a": by_seed(a), "b": by_seed(b)}, equivalence=0.05).pair("a", "b").verdict == "equivalent"
        for a, b in simulated(13, recipes=2)[:200]
    )
    assert called >= 180
