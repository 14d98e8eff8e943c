"""Which pairs are tested together, and by what: the adjustment of each look's p values.

A family sees every pair's smallest p over the looks so far, each p divided by its look's share of alpha, and multiplies
it by how many tests it stands among. Such a p is valid over all looks together, so what holds for tests made once holds
here: a product below alpha is a finding, and no more than alpha of all experiments have a false one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from lossbench.statistics.effects import FloatArray
from lossbench.statistics.multiplicity import holm_products, step_down, steps

Pair = tuple[str, str]


class Family(Protocol):
    """Pairs that are tested, and how."""

    def adjust(self, p: FloatArray, loser: Sequence[str], active: Collection[str]) -> FloatArray:
        """p over the looks so far (pairs,) times the family's multiplier, not cut at 1; NaN: not tested.

        `loser` is the recipe of each pair that looks worse; `active` are the recipes that take part at this look.
        """

    def leads(self, recipe: str) -> bool:
        """Whether a recipe has not been taken out of the lead, where the family knows one."""

    def tests(self, pair: Pair) -> bool:
        """Whether a pair is tested now."""

    def first_step(self, pair: Pair) -> float:
        """The multiplier of the smallest p, and so of a pair at its strictest; 0 where the pair is not tested."""


class AllPairs:
    """Every two recipes, by Shaffer's step-down. Dropped recipes stay in the count: this is valid without argument."""

    def __init__(self, recipes: int) -> None:
        self._counts = steps(recipes)

    def adjust(self, p: FloatArray, loser: Sequence[str], active: Collection[str]) -> FloatArray:
        """By Shaffer's divisors."""
        adjusted = step_down(np.where(np.isnan(p), 1.0, p), self._counts)
        return np.where(np.isnan(p), math.nan, adjusted)

    def leads(self, recipe: str) -> bool:
        """Always."""
        return True

    def tests(self, pair: Pair) -> bool:
        """Always."""
        return True

    def first_step(self, pair: Pair) -> float:
        """The number of pairs."""
        return float(len(self._counts))


class Leaders:
    """Each recipe against a reference, and every two of those in the lead; for catalogues.

    Forty recipes have 780 pairs, and most of them ask which of two bad losses is worse. Half of alpha goes to the pairs
    with the reference (Holm). The other half goes to leaving the lead: all recipes start in it; of the pairs within
    it, the one with the smallest p is tested against the number of pairs within it, and its loser leaves. Without a
    reference all of alpha goes there.

    A recipe leaves wrongly if it is one of the best. Before the first wrong step all of the best, say m, are still in
    the lead, so the pairs within it are at least the m (m - 1) / 2 equal ones among the best, and Bonferroni's
    inequality over those holds, whatever the dependence. Who leaves without a test (`active`: racing) is not counted:
    that the errors stay below alpha then too, and for pairs below the best, is shown by simulation
    (`python -m benchmarks inference`) and not proven.
    """

    def __init__(self, pairs: Sequence[Pair], recipes: Sequence[str], alpha: float, reference: str | None) -> None:
        self._pairs = pairs
        self._alpha = alpha
        self._against = np.array([reference in pair for pair in pairs], dtype=bool)
        self._share = 0.5 if self._against.any() else 1.0
        self._reference = reference if reference in recipes else None
        self._adjusted = np.full(len(pairs), math.nan)
        self.leading = set(recipes)

    def adjust(self, p: FloatArray, loser: Sequence[str], active: Collection[str]) -> FloatArray:
        """Holm against the reference; within the lead one after the other."""
        self.leading &= set(active)
        against = np.flatnonzero(self._against & ~np.isnan(p))
        of_reference = holm_products(np.where(self._against, p, math.nan), int(self._against.sum()))
        self._adjusted[against] = of_reference[against] / self._share
        for index in against[self._adjusted[against] < self._alpha]:
            if set(self._pairs[index]) <= self.leading:
                self.leading.discard(loser[index])
        self._leave(p, loser)
        return self._adjusted.copy()

    def leads(self, recipe: str) -> bool:
        """Whether it is still in the lead."""
        return recipe in self.leading

    def tests(self, pair: Pair) -> bool:
        """With the reference, or within the lead."""
        return self._reference in pair or set(pair) <= self.leading

    def first_step(self, pair: Pair) -> float:
        """The number of tests beside it, over the share of alpha that they have."""
        if self._reference in pair:
            return float(self._against.sum()) / self._share
        number = len(self.leading) * (len(self.leading) - 1) / 2
        return number / self._share if self.tests(pair) else 0.0

    def _leave(self, p: FloatArray, loser: Sequence[str]) -> None:
        lifted = 0.0
        while tested := [index for index, pair in enumerate(self._pairs) if self._open(index, pair, p)]:
            number = len(self.leading) * (len(self.leading) - 1) // 2
            adjusted = {index: max(lifted, float(p[index]) * number / self._share) for index in tested}
            first = min(tested, key=lambda index: p[index])
            self._adjusted[tested] = list(adjusted.values())
            lifted = adjusted[first]
            if not lifted < self._alpha:
                return
            self.leading.discard(loser[first])

    def _open(self, index: int, pair: Pair, p: FloatArray) -> bool:
        return not self._against[index] and not math.isnan(p[index]) and set(pair) <= self.leading


class Against:
    """Each recipe with each of some others, by Holm: for baselines, which nobody asks to be told from one another."""

    def __init__(self, pairs: Sequence[Pair], others: Collection[str]) -> None:
        self._others = others
        self._asked = np.array([self.tests(pair) for pair in pairs], dtype=bool)

    def adjust(self, p: FloatArray, loser: Sequence[str], active: Collection[str]) -> FloatArray:
        """By Holm over all that are asked. Dropped recipes stay in the count."""
        return holm_products(np.where(self._asked, p, math.nan), int(self._asked.sum()))

    def leads(self, recipe: str) -> bool:
        """Always."""
        return True

    def tests(self, pair: Pair) -> bool:
        """Where one of the two is one of the others."""
        return (pair[0] in self._others) != (pair[1] in self._others)

    def first_step(self, pair: Pair) -> float:
        """The number of tests."""
        return float(self._asked.sum()) if self.tests(pair) else 0.0
