"""Which recipes differ on one metric and task, which tie, and whether one wins: tests over studies, at fixed looks.

Nothing is called better, and nothing called equal, but by the rules of `compare_all`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from string import ascii_lowercase
from typing import Literal

import numpy as np

from lossbench.statistics.effects import LARGEST_SCORE, Effect, t_interval
from lossbench.statistics.families import Against, AllPairs, Family, Leaders, Pair
from lossbench.statistics.looks import FIRST_LOOK, LEAST_RANKED, Look, looks_until, next_look
from lossbench.statistics.pairing import Constant, Scores, Table, checked
from lossbench.statistics.power import StudiesNeeded, smallest_found, studies_for_difference, studies_for_equivalence
from lossbench.statistics.sequential import UNTESTED, Judgement, judge
from lossbench.statistics.sign_flips import joint_sign_flip
from lossbench.statistics.ties import tie_groups

__all__ = ["Comparison", "Constant", "PairVerdict", "Scores", "Standing", "Verdict", "compare_all"]

Verdict = Literal["better", "worse", "equivalent", "indistinguishable", "undecided", "untested"]
FamilyName = Literal["all pairs", "leaders", "against"]
MOST_LETTERS = 12  # tie groups; of more, nobody reads the letters
_REVERSED: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """What can be said of recipe `a` against recipe `b`; differences are a - b, whichever direction is better.

    `verdict` speaks of `a`. `effect` is over all studies, with the unadjusted 95 % interval: for tables. `judged` is
    over the studies of the look that the verdict rests on (the last look where nothing is decided; None before the
    first one), with the interval at this pair's own level: for sentences. It excludes zero exactly where the verdict is
    better or worse. The own level is alpha x share of the look x p / `p_adjusted`: what the pair could spend where the
    step-down stood.

    `p_adjusted` is valid over all pairs and all looks together, below alpha exactly where a difference was shown.
    `p_sign_flip` is the joint sign-flip test's over all pairs and all studies (NaN below six studies), not adjusted
    for looks: it stands beside and decides nothing. `negligible`: better or worse beyond doubt, but by less than the
    region of practical equivalence. `equivalence_low` and `equivalence_high` bound the interval of the two one-sided
    tests at `equivalence_confidence`, over the studies of `judged`; `equivalence` is the region's half-width.
    `first_step_tests` is how many tests the first step of the step-down counts, `first_step_alpha` the level of each
    then, at the last look.
    """

    a: str
    b: str
    effect: Effect
    judged: Effect | None
    p_adjusted: float
    p_sign_flip: float
    verdict: Verdict
    negligible: bool
    equivalence_low: float
    equivalence_high: float
    equivalence_confidence: float
    equivalence: float | None
    alpha: float
    first_step_tests: float
    first_step_alpha: float
    note: str

    @property
    def smallest_found(self) -> float:
        """The smallest difference that as many studies with this sd find with 80 % power, at the first step's level."""
        if self.judged is None or not 0 < self.first_step_alpha < 1:
            return math.nan
        return smallest_found(self.judged.n, self.judged.sd, alpha=self.first_step_alpha)

    @property
    def studies_for_difference(self) -> StudiesNeeded | None:
        """The looks that would find a difference of the observed size, at the first step's level: for planning."""
        if not (self.effect.sd > 0 and self.first_step_tests >= 1):
            return None
        effect = self.effect
        return studies_for_difference(effect.mean, effect.sd, effect.n, tests=self.first_step_tests, alpha=self.alpha)

    @property
    def studies_for_equivalence(self) -> StudiesNeeded | None:
        """The looks that would show equivalence if the difference were zero; None where no region is given."""
        if self.equivalence is None or not self.effect.sd > 0:
            return None
        return studies_for_equivalence(self.equivalence, self.effect.sd, self.effect.n, alpha=self.alpha)

    @property
    def interval_name(self) -> str:
        """What a sentence has to call the interval of `judged`."""
        if self.judged is None:
            return self.effect.interval_name
        return f"{_percent(self.judged.confidence)} % interval at this pair's own level"

    @property
    def equivalence_interval_name(self) -> str:
        """What a sentence has to call the interval of the two one-sided tests."""
        return f"{_percent(self.equivalence_confidence)} % interval"

    def reversed(self) -> PairVerdict:
        """The same comparison, said of `b`."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            effect=self.effect.reversed(),
            judged=None if self.judged is None else self.judged.reversed(),
            verdict=_REVERSED.get(self.verdict, self.verdict),
            equivalence_low=0.0 - self.equivalence_high,
            equivalence_high=0.0 - self.equivalence_low,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A recipe's mean over its own studies (0 studies: a constant).

    Where studies are missing, the order of these means can contradict the verdict on a pair, which rests on the
    studies that both have; `Comparison.incomplete` says so.
    """

    recipe: str
    mean: float
    studies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All pairs of recipes on one metric and task, and what follows for their ranking.

    `ranking`: recipes with a score that were not dropped, best mean first (equal means by name); `dropped`: those that
    were; `missing`: those without any score. `winner`: the recipe that is better than every other one that was not
    dropped, or None. `top_group`, the leading group: the winner alone, or the best mean and every recipe not shown to
    be worse than it; its members may differ from each other. In a family of leaders: those still in the lead.
    `tie_groups`: the largest sets in which no pair was shown to differ, a compact letter display: two recipes differ
    exactly where they share no group. In a family of leaders the others have no group: their pairs are untested.

    `studies` are complete, `look` of them were tested last (None: no look yet), `tests` pairs were tested then.
    """

    pairs: tuple[PairVerdict, ...]
    ranking: tuple[Standing, ...]
    dropped: tuple[Standing, ...]
    missing: tuple[str, ...]
    winner: str | None
    top_group: tuple[str, ...]
    tie_groups: tuple[tuple[str, ...], ...]
    studies: int
    look: int | None
    next_look: int | None
    tests: int
    family: FamilyName
    reference: str | None
    alpha: float
    equivalence: float | None
    higher_is_better: bool

    @property
    def ranked(self) -> bool:
        """False below four studies: means have an order then, recipes have none."""
        return self.look is not None or self.studies >= LEAST_RANKED

    @property
    def between_looks(self) -> bool:
        """True where the verdicts are those of fewer studies than there are."""
        return self.look is not None and self.look < self.studies

    @property
    def incomplete(self) -> bool:
        """True where any pair lacks a study or any recipe all scores."""
        return bool(self.missing) or any(pair.effect.incomplete for pair in self.pairs)

    @property
    def letters(self) -> dict[str, str]:
        """Recipe to the letters of its tie groups, "a" for the best group; empty where there are too many to read.

        Where nothing is ranked no recipe has a letter.
        """
        if len(self.tie_groups) > MOST_LETTERS:
            return {}
        if not self.ranked:
            return dict.fromkeys((standing.recipe for standing in self.ranking), "")
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


def compare_all(
    scores: Mapping[str, Scores],
    *,
    higher_is_better: bool = True,
    equivalence: float | None = None,
    alpha: float = 0.05,
    bounds: tuple[float, float] | None = None,
    studies: int | None = None,
    dropped: Mapping[str, int] | None = None,
    family: FamilyName = "all pairs",
    reference: str | None = None,
    others: Collection[str] = (),
    sequential: bool = True,
) -> Comparison:
    """Compares every two recipes on one metric and task; `scores` maps recipe to study (1, 2, ...) to score.

    Tested are the first 7, 9, 12, ... studies (`looks.schedule`), as far as `studies` are complete: by default those up
    to which every recipe has an entry, a NaN being the entry of a run that failed. Verdicts are a function of these
    studies' scores alone, in whatever order they arrived. Between two looks they are those of the earlier one.
    A pair is aligned on the studies that both recipes have; the others count as `incomplete`.

    `dropped` maps a recipe to the last study that it took part in: its pairs are tested at the looks before, and it is
    never worse by having been dropped. `family` "leaders" tests against the `reference` and within the leading group
    only (`families.Leaders`), "against" each recipe with each of the `others` (`families.Against`). `bounds` are the
    lowest and highest score that the metric can take. `sequential` False tests once, all there is, at alpha: for what
    is measured once.

    Verdict on a pair, the first that holds; decided at a look it stays decided:

    - untested: it is not of the family, or one was dropped before the first look;
    - undecided: fewer than four common studies, or no look yet; without `sequential`, fewer than two;
    - better, worse: p adjusted over pairs and looks < alpha; `negligible` where equivalence was shown as well, so that
      a real but useless difference is called both;
    - equivalent: two one-sided tests (Schuirmann 1987) at what a look may spend of alpha: not adjusted over pairs, each
      claim of equality stands for itself;
    - indistinguishable: neither a difference nor its absence was shown.

    `equivalence` is the half-width of the region of practical equivalence in the unit of the metric. A recipe without
    scores leaves no winner. ValueError for infinite scores and for settings out of range.
    """
    _check_settings(equivalence, alpha)
    table = Table(
        scores=checked(scores, dropped or (), from_one=sequential), dropped=dict(dropped or {}), bounds=bounds
    )
    if reference is not None and reference not in scores:
        raise ValueError(f"reference: unknown recipe {reference!r}; there are {', '.join(sorted(scores))}")
    every = sorted(scores)
    names = [name for name in every if not math.isnan(table.mean(name)[0])]
    pairs = list(combinations(names, 2))
    complete = (table.complete() if sequential else _last(table)) if studies is None else studies
    looks = looks_until(complete) if sequential else (Look(complete, 1.0),)
    members: Family = AllPairs(len(names))
    if family != "all pairs":
        members = Leaders(pairs, names, alpha, reference) if family == "leaders" else Against(pairs, others)
    tests = table.tests(pairs, looks, LEAST_RANKED if sequential else 2, equivalence)
    judged = judge(
        looks, pairs, tests, members, lambda number: table.active(looks[number]),
        alpha=alpha, higher_is_better=higher_is_better,
    )  # fmt: skip
    flips = joint_sign_flip(table.differences(pairs))
    said = _Saying(table=table, looks=looks, studies=complete, family=members, alpha=alpha, region=equivalence,
                   higher_is_better=higher_is_better)  # fmt: skip
    found = {pair: said.verdict(pair, one, float(p)) for pair, one, p in zip(pairs, judged, flips, strict=True)}
    verdicts = [found.get(pair) or said.verdict(pair, UNTESTED, math.nan) for pair in combinations(every, 2)]
    standings = _standings(table, names, higher_is_better)
    ranked = [one.recipe for one in standings if one.recipe not in table.dropped]
    beaten = {(p.a, p.b) if p.verdict == "better" else (p.b, p.a) for p in verdicts if p.verdict in _REVERSED}
    missing = tuple(name for name in every if name not in names)
    rivals = [*ranked, *missing]
    winner = next((a for a in ranked if len(rivals) > 1 and all((a, b) in beaten for b in rivals if b != a)), None)
    top = tuple(b for b in ranked if members.leads(b) and (ranked[0], b) not in beaten)
    top = (winner,) if winner else top
    return Comparison(
        pairs=tuple(verdicts),
        ranking=tuple(one for one in standings if one.recipe in ranked),
        dropped=tuple(one for one in standings if one.recipe not in ranked),
        missing=missing,
        winner=winner,
        top_group=top,
        tie_groups=tie_groups(ranked if family == "all pairs" else top, beaten),
        studies=complete,
        look=looks[-1].studies if looks else None,
        next_look=next_look(complete) if sequential else None,
        tests=int(np.count_nonzero(~np.isnan(tests.difference[-1]))) if looks else 0,
        family=family,
        reference=reference,
        alpha=alpha,
        equivalence=equivalence,
        higher_is_better=higher_is_better,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saying:
    """What turns judgements into verdicts."""

    table: Table
    looks: Sequence[Look]
    studies: int
    family: Family
    alpha: float
    region: float | None
    higher_is_better: bool

    def verdict(self, pair: Pair, found: Judgement, flip: float) -> PairVerdict:
        if found.kind == "open" and not self.family.tests(pair):
            found = UNTESTED  # its loser left the lead by another pair
        effect, judged, name = self.table.effect(pair), None, self._verdict(pair, found)
        low = high = math.nan
        if found.support is not None:
            judged = self.table.effect(pair, self.looks[found.support].studies, 1 - found.level)
            low, high = t_interval(judged.mean, judged.sd, judged.n, 1 - 2 * found.equivalence_level)
            if name in _REVERSED:
                name = "better" if (judged.mean > 0) == self.higher_is_better else "worse"
        tests = self.family.first_step(pair)
        return PairVerdict(
            a=pair[0],
            b=pair[1],
            effect=effect,
            judged=judged,
            p_adjusted=found.adjusted,
            p_sign_flip=flip,
            verdict=name,
            negligible=found.negligible,
            equivalence_low=low,
            equivalence_high=high,
            equivalence_confidence=1 - 2 * found.equivalence_level,
            equivalence=self.region,
            alpha=self.alpha,
            first_step_tests=tests,
            first_step_alpha=self.alpha * self.looks[-1].share / tests if self.looks and tests else math.nan,
            note=self._note(pair, name, effect),
        )

    def _verdict(self, pair: Pair, found: Judgement) -> Verdict:
        if found.kind == "untested":
            tested = self.family.tests(pair) and not self._dropped(pair)
            return "undecided" if tested else "untested"
        verdicts: Mapping[str, Verdict] = {
            "different": "better", "equivalent": "equivalent", "open": "indistinguishable",
        }  # fmt: skip
        return verdicts[found.kind]

    def _dropped(self, pair: Pair) -> list[str]:
        return [name for name in pair if name in self.table.dropped]

    def _note(self, pair: Pair, verdict: Verdict, effect: Effect) -> str:
        """Why a verdict is not the t test's, or empty."""
        if verdict in ("untested", "indistinguishable") and (gone := self._dropped(pair)):
            words = [f"{name} was dropped after study {self.table.dropped[name]}" for name in gone]
            return " and ".join(words) + (", not tested" if verdict == "untested" else "")
        if verdict == "untested":
            return "outside the leading group, not tested"
        if effect.n == 0:
            return "no common study"
        if verdict == "undecided" and not self.looks and self.studies >= LEAST_RANKED:
            return f"the first look is at {FIRST_LOOK} studies"
        if verdict == "undecided":
            return "fewer than four studies"
        if effect.identical:
            return "identical in every study"
        return "constant difference: exact sign-flip test" if effect.constant else ""


def _percent(confidence: float) -> str:
    """Four digits, and more where these would read 100.

    >>> _percent(0.965), _percent(0.99997)
    ('96.5', '99.997')
    """
    texts = (f"{100 * confidence:.{digits}g}" for digits in range(4, 17))
    return next((text for text in texts if text != "100"), "100")


def _standings(table: Table, names: Sequence[str], higher_is_better: bool) -> list[Standing]:
    """Best mean first; equal means by name."""
    means = {name: table.mean(name) for name in names}
    order = sorted(names, key=lambda name: (-means[name][0] if higher_is_better else means[name][0], name))
    return [Standing(recipe=name, mean=means[name][0], studies=means[name][1]) for name in order]


def _last(table: Table) -> int:
    return max((index for name in table.scores for index in table.values(name)), default=0)


def _check_settings(equivalence: float | None, alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha: {alpha} must lie between 0 and 0.5")
    if equivalence is not None and not 0 < equivalence <= LARGEST_SCORE:
        raise ValueError(f"equivalence: {equivalence} must be positive and finite, or None")
