"""When studies stop, and which recipes leave: decided on final scores of the first n studies, whatever ran them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import Budget
from lossbench.statistics.verdicts import compare_all

LOOKS = (7, 9, 12, 18, 24, 36, 48, 72, 96)
EQUIVALENCE = 0.005
PRIMARY = "sphere.map_at_r"

RACED_FROM = 2  # studies before any recipe may leave
Scores = Mapping[str, Mapping[int, float]]  # recipe to study to score


class Race:
    """The studies of one task: how many are planned, which recipes take part, what came of them.

    Attributes:
        begun, until: studies that have begun, and after which something is decided.
        scores: study to the score of each recipe that took part.
        dropped: recipe to the last study that it took part in.
    """

    def __init__(self, budget: Budget, recipes: Sequence[Recipe]) -> None:
        self._budget, self._recipes = budget, recipes
        self.begun = 0
        self.scores: dict[int, Mapping[str, float]] = {}
        self.dropped: dict[str, int] = {}
        self.until = self._next_stop()

    def recipes_of(self, study: int) -> list[Recipe]:
        """The recipes that take part in a study, as far as is known."""
        return [recipe for recipe in self._recipes if self.dropped.get(recipe.name, study) >= study]

    def decide(self) -> None:
        """All studies that have begun are there: who leaves, and until where to go on."""
        if self._budget.racing and self.begun >= RACED_FROM:
            self.dropped |= dict.fromkeys(leaving(self._in_race()), self.begun)
        looked = self.begun in LOOKS and self.begun >= self._budget.studies.least
        if not (looked and top_is_decided(self._in_race())):
            self.until = self._next_stop()

    def _in_race(self) -> Scores:
        """Scores of the recipes that have not left, in the order of the studies."""
        names = [recipe.name for recipe in self._recipes if recipe.name not in self.dropped]
        studies = sorted(self.scores)
        return {name: {study: self.scores[study][name] for study in studies} for name in names}

    def _next_stop(self) -> int:
        """After how many studies something is decided next: who leaves a race, or at a look, whether to go on."""
        least, most = self._budget.studies.least, self._budget.studies.most
        later = [look for look in LOOKS if look > self.begun and look >= least]
        stop = min([*later, most]) if least < most else most
        race = max(RACED_FROM, self.begun + 1)
        return min(stop, race) if self._budget.racing and stop > self.begun else stop


def top_is_decided(scores: Scores) -> bool:
    """Whether every pair within the leading group is decided: better, worse or equivalent."""
    comparison = compare_all(scores, equivalence=EQUIVALENCE)
    top = set(comparison.top_group)
    return all(
        pair.verdict in ("better", "worse", "equivalent") for pair in comparison.pairs if {pair.a, pair.b} <= top
    )


def leaving(scores: Scores) -> list[str]:
    """The recipes that leave a race: whose best study so far lies below the worst one of the highest mean, by more than
    the region of equivalence. Nothing is said of them by that: a recipe that left is dropped, not tested.
    """
    values = {
        recipe: [-math.inf if math.isnan(score) else score for score in found.values()]
        for recipe, found in scores.items()
        if found
    }
    if not values:
        return []
    leader = max(values, key=lambda recipe: (math.fsum(values[recipe]) / len(values[recipe]), recipe))
    bar = min(values[leader]) - EQUIVALENCE
    return sorted(recipe for recipe, found in values.items() if max(found) < bar)
