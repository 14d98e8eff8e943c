"""Trained to the end? The chosen points again with twice the epochs, and what that does to the effects at the top.

What has to hold is the comparison: that all recipes still rise alike is no fault. Of each pair of the leader with
another recipe at the top, the shift is the paired difference of differences: how much more of the one than of the other
twice the epochs make, on the same deals with the same seeds. Orders of means are no check: those change by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.statistics.effects import paired_effect, t_interval
from lossbench.statistics.verdicts import PairVerdict

Standing = Literal["holds", "moves", "cannot tell"]
ROLE = "longer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One pair: its effect with the interval that its verdict rests on, and the shift by twice the epochs.

    `low` and `high` bound the shift at 95 %. The check holds where the effect after the shift is shown, at 5 %, to
    stay within the effect's own interval; it moves where the shift is shown to be one and leads out of that interval.
    """

    a: str
    b: str
    effect: float
    effect_low: float
    effect_high: float
    shift: float
    low: float
    high: float
    studies: int
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """All pairs at the top of a task together, and how much twice the epochs add to each recipe."""

    standing: Standing
    shifts: tuple[Shift, ...]
    gains: dict[str, float]


def check(material: Material, task: str, pairs: Sequence[tuple[PairVerdict, float, float]]) -> Check | None:
    """The check over pairs, each with its own interval; None where no run with twice the epochs was planned."""
    gains = {recipe: _gain(material, task, recipe) for recipe in material.recipes}
    if not any(gains.values()):
        return None
    shifts = tuple(_shift(pair, low, high, gains[pair.a], gains[pair.b]) for pair, low, high in pairs)
    means = {recipe: float(np.mean(list(own.values()))) for recipe, own in gains.items() if own}
    return Check(standing=_together([shift.standing for shift in shifts]), shifts=shifts, gains=means)


def _gain(material: Material, task: str, recipe: str) -> dict[int, float]:
    """Study to what twice the epochs add to its first final run."""
    longer = material.values(task, recipe, PRIMARY, ROLE)
    rows = material.whole(task, recipe)
    once = dict(zip(rows["study"], rows[PRIMARY], strict=True)) if PRIMARY in rows else {}
    found = {study: value - float(once.get(study, math.nan)) for study, value in longer.items()}
    return {study: value for study, value in found.items() if value == value}


def _shift(pair: PairVerdict, low: float, high: float, first: dict[int, float], second: dict[int, float]) -> Shift:
    studies = sorted(set(first) & set(second))
    found = paired_effect([first[study] for study in studies], [second[study] for study in studies])
    return Shift(
        a=pair.a,
        b=pair.b,
        effect=pair.effect.mean,
        effect_low=low,
        effect_high=high,
        shift=found.mean,
        low=found.low,
        high=found.high,
        studies=found.n,
        standing=_standing(pair.effect.mean, low, high, found.mean, found.sd, found.n),
    )


def _standing(effect: float, low: float, high: float, shift: float, sd: float, n: int) -> Standing:
    if n < 2 or math.isnan(low):
        return "cannot tell"
    inner = t_interval(shift, sd, n, 0.9) if sd > 0 else (shift, shift)  # two one-sided tests at 5 %
    if low <= effect + inner[0] and effect + inner[1] <= high:
        return "holds"
    outer = t_interval(shift, sd, n, 0.95) if sd > 0 else (shift, shift)
    real = outer[0] > 0 or outer[1] < 0
    return "moves" if real and not low <= effect + shift <= high else "cannot tell"


def _together(found: Sequence[Standing]) -> Standing:
    if "moves" in found:
        return "moves"
    return "holds" if found and set(found) == {"holds"} else "cannot tell"
