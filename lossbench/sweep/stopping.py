"""When studies stop, and which recipes leave: decided on final scores of the first n studies, whatever ran them.

Looks are those of the fixed schedule (`statistics.looks`), so that raising the most studies later goes on where the
same decisions led before, and repeats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lossbench.specification.budget import Budget
from lossbench.specification.primary import EQUIVALENCE, family, reference
from lossbench.specification.recipes import Recipe
from lossbench.statistics.looks import looks_until, next_look
from lossbench.statistics.racing import LEAST_STUDIES, clearly_beaten, undecided_at_top
from lossbench.statistics.verdicts import Comparison, compare_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided after so many studies.

    Attributes:
        look: whether the studies were tested here; else only a race was looked at.
        top: the leading group at a look.
        undecided: pairs of it that are neither told apart nor shown to be equivalent.
        dropped: recipes that get no more studies.
        until: after how many studies something is decided next; `studies` where that was all.
    """

    studies: int
    look: bool
    top: tuple[str, ...]
    undecided: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]
    until: int


class Race:
    """The studies of one task: how many are planned, which recipes take part, what came of them.

    Attributes:
        begun, until: studies that have begun, and after which something is decided.
        scores: study to the score of each recipe that took part; NaN where a final run failed.
        dropped: recipe to the last study that it took part in.
        looks: what was decided so far.
    """

    def __init__(self, budget: Budget, recipes: Sequence[Recipe]) -> None:
        self._budget, self._recipes = budget, recipes
        names = [recipe.name for recipe in recipes]
        self._family, self._reference = family(names), reference(names)
        self.begun = 0
        self.scores: dict[int, Mapping[str, float]] = {}
        self.dropped: dict[str, int] = {}
        self.looks: list[Decision] = []
        self.until = self._next_stop()

    @property
    def most(self) -> int:
        """How many studies there can be: fewer than allowed once a look has ended them."""
        ended = bool(self.looks) and self.looks[-1].studies == self.until
        return self.until if ended else self._budget.studies.most

    def recipes_of(self, study: int) -> list[Recipe]:
        """The recipes that take part in a study, as far as is known."""
        return [recipe for recipe in self._recipes if self.dropped.get(recipe.name, study) >= study]

    def decide(self) -> None:
        """All studies that have begun are there: who leaves, and until where to go on."""
        fixed = self._budget.studies.least == self._budget.studies.most and not self._budget.racing
        if fixed:
            return
        look = self.begun >= self._budget.studies.least and self.begun in {
            look.studies for look in looks_until(self.begun)
        }
        comparison = self._compare() if look else None
        gone = clearly_beaten(self._in_race(), keep=(self._reference,)) if self._budget.racing else ()
        self.dropped |= dict.fromkeys(gone, self.begun)
        if comparison is None or undecided_at_top(comparison):
            self.until = self._next_stop()
        self.looks.append(
            Decision(
                studies=self.begun,
                look=look,
                top=comparison.top_group if comparison else (),
                undecided=_undecided(comparison) if comparison else (),
                dropped=tuple(gone),
                until=self.until,
            )
        )

    def _compare(self) -> Comparison:
        scores = {recipe.name: self._scores_of(recipe.name) for recipe in self._recipes}
        return compare_all(
            scores,
            equivalence=EQUIVALENCE,
            dropped=self.dropped,
            family=self._family,
            reference=self._reference if self._family == "leaders" else None,
        )

    def _in_race(self) -> dict[str, dict[int, float]]:
        """Scores of the recipes that have not left; without those of which a run failed, which hold up nobody."""
        scores = {recipe.name: self._scores_of(recipe.name) for recipe in self.recipes_of(self.begun + 1)}
        return {name: found for name, found in scores.items() if not any(map(math.isnan, found.values()))}

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


def _undecided(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    top = set(comparison.top_group)
    pairs = [pair for pair in comparison.pairs if {pair.a, pair.b} <= top]
    return tuple((pair.a, pair.b) for pair in pairs if pair.verdict in ("undecided", "indistinguishable"))
