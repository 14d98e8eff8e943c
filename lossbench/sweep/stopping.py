"""When studies stop, and which recipes leave: decided on final scores of the first n studies, whatever ran them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import Budget
from lossbench.statistics.looks import looks_until, next_look
from lossbench.statistics.racing import LEAST_STUDIES, clearly_beaten, undecided_at_top
from lossbench.statistics.verdicts import compare_all

EQUIVALENCE = 0.005
PRIMARY = "sphere.map_at_r"


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
        if self._budget.racing and self.begun >= LEAST_STUDIES:
            self.dropped |= dict.fromkeys(clearly_beaten(self._in_race()), self.begun)
        looked = self.begun >= self._budget.studies.least and any(
            look.studies == self.begun for look in looks_until(self.begun)
        )
        if not (looked and self._top_is_decided()):
            self.until = self._next_stop()

    def _top_is_decided(self) -> bool:
        """Whether every two recipes at the top are told apart or shown to be equivalent."""
        scores = {recipe.name: self._scores_of(recipe.name) for recipe in self._recipes}
        comparison = compare_all(scores, equivalence=EQUIVALENCE, dropped=self.dropped)
        return not undecided_at_top(comparison)

    def _in_race(self) -> dict[str, dict[int, float]]:
        """Scores of the recipes that have not left."""
        return {
            recipe.name: self._scores_of(recipe.name) for recipe in self._recipes if recipe.name not in self.dropped
        }

    def _scores_of(self, recipe: str) -> dict[int, float]:
        """Study to score, in the order of the studies."""
        return {study: found[recipe] for study, found in sorted(self.scores.items()) if recipe in found}

    def _next_stop(self) -> int:
        """After how many studies something is decided next: who leaves a race, or at a look, whether to go on."""
        least, most = self._budget.studies.least, self._budget.studies.most
        stop = min(next_look(max(self.begun, least - 1)), most) if least < most else most
        if self._budget.racing and stop > self.begun:
            return min(stop, max(LEAST_STUDIES, self.begun + 1))
        return stop
