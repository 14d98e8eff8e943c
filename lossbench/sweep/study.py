"""One study: a whole repetition of a task, with a deal, seeds and runs of its own.

Every seed is a named stream of the experiment's own (`seed` at the top of the file), the study, the task, and within a
search the recipe's name. So two tasks never share their luck and one rule under two names is searched twice. Final runs
of all recipes of a study share initial weights, batches and deal: that is the pairing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lossbench.run.seeding import stream_seed
from lossbench.specification.experiment import UNSEEDED
from lossbench.specification.plan import DEFAULTS_UNTIL, Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import RunSpec
from lossbench.specification.task import Task
from lossbench.specification.values import Value
from lossbench.sweep.tuning import Search


@dataclass(frozen=True)
class Study:
    """Study `number` (from 1) of a task."""

    plan: Plan
    task: Task
    number: int

    def seed(self, *purpose: object) -> int:
        """The seed of one purpose, 63 bits."""
        return stream_seed(self.plan.experiment.seed, "/".join(map(str, (self._task, self.number, *purpose))))

    @cached_property
    def _task(self) -> str:
        """The task by what it is: data that have a path are known by their content, wherever they lie."""
        name, colon, _ = self.task.dataset.partition(":")
        content = f"{name}:{self.plan.checksums[self.task]}" if colon else name
        return self.task.key.replace(self.task.dataset, content)

    @cached_property
    def deal(self) -> int | None:
        """The seed of the study's training and validation split; None where all studies have one split."""
        return self.seed("deal") if self.task in self.plan.deals else None

    @property
    def fold(self) -> int | None:
        """The fold that the study tests on; None where the task has one test."""
        return self.number - 1 if self.task in self.plan.folds else None

    @property
    def has_defaults(self) -> bool:
        """Whether the default point has final runs beside the chosen one."""
        return self.number <= DEFAULTS_UNTIL

    @property
    def has_longer(self) -> bool:
        """Whether the chosen points are trained for twice the epochs too."""
        return self.number <= self.plan.experiment.budget.longer

    def search(self, recipe: Recipe) -> Search:
        """A new search of a recipe."""
        return Search(
            recipe,
            self.plan.experiment.budget.trials,
            rates_seed=self.seed("rates"),
            seed=self.seed("search", recipe.name),
        )

    def trial(self, recipe: Recipe, values: Mapping[str, Value]) -> RunSpec:
        """A point of the search."""
        seed = self.seed("trial", recipe.name)
        return self.plan.run_spec(self.task, recipe, values, seed=seed, final=False, deal=self.deal)

    def candidate(self, recipe: Recipe, values: Mapping[str, Value], number: int) -> RunSpec:
        """A point tried again with fresh seed `number`, the same for every candidate of the recipe."""
        seed = self.seed("candidate", recipe.name, number)
        return self.plan.run_spec(self.task, recipe, values, seed=seed, final=False, deal=self.deal)

    def final(self, recipe: Recipe, values: Mapping[str, Value], number: int, *, whole: bool) -> RunSpec:
        """Final run `number` of a point; `whole`: the first measures everything."""
        return self.plan.run_spec(
            self.task,
            recipe,
            values,
            final=True,
            whole=whole and number == 1,
            audit=whole and number == self.number == 1,
            **self._finally(number),
        )

    def longer(self, recipe: Recipe, values: Mapping[str, Value], number: int) -> RunSpec:
        """Final run `number` of a point with twice the epochs."""
        training = self.plan.experiment.training
        twice = training.model_copy(update={"epochs": 2 * training.epochs})
        where = self._finally(number)
        return self.plan.run_spec(
            self.task, recipe, values, final=True, whole=False, audit=False, training=twice, **where
        )

    def baseline(self, name: str, number: int) -> RunSpec:
        """Run `number` of a baseline; no deal and no seed enters the samples as they are."""
        if name in UNSEEDED:
            return self.plan.baseline_spec(self.task, name, seed=0, fold=self.fold)
        return self.plan.baseline_spec(self.task, name, whole=number == 1, audit=False, **self._finally(number))

    def _finally(self, number: int) -> dict[str, Any]:
        return {"seed": self.seed("final", number), "fold": self.fold, "deal": self.deal}
