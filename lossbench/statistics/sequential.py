"""What each look decides: a pair is judged once, by its first look that shows something, and stays judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lossbench.statistics.effects import FloatArray
from lossbench.statistics.families import Family, Pair
from lossbench.statistics.looks import Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the looks so far say of one pair.

    `adjusted` is its p over looks and family, below alpha where it is `different`, at most 1. `support` is the look
    whose studies show it (the last one of the pair where it is open, None where it was never tested), `level` what this
    pair could spend there: the interval at 1 - `level` excludes zero exactly where the pair is `different`.
    `negligible`: equivalent and different at once. `equivalence_level` belongs to the two one-sided tests at `support`.
    """

    kind: Literal["different", "equivalent", "open", "untested"]
    adjusted: float
    support: int | None
    level: float
    equivalence_level: float
    negligible: bool = False


UNTESTED = Judgement(kind="untested", adjusted=math.nan, support=None, level=math.nan, equivalence_level=math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """p values (looks, pairs) of each look by itself, NaN where a pair is not tested: of a difference, of equivalence.

    `positive` tells where the difference a - b is above zero.
    """

    difference: FloatArray
    equivalence: FloatArray
    positive: np.ndarray


def judge(
    looks: Sequence[Look],
    pairs: Sequence[Pair],
    tests: Tests,
    family: Family,
    active: Callable[[int], Collection[str]],
    *,
    alpha: float,
    higher_is_better: bool,
) -> list[Judgement]:
    """One judgement a pair, after all the looks; `active(look)` are the recipes that still take part at it.

    A difference and an equivalence are shown by any look whose p, divided by the look's share, is below alpha after the
    family's adjustment; equivalence is not adjusted over pairs. Equal arguments give equal bits: nothing else enters.
    """
    found = [UNTESTED] * len(pairs)
    shares = np.array([look.share for look in looks])[:, None]
    difference, equivalence = tests.difference / shares, tests.equivalence / shares
    for number in range(len(looks)):
        until = slice(0, number + 1)
        p, best = _smallest(difference[until])
        better = tests.positive[best, np.arange(len(pairs))] == higher_is_better
        loser = [pair[1] if first else pair[0] for pair, first in zip(pairs, better, strict=True)]
        adjusted = family.adjust(p, loser, active(number))
        same, _ = _smallest(equivalence[until])
        for index in range(len(pairs)):
            earlier = found[index]
            if earlier.kind == "equivalent" or math.isnan(adjusted[index]):
                continue
            if earlier.kind == "different":
                found[index] = replace(earlier, negligible=earlier.negligible or bool(same[index] < alpha))
                continue
            found[index] = _judgement(
                difference[until, index], equivalence[until, index], tests.positive[until, index],
                float(p[index]), float(adjusted[index]), float(same[index]), shares[until, 0], alpha,
            )  # fmt: skip
    return found


def _judgement(
    difference: FloatArray,
    equivalence: FloatArray,
    positive: np.ndarray,
    p: float,
    adjusted: float,
    same: float,
    shares: FloatArray,
    alpha: float,
) -> Judgement:
    """A pair that no earlier look decided; arrays (looks,) up to this one, p values divided by their look's share."""
    tested = np.flatnonzero(~np.isnan(difference))
    limit = alpha * p / adjusted if adjusted > 0 else alpha  # p below this is a finding; p = 0 always is
    kind: Literal["different", "equivalent", "open"] = "open"
    support = int(tested[-1])
    if adjusted < alpha:
        kind = "different"
        best = int(np.nanargmin(difference))
        showing = [index for index in tested if difference[index] < limit and positive[index] == positive[best]]
        support = int(showing[-1]) if showing else best
    elif same < alpha:
        kind = "equivalent"
        support = int(np.flatnonzero(equivalence < alpha)[-1])
    return Judgement(
        kind=kind,
        adjusted=min(adjusted, 1.0),
        support=support,
        level=float(limit * shares[support]),
        equivalence_level=float(alpha * shares[support]),
        negligible=kind == "different" and same < alpha,
    )


def _smallest(table: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """The smallest p (pairs,) over looks (looks, pairs) and its look; NaN and 0 where there is none."""
    filled = np.where(np.isnan(table), np.inf, table)
    best = filled.argmin(axis=0)
    smallest = filled[best, np.arange(table.shape[1])]
    return np.where(np.isinf(smallest), math.nan, smallest), best
