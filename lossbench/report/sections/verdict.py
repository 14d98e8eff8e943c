"""The answer per task: who leads by test, who ties, or that nobody could be told apart; one sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.writing import formats
from lossbench.statistics.verdicts import Comparison, PairVerdict

MANY, FIRST = 12, 8  # of more names than MANY, the FIRST are printed
Kind = Literal["winner", "top group", "indistinguishable", "single", "undecided", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the first screen says of a task.

    `names` are the recipes the answer is about; `label` says what they are; `sentence` gives effect, interval
    and p; `caveats` say what is incomplete.
    """

    task: str
    kind: Kind
    label: str
    names: tuple[str, ...]
    sentence: str
    caveats: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The names to print; of many the first."""
        more = len(self.names) - FIRST
        return self.names if len(self.names) <= MANY else (*self.names[:FIRST], f"and {more} more")


def answer(evidence: Evidence, task: str) -> Answer:
    """The confirmatory verdict of a task in words that the tests allow."""
    comparison = evidence.primary[task]
    if comparison is None or not comparison.ranking:
        text = "No final run of this task is there yet."
        return Answer(task=task, kind="nothing", label="No answer yet", names=(), sentence=text)
    caveats = _caveats(comparison)
    kind, label, sentence = _say(comparison)
    names = () if kind in ("indistinguishable", "undecided") else comparison.top_group
    return Answer(task=task, kind=kind, label=label, names=names, sentence=sentence, caveats=caveats)


def effect_text(pair: PairVerdict) -> str:
    """`+0.031 [0.020, 0.042], p = 0.002`: effect, unadjusted 95 % interval, Holm-adjusted p."""
    effect = pair.effect
    return (
        f"{formats.signed(effect.mean)} {formats.interval(effect.low, effect.high)}, {formats.p_text(pair.p_adjusted)}"
    )


def detectable_text(pairs: list[PairVerdict]) -> str:
    """The smallest difference these studies could have shown, over the given pairs."""
    found = np.array([pair.smallest_found for pair in pairs])
    found = found[np.isfinite(found)]
    if not found.size:
        return "these studies have no spread to compute a smallest detectable difference from"
    low, high = formats.score(float(found.min())), formats.score(float(found.max()))
    size = low if low == high else f"{low} to {high}, depending on the pair"
    return f"the smallest difference these studies could have shown is {size}"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _say(comparison: Comparison) -> tuple[Kind, str, str]:
    ranked = [standing.recipe for standing in comparison.ranking]
    if len(ranked) == 1:
        return "single", "Only recipe with results", "There is nothing to compare it with."
    if all(pair.verdict == "undecided" for pair in comparison.pairs):
        return "undecided", "Undecided", "No two recipes share two finished studies, so nothing can be tested yet."
    if comparison.winner:
        return "winner", "Winner", _winner_sentence(comparison, ranked)
    top = [comparison.pair(a, b) for i, a in enumerate(comparison.top_group) for b in comparison.top_group[i + 1 :]]
    if len(comparison.top_group) == len(ranked):
        return _nobody(comparison, top)
    return "top group", _top_label(comparison), _top_sentence(comparison, ranked, top)


def _winner_sentence(comparison: Comparison, ranked: list[str]) -> str:
    winner, second = ranked[0], ranked[1]
    versus = comparison.pair(winner, second)
    text = f"{winner} is better than every other recipe; the next one is {second} ({effect_text(versus)})."
    return text + (" The difference is below what matters in practice." if versus.negligible else "")


def _nobody(comparison: Comparison, top: list[PairVerdict]) -> tuple[Kind, str, str]:
    different = [pair for pair in top if pair.verdict in ("better", "worse")]
    equal = [pair for pair in top if pair.verdict == "equivalent"]
    if different:
        shown = "; ".join(f"{p.a} and {p.b} differ ({effect_text(p)})" for p in different[:3])
        more = f"; so do {len(different) - 3} more pairs" if len(different) > 3 else ""
        text = f"No recipe was shown to differ from {comparison.top_group[0]}, the highest mean. Yet {shown}{more}."
        return "top group", "No single winner", text
    text = f"No pair of the {len(comparison.ranking)} recipes was shown to differ; {detectable_text(top)} (MAP@R)."
    if equal:
        text += f" {len(equal)} of {len(top)} pairs are equivalent within ±{comparison.equivalence:g}."
    return "indistinguishable", "Indistinguishable", text


def _top_label(comparison: Comparison) -> str:
    return "Top tie group, no single winner" if len(comparison.top_group) > 1 else "Highest mean, no winner"


def _top_sentence(comparison: Comparison, ranked: list[str], top: list[PairVerdict]) -> str:
    first, rest = ranked[0], [name for name in ranked if name not in comparison.top_group]
    nearest = min((comparison.pair(first, name) for name in rest), key=lambda pair: abs(pair.effect.mean))
    whose = " with results" if comparison.missing else ""
    text = f"Every other recipe{whose} is worse than {first}; the nearest is {nearest.b} "
    text += f"({effect_text(nearest.reversed())})."
    if len(comparison.top_group) == 1:
        return f"{text} {listed(comparison.missing)} has no result yet." if comparison.missing else text
    against_first = [pair for pair in top if first in (pair.a, pair.b)]
    group = comparison.top_group
    same = listed(group[1:]) if len(group) <= MANY else f"{len(group) - 1} others, from {group[1]} down to {group[-1]}"
    return f"Not told apart from {first}: {same}; {detectable_text(against_first)}. {text}"


def _caveats(comparison: Comparison) -> tuple[str, ...]:
    found = []
    if comparison.missing:
        found.append(f"no result yet: {listed(comparison.missing)}")
    short = sorted({name for pair in comparison.pairs if pair.effect.incomplete for name in (pair.a, pair.b)})
    incomplete = [pair for pair in comparison.pairs if pair.effect.incomplete]
    if incomplete and short:
        found.append(f"incomplete: {len(incomplete)} of {len(comparison.pairs)} comparisons lack studies")
    fewest = min((pair.effect.n for pair in comparison.pairs), default=0)
    if fewest < 5:
        found.append(f"only {fewest} paired studies: intervals are wide")
    return tuple(found)
