"""Would twice the epochs change the comparison? The change of each effect at the top, with its interval.

That all scores still rise is no fault. What must hold is their differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossbench.statistics.effects import Effect, paired_effect
from lossbench.statistics.families import Pair
from lossbench.statistics.multiplicity import holm

ConvergenceAnswer = Literal["holds", "moves", "cannot tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How the effect of `a` against `b` changes with twice the epochs: (a - b) at twice minus (a - b) at once.

    `effect` is that paired difference of differences over the studies that have both, with the interval of the two
    one-sided tests (90 %); `region` is how far an effect may move without leaving its own interval.
    """

    a: str
    b: str
    effect: Effect
    region: float
    answer: ConvergenceAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """The check over all pairs: `moves` where any pair does, `holds` only where every pair does."""

    changes: tuple[Change, ...]
    answer: ConvergenceAnswer


def check_convergence(
    once: Mapping[str, Mapping[int, float]],
    twice: Mapping[str, Mapping[int, float]],
    regions: Mapping[Pair, float],
    *,
    alpha: float = 0.05,
) -> Convergence:
    """Recipe to study to score of the same points under the same deals and seeds, at the epochs that ship and at twice.

    `regions` maps each pair to be asked to the half-width of its own interval, or to the region of practical
    equivalence where that is larger: a smaller change does not carry the effect out of its interval. A pair

    - holds, where the change is shown to lie within +-region by two one-sided tests at alpha (Schuirmann 1987): its
      interval at 1 - 2 alpha does;
    - moves, where it does not and the change differs from zero (Holm over the pairs);
    - else cannot be told: too few studies, too much noise. That is no pass.

    All pairs must hold for the whole to hold: an intersection of claims, which needs no correction. Without any pair
    nothing can be told.
    """
    effects = {pair: _change(once, twice, pair, 1 - 2 * alpha) for pair in regions}
    adjusted = holm([effect.p for effect in effects.values()])
    changes = tuple(
        Change(a=a, b=b, effect=effect, region=region, answer=_answer(effect, float(p), region, alpha))
        for ((a, b), region), effect, p in zip(regions.items(), effects.values(), adjusted, strict=True)
    )
    return Convergence(changes=changes, answer=_together([change.answer for change in changes]))


def _change(
    once: Mapping[str, Mapping[int, float]], twice: Mapping[str, Mapping[int, float]], pair: Pair, confidence: float
) -> Effect:
    sides = [table.get(name, {}) for table in (twice, once) for name in pair]
    studies = sorted(set.intersection(*(set(side) for side in sides)))
    later_a, later_b, a, b = (np.array([side[study] for study in studies], dtype=np.float64) for side in sides)
    return paired_effect(later_a - later_b, a - b, confidence=confidence)


def _answer(effect: Effect, p: float, region: float, alpha: float) -> ConvergenceAnswer:
    if not region > 0 or math.isnan(effect.low):
        return "cannot tell"
    if -region <= effect.low and effect.high <= region:
        return "holds"
    return "moves" if p < alpha else "cannot tell"


def _together(answers: Sequence[ConvergenceAnswer]) -> ConvergenceAnswer:
    if "moves" in answers:
        return "moves"
    return "holds" if answers and all(answer == "holds" for answer in answers) else "cannot tell"
