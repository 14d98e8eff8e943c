"""All data sets in one figure: average ranks, inter-quartile means, chances of improvement, profiles. Exploratory.

Recipes without a score on some task are left out; the table says on how many tasks each recipe has scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.aggregates import (
    Aggregate,
    Friedman,
    average_ranks,
    critical_difference,
    friedman,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    rank_groups,
)
from lossbench.statistics.effects import FloatArray

THRESHOLDS = 101
LEAST_TASKS = 3  # data sets from which ranks are worth a look
ENOUGH_TASKS = 10  # data sets from which rank tests have some power


@dataclass(frozen=True)
class Overall:
    """Scores of every recipe on every task, and what follows for all tasks together."""

    material: Material

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """Recipes that have a score on every task."""
        means = {
            recipe: [self.material.mean(task, recipe, PRIMARY) for task in self.material.tasks]
            for recipe in self.material.recipes
        }
        return tuple(recipe for recipe, found in means.items() if np.isfinite(found).all())

    @property
    def worthwhile(self) -> bool:
        """Whether there are several tasks and several recipes that took part in all of them."""
        return len(self.material.tasks) > 1 and len(self.recipes) > 1

    @property
    def telling(self) -> bool:
        """Whether they are enough for a page to show ranks."""
        return self.worthwhile and len(self.material.tasks) >= LEAST_TASKS

    @cached_property
    def ranks(self) -> dict[str, float]:
        """Average rank over tasks of each recipe's mean, 1 highest; ties share."""
        means = [[self.material.mean(task, recipe, PRIMARY) for recipe in self.recipes] for task in self.material.tasks]
        return dict(zip(self.recipes, average_ranks(np.array(means)).tolist(), strict=True))

    @cached_property
    def friedman(self) -> Friedman | None:
        """Friedman's test over the tasks; None for fewer than three recipes."""
        if len(self.recipes) < 3:
            return None
        means = [[self.material.mean(task, recipe, PRIMARY) for recipe in self.recipes] for task in self.material.tasks]
        return friedman(np.array(means))

    @cached_property
    def critical_difference(self) -> float:
        """Average ranks further apart than this differ (Nemenyi)."""
        return critical_difference(len(self.recipes), len(self.material.tasks))

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Sets of recipes whose average ranks were not shown to differ; none below ten data sets."""
        if len(self.material.tasks) < ENOUGH_TASKS:
            return ()
        found = rank_groups(list(self.ranks.values()), self.critical_difference)
        return tuple(tuple(self.recipes[index] for index in group) for group in found)

    @cached_property
    def means(self) -> dict[str, Aggregate]:
        """Inter-quartile mean over all runs of all tasks."""
        return {recipe: interquartile_mean(self.scores(recipe)) for recipe in self.recipes}

    @cached_property
    def improvements(self) -> dict[str, Aggregate]:
        """Chance that a run is above a run of the reference on a random task."""
        reference = self.material.reference
        if reference not in self.recipes:
            return {}
        return {
            recipe: probability_of_improvement(self.scores(recipe), self.scores(reference))
            for recipe in self.recipes
            if recipe != reference
        }

    def profiles(self) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Thresholds of MAP@R, and the share of runs above each of them for every recipe."""
        scores = {recipe: self.scores(recipe) for recipe in self.recipes}
        everything = np.concatenate([found.ravel() for found in scores.values()])
        low, high = np.nanmin(everything), np.nanmax(everything)
        thresholds = np.linspace(low - 0.02 * (high - low), high, THRESHOLDS)
        return thresholds, {recipe: performance_profile(found, thresholds) for recipe, found in scores.items()}

    def scores(self, recipe: str) -> FloatArray:
        """Test MAP@R (tasks, studies), NaN where one is missing."""
        studies = range(1, max(map(self.material.studies, self.material.tasks)) + 1)
        found = [self.material.values(task, recipe, PRIMARY) for task in self.material.tasks]
        return np.array([[values.get(study, np.nan) for study in studies] for values in found], dtype=float)


def table(overall: Overall) -> Table:
    """One row a recipe, lowest average rank first."""
    material = overall.material
    columns = [
        Column("recipe", numeric=False),
        Column("average rank", "1 is highest"),
        *([Column("not told apart", "within the critical difference", numeric=False)] if overall.groups else []),
        Column("inter-quartile mean", "MAP@R of all runs"),
        Column("95 % interval", "stratified bootstrap"),
        Column(f"above {material.reference}", "chance, run against run"),
        Column("95 % interval", "stratified bootstrap"),
    ]
    rows = []
    for recipe in sorted(overall.ranks, key=lambda name: (overall.ranks[name], name)):
        mean, chance = overall.means[recipe], overall.improvements.get(recipe)
        letters = [chr(ord("a") + index) for index, group in enumerate(overall.groups) if recipe in group]
        rows.append(
            Row(
                (
                    Cell(recipe),
                    Cell(formats.score(overall.ranks[recipe], 2), overall.ranks[recipe], "strong"),
                    *([Cell("".join(letters) or "alone")] if overall.groups else []),
                    Cell(formats.score(mean.estimate), mean.estimate),
                    Cell(formats.interval(mean.low, mean.high), mean.low),
                    Cell(
                        formats.share(chance.estimate) if chance else formats.NONE, chance.estimate if chance else None
                    ),
                    Cell(_chance(chance), chance.low if chance else None),
                )
            )
        )
    return make_table("overall", f"All {len(material.tasks)} data sets", columns, rows, notes=(note(overall),))


def note(overall: Overall) -> str:
    """What the figures mean and how far they carry."""
    tasks, found = len(overall.material.tasks), overall.friedman
    text = f"Exploratory. Ranks of mean test MAP@R over {tasks} data sets"
    if tasks < ENOUGH_TASKS:
        text += f"; {tasks} are too few to test ranks ({ENOUGH_TASKS} would do): a description. "
    else:
        text += (
            f"; ranks closer than the critical difference of {formats.score(overall.critical_difference, 2)} (Nemenyi, "
            "5 %) were not told apart"
        )
        text += f"; Friedman {formats.p_text(found.p)}. " if found and found.p == found.p else ". "
    return text + (
        "Inter-quartile mean and chance of improvement as in Agarwal et al. 2021; intervals resample studies within "
        "data sets and speak of these data sets, not of others."
    )


def _chance(found: Aggregate | None) -> str:
    if found is None:
        return formats.NONE
    if not (np.isfinite(found.low) and np.isfinite(found.high)):
        return "every run alike" if found.estimate in (0.0, 1.0) else formats.NONE
    return f"[{formats.share(found.low).removesuffix(' %')}, {formats.share(found.high)}]"
