"""Scores of recipes as pairs over studies: what a test of two of them rests on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from scipy import special

from lossbench.statistics.effects import LARGEST_SCORE, Effect, FloatArray, paired_effect
from lossbench.statistics.families import Pair
from lossbench.statistics.looks import Look
from lossbench.statistics.sequential import Tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A score that does not depend on the study (raw pixels): stands for every study of its opponent."""

    value: float


Scores = Mapping[int, float] | Constant  # study to score


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Checked scores by recipe and study; `dropped` maps a recipe to its last study, later ones do not count."""

    scores: Mapping[str, Scores]
    dropped: Mapping[str, int]
    bounds: tuple[float, float] | None

    def values(self, recipe: str) -> dict[int, float]:
        """Study to score, NaN for a run that failed; empty for a constant."""
        found = self.scores[recipe]
        if isinstance(found, Constant):
            return {}
        last = self.dropped.get(recipe, math.inf)
        return {study: score for study, score in found.items() if study <= last}

    def mean(self, recipe: str) -> tuple[float, int]:
        """The mean over the recipe's own studies, NaN without any, and their number."""
        found = self.scores[recipe]
        if isinstance(found, Constant):
            return found.value, 0
        values = [score for score in self.values(recipe).values() if not math.isnan(score)]
        return (math.fsum(values) / len(values) if values else math.nan), len(values)

    def complete(self) -> int:
        """How many studies, from the first on, have an entry of every recipe that took part and has any."""
        taking_part = {name: set(values) for name in self.scores if (values := self.values(name))}
        for study in count(1):
            asked = [studies for name, studies in taking_part.items() if study <= self.dropped.get(name, math.inf)]
            if not asked or not all(study in studies for studies in asked):
                return study - 1
        raise AssertionError

    def effect(self, pair: Pair, until: float = math.inf, confidence: float = 0.95) -> Effect:
        """a - b over the studies up to `until` that both took part in."""
        first, second = (self.scores[name] for name in pair)
        if isinstance(first, Constant) and isinstance(second, Constant):
            # Two numbers: their difference is a fact, but there is nothing to test it by
            return replace(paired_effect([], []), mean=first.value - second.value)
        a, b = self._aligned(pair, until)
        return paired_effect(a, b, confidence=confidence, bounds=self.bounds)

    def differences(self, pairs: Sequence[Pair]) -> FloatArray:
        """a - b (pairs, studies) over all studies, NaN where either is missing."""
        studies = sorted({study for name in self.scores for study in self.values(name)})
        rows = {name: self._row(name, studies) for name in self.scores}
        table = [np.subtract(rows[a], rows[b]) for a, b in pairs]
        return np.array(table, dtype=np.float64).reshape(len(pairs), len(studies))

    def active(self, look: Look) -> frozenset[str]:
        """The recipes that take part in all studies of a look."""
        return frozenset(name for name in self.scores if self.dropped.get(name, math.inf) >= look.studies)

    def tests(self, pairs: Sequence[Pair], looks: Sequence[Look], least: int, region: float | None) -> Tests:
        """p values of each look by itself; NaN where a pair has fewer than `least` common studies or was dropped."""
        shape = len(looks), len(pairs)
        difference, equivalence, positive = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        for i, look in enumerate(looks):
            active = self.active(look)
            for j, pair in enumerate(pairs):
                if not set(pair) <= active:
                    continue
                effect = self.effect(pair, look.studies)
                if effect.n < least:
                    continue
                difference[i, j] = effect.p
                positive[i, j] = effect.mean > 0
                if region is not None:
                    equivalence[i, j] = _equivalence_p(effect, region)
        return Tests(difference=difference, equivalence=equivalence, positive=positive)

    def _aligned(self, pair: Pair, until: float) -> tuple[list[float], list[float]]:
        last = min([until, *(self.dropped.get(name, math.inf) for name in pair)])
        studies = sorted({study for name in pair for study in self.values(name) if study <= last})
        return self._row(pair[0], studies), self._row(pair[1], studies)

    def _row(self, recipe: str, studies: Iterable[int]) -> list[float]:
        found = self.scores[recipe]
        if isinstance(found, Constant):
            return [found.value for _ in studies]
        values = self.values(recipe)
        return [values.get(study, math.nan) for study in studies]


def checked(scores: Mapping[str, Scores], dropped: Collection[str], *, from_one: bool) -> dict[str, Scores]:
    """The scores as floats; ValueError with the place of what is none, is infinite or has an impossible study."""
    if not scores:
        raise ValueError("scores: empty; at least one recipe is needed")
    for name in dropped:
        if name not in scores or isinstance(scores[name], Constant):
            raise ValueError(f"dropped: {name!r} is no recipe with studies; there are {', '.join(sorted(scores))}")
    found: dict[str, Scores] = {}
    for recipe, values in scores.items():
        place = f"scores[{recipe!r}]"
        if isinstance(values, Constant):
            found[recipe] = Constant(value=_score(place, values.value))
            continue
        wrong = [study for study in values if from_one and study < 1]
        if wrong:
            raise ValueError(f"{place}[{wrong[0]}]: studies count from 1")
        found[recipe] = {study: _score(f"{place}[{study}]", value) for study, value in values.items()}
    return found


def _score(place: str, value: float) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{place}: {value!r} must be a number, or NaN where it is missing") from None
    if abs(score) > LARGEST_SCORE:
        raise ValueError(f"{place}: {value} must be finite (at most {LARGEST_SCORE:g}), or NaN where it is missing")
    return score


def _equivalence_p(effect: Effect, region: float) -> float:
    """The larger p of the two one-sided t tests of |difference| >= region; without spread by the rule of `effects`."""
    room = region - abs(effect.mean)
    if effect.sd == 0:
        return 2.0**-effect.n if room >= 0 else 1.0
    return float(special.stdtr(effect.n - 1, -room / (effect.sd / math.sqrt(effect.n))))
