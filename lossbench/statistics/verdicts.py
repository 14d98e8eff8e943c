"""Which recipes differ on one metric and task, which tie, and whether one wins: Holm over all pairs.

Nothing is called better, and nothing called equal, but by the rules of `compare_all`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from string import ascii_lowercase
from typing import Literal

import numpy as np
import numpy.typing as npt

from lossbench.statistics.effects import (
    LARGEST_SCORE,
    Effect,
    FloatArray,
    minimum_detectable_effect,
    paired_effect,
    seeds_needed,
    t_interval,
)

Verdict = Literal["better", "worse", "equivalent", "indistinguishable", "undecided"]
MOST_LETTERS = 12  # tie groups; of more, nobody reads the letters
_REVERSED: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A score that does not depend on the seed (raw pixels): stands for every seed of its opponent."""

    value: float


Scores = Mapping[int, float] | Constant  # seed to score


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """What can be said of recipe `a` against recipe `b`.

    `effect` is a - b in the unit of the metric, whichever direction is better; `verdict` speaks of `a`.
    `p_holm` is `effect.p`, Holm-adjusted over all pairs of the comparison. `negligible`: better or worse
    beyond doubt, but by less than the region of practical equivalence. `equivalence_low` and
    `equivalence_high` bound the 1 - 2 alpha interval of the two one-sided tests, per pair. `first_step_alpha`
    is Holm's strictest level, alpha / tests; `min_detectable_holm` is the smallest difference that this many
    seeds with this sd find with power 0.8 even at that level.
    """

    a: str
    b: str
    effect: Effect
    p_holm: float
    verdict: Verdict
    negligible: bool
    equivalence_low: float
    equivalence_high: float
    first_step_alpha: float
    min_detectable_holm: float

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that would find a difference of the observed size at Holm's strictest level: for planning."""
        if not (self.effect.sd > 0 and 0 < self.first_step_alpha < 1):
            return None
        return seeds_needed(self.effect.mean, self.effect.sd, alpha=self.first_step_alpha)

    @property
    def note(self) -> str:
        """Why a verdict is not the t test's, or empty."""
        if self.effect.n == 0:
            return "no common seed"
        if self.effect.n == 1:
            return "one seed"
        if self.effect.identical:
            return "identical on every seed"
        return "constant difference: exact sign-flip test" if self.effect.constant else ""

    def reversed(self) -> PairVerdict:
        """The same comparison, said of `b`."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            effect=self.effect.reversed(),
            verdict=_REVERSED.get(self.verdict, self.verdict),
            equivalence_low=0.0 - self.equivalence_high,
            equivalence_high=0.0 - self.equivalence_low,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A recipe's mean over its own seeds (0 seeds: a constant).

    Where seeds are missing, the order of these means can contradict the verdict on a pair, which rests on the
    seeds that both have; `Comparison.incomplete` says so.
    """

    recipe: str
    mean: float
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All pairs of recipes on one metric and task, and what follows for their ranking.

    `ranking`: recipes with a score, best mean first (equal means by name); `missing`: those without any.
    `winner`: the recipe that is better than every other one, or None. `top_group`: the winner alone, or the
    best mean and every recipe not shown to be worse than it; its members may differ from each other.
    `tie_groups`: the largest sets in which no pair was shown to differ, a compact letter display: two recipes
    differ exactly where they share no group. `tests`: pairs that Holm corrected for.
    """

    pairs: tuple[PairVerdict, ...]
    ranking: tuple[Standing, ...]
    missing: tuple[str, ...]
    winner: str | None
    top_group: tuple[str, ...]
    tie_groups: tuple[tuple[str, ...], ...]
    tests: int
    alpha: float
    equivalence: float | None
    higher_is_better: bool

    @property
    def incomplete(self) -> bool:
        """True where any pair lacks a seed or a verdict."""
        return any(pair.effect.incomplete or pair.verdict == "undecided" for pair in self.pairs)

    @property
    def letters(self) -> dict[str, str]:
        """Recipe to the letters of its tie groups, "a" for the best group; empty where there are too many to read."""
        if len(self.tie_groups) > MOST_LETTERS:
            return {}
        return {
            standing.recipe: "".join(
                letter
                for letter, group in zip(ascii_lowercase, self.tie_groups, strict=False)
                if standing.recipe in group
            )
            for standing in self.ranking
        }

    @property
    def better_worse(self) -> dict[str, tuple[int, int]]:
        """Recipe to the number of recipes that it was shown to be better and to be worse than."""
        verdicts = [(pair.a, pair.verdict) for pair in self.pairs]
        verdicts += [(pair.b, _REVERSED.get(pair.verdict, pair.verdict)) for pair in self.pairs]
        found = Counter(verdicts)
        return {one.recipe: (found[one.recipe, "better"], found[one.recipe, "worse"]) for one in self.ranking}

    def pair(self, a: str, b: str) -> PairVerdict:
        """The verdict on `a` against `b`, in this order; KeyError where there is none."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair
            if (pair.a, pair.b) == (b, a):
                return pair.reversed()
        raise KeyError(f"no pair of {a!r} and {b!r}")


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p values (n,), in the given order (Holm 1979); NaNs stay and do not count.

    >>> [round(float(p), 3) for p in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p_values: shape {p.shape} must have one axis")
    if np.any((p < 0) | (p > 1)):
        raise ValueError(f"p_values: {p[(p < 0) | (p > 1)][0]} is outside [0, 1]")
    adjusted = np.full(p.shape, math.nan)
    present = np.flatnonzero(~np.isnan(p))
    order = present[np.argsort(p[present], kind="stable")]
    stepped = np.maximum.accumulate(p[order] * np.arange(order.size, 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def compare_all(
    scores: Mapping[str, Scores],
    *,
    higher_is_better: bool = True,
    equivalence: float | None = None,
    alpha: float = 0.05,
) -> Comparison:
    """Compares every two recipes on one metric and task; `scores` maps recipe to seed to score.

    A pair is aligned on the seeds that both recipes have; the other seeds and NaNs count as `incomplete`.
    Each recipe given is part of Holm's family, baselines too. Verdict on a pair, the first that holds:

    - undecided: fewer than two common seeds (two constants have none);
    - better, worse: Holm-adjusted p < alpha; `negligible` where the 1 - 2 alpha interval also lies within
      +-equivalence, so that a real but useless difference is called both;
    - equivalent: that interval lies within +-equivalence (two one-sided tests at alpha, Schuirmann 1987, not
      adjusted over pairs: each claim of equality stands for itself);
    - indistinguishable: neither a difference nor its absence was shown.

    `equivalence` is the half-width of the region of practical equivalence in the unit of the metric. A winner
    must be better than every other recipe given, so a recipe without scores leaves no winner.
    ValueError for infinite scores and for settings out of range.
    """
    _check_settings(equivalence, alpha)
    scores = _checked(scores)
    names = sorted(scores)
    tested = [(a, b, _pair_effect(scores[a], scores[b])) for a, b in combinations(names, 2)]
    adjusted = holm([effect.p for _, _, effect in tested])
    tests = int(np.count_nonzero(~np.isnan(adjusted)))
    pairs = tuple(
        _pair_verdict(a, b, effect, float(p), tests, higher_is_better, equivalence, alpha)
        for (a, b, effect), p in zip(tested, adjusted, strict=True)
    )
    standings = [_standing(name, scores[name]) for name in names]
    ranking = sorted(
        (standing for standing in standings if not math.isnan(standing.mean)),
        key=lambda standing: (-standing.mean if higher_is_better else standing.mean, standing.recipe),
    )
    ranked = [standing.recipe for standing in ranking]
    beaten = {(p.a, p.b) if p.verdict == "better" else (p.b, p.a) for p in pairs if p.verdict in _REVERSED}
    winner = next((a for a in ranked if len(names) > 1 and all((a, b) in beaten for b in names if b != a)), None)
    return Comparison(
        pairs=pairs,
        ranking=tuple(ranking),
        missing=tuple(standing.recipe for standing in standings if math.isnan(standing.mean)),
        winner=winner,
        top_group=(winner,) if winner else tuple(b for b in ranked if (ranked[0], b) not in beaten),
        tie_groups=tie_groups(ranked, beaten),
        tests=tests,
        alpha=alpha,
        equivalence=equivalence,
        higher_is_better=higher_is_better,
    )


def tie_groups(names: Sequence[str], different: Collection[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The largest sets of `names` without a pair that is `different`, in the order of `names`.

    These are the groups of a compact letter display (Piepho 2004, doi:10.1198/1061860043515): the maximal
    cliques of the graph of ties, found by Bron and Kerbosch's algorithm (1973, doi:10.1145/362342.362367).

    >>> tie_groups(["x", "y", "z"], {("x", "z")})
    (('x', 'y'), ('y', 'z'))
    """
    position = {name: index for index, name in enumerate(names)}
    apart = {frozenset(pair) for pair in different}
    ties = {a: {b for b in names if b != a and frozenset((a, b)) not in apart} for a in names}
    ordered = sorted(sorted(position[name] for name in group) for group in _cliques(set(), set(names), set(), ties))
    return tuple(tuple(names[index] for index in group) for group in ordered)


def _cliques(
    chosen: set[str], candidates: set[str], excluded: set[str], ties: Mapping[str, set[str]]
) -> Iterator[set[str]]:
    """Every maximal clique that holds `chosen`, more only from `candidates`, and no member of `excluded`."""
    if not candidates and not excluded:
        if chosen:
            yield chosen
        return
    pivot = max(candidates | excluded, key=lambda name: len(ties[name] & candidates))
    for name in candidates - ties[pivot]:  # a clique without the pivot holds one that does not tie with it
        yield from _cliques(chosen | {name}, candidates & ties[name], excluded & ties[name], ties)
        candidates = candidates - {name}
        excluded = excluded | {name}


def _pair_effect(first: Scores, second: Scores) -> Effect:
    seeds = sorted({seed for scores in (first, second) if not isinstance(scores, Constant) for seed in scores})
    if not seeds and isinstance(first, Constant) and isinstance(second, Constant):
        # Two numbers: their difference is a fact, but there is nothing to test it by
        return replace(paired_effect([], []), mean=first.value - second.value)
    return paired_effect(_aligned(first, seeds), _aligned(second, seeds))


def _aligned(scores: Scores, seeds: Iterable[int]) -> list[float]:
    if isinstance(scores, Constant):
        return [scores.value for _ in seeds]
    return [scores.get(seed, math.nan) for seed in seeds]


def _pair_verdict(
    a: str,
    b: str,
    effect: Effect,
    p_holm: float,
    tests: int,
    higher_is_better: bool,
    equivalence: float | None,
    alpha: float,
) -> PairVerdict:
    low, high = t_interval(effect.mean, effect.sd, effect.n, 1 - 2 * alpha)
    inside = equivalence is not None and -equivalence <= low and high <= equivalence
    verdict: Verdict
    if effect.n < 2:
        verdict = "undecided"
    elif p_holm < alpha:
        verdict = "better" if (effect.mean > 0) == higher_is_better else "worse"
    else:
        verdict = "equivalent" if inside else "indistinguishable"
    first_step = alpha / tests if tests else math.nan
    return PairVerdict(
        a=a,
        b=b,
        effect=effect,
        p_holm=p_holm,
        verdict=verdict,
        negligible=inside and verdict in _REVERSED,
        equivalence_low=low,
        equivalence_high=high,
        first_step_alpha=first_step,
        min_detectable_holm=minimum_detectable_effect(effect.n, effect.sd, alpha=first_step) if tests else math.nan,
    )


def _standing(recipe: str, scores: Scores) -> Standing:
    if isinstance(scores, Constant):
        return Standing(recipe=recipe, mean=scores.value, seeds=0)
    values = [value for value in scores.values() if not math.isnan(value)]
    return Standing(recipe=recipe, mean=math.fsum(values) / len(values) if values else math.nan, seeds=len(values))


def _check_settings(equivalence: float | None, alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha: {alpha} must lie between 0 and 0.5")
    if equivalence is not None and not 0 < equivalence <= LARGEST_SCORE:
        raise ValueError(f"equivalence: {equivalence} must be positive and finite, or None")


def _checked(scores: Mapping[str, Scores]) -> dict[str, Scores]:
    if not scores:
        raise ValueError("scores: empty; at least one recipe is needed")
    return {
        recipe: Constant(value=_score(f"scores[{recipe!r}]", values.value))
        if isinstance(values, Constant)
        else {seed: _score(f"scores[{recipe!r}][{seed}]", value) for seed, value in values.items()}
        for recipe, values in scores.items()
    }


def _score(place: str, value: float) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{place}: {value!r} must be a number, or NaN where it is missing") from None
    if abs(score) > LARGEST_SCORE:
        raise ValueError(f"{place}: {value} must be finite (at most {LARGEST_SCORE:g}), or NaN where it is missing")
    return score
