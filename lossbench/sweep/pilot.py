"""`epochs = "auto"`: how long to train, found before any comparison and the same for all of it.

Every recipe trains at its default, on every task, for some 100 steps, then for twice as many, and so on. A recipe needs
the first number of steps that twice and four times as many, taken together, do not improve on: the mean of their
validation MAP@R is not higher by more than the tolerance. One doubling alone would stop a recipe that starts slowly,
and the better of the two would follow the luck of a small validation split: with 80 queries to 256 times the steps.
The longest need of all counts. A run has the whole schedule: what is compared is what a study would do with so many
epochs. The runs take place on the deal of study 1 with a seed of the pilot's own, see validation only, and choose
nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, Protocol

from lossbench.specification.plan import Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.task import Task
from lossbench.sweep.jobs import Job
from lossbench.sweep.study import Study

FIRST_STEPS = 100  # or one epoch, where that is more
DOUBLINGS = 8  # to 256 times as many: whoever needs more says so in the file
AHEAD = 2  # doublings that together must not help
TOLERANCE = 0.01  # of MAP@R: twice the region of practical equivalence, as one run a rung is noisy
LUCK = 0.15  # over the root of the queries: half a standard error, average precisions of queries spreading by about 0.3


class Need(Protocol):
    """`Feed.need`."""

    def __call__(self, jobs: Sequence[Job], *, then: Callable[[list[float | None]], None]) -> None:
        """Have these runs; call `then` with their validation scores."""


class Pilot:
    """The ladders of all recipes and tasks.

    Attributes:
        scores: task and recipe to the scores of its rungs so far, None where a run failed.
        epochs: what all of the experiment takes; None while a ladder is being climbed.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ladders = [(task, recipe) for task in plan.experiment.tasks for recipe in plan.recipes]
        self.scores: dict[tuple[str, str], list[float | None]] = {}
        self.epochs: int | None = None

    def begin(self, need: Need, then: Callable[[int], None]) -> None:
        """Climb every ladder; `then` gets the number of epochs."""
        for task, recipe in self._ladders:
            self._climb(task, recipe, need, then)

    def document(self) -> dict[str, Any]:
        """What the plan file keeps: the epochs, and each recipe's need with the scores that it follows from."""
        return {
            "epochs": self.epochs,
            "needs": [self._found(task, recipe) for task, recipe in self._ladders],
        }

    def _found(self, task: Task, recipe: Recipe) -> dict[str, Any]:
        scores = self.scores.get((task.key, recipe.name), [])
        return {
            "task": task.key,
            "recipe": recipe.name,
            "epochs": self._need(task, recipe),
            "tolerance": self._tolerance(task),
            "settled": self._settled(task, scores) is not None,
            "rungs": [list(rung) for rung in zip(self.rungs(task), scores, strict=False)],
        }

    def rungs(self, task: Task) -> list[int]:
        """Epochs of each run of a ladder, ascending."""
        first = -(-FIRST_STEPS // self._plan.steps_an_epoch(task))
        return [first * 2**doubling for doubling in range(DOUBLINGS + 1)]

    def _climb(self, task: Task, recipe: Recipe, need: Need, then: Callable[[int], None]) -> None:
        """The next rungs of a ladder: the first three at once, then one after the other."""
        known = self.scores.setdefault((task.key, recipe.name), [])
        rungs = self.rungs(task)
        until = max(AHEAD + 1, len(known) + 1)
        jobs = [self._job(task, recipe, number, rungs[number]) for number in range(len(known), min(until, len(rungs)))]

        def arrived(scores: list[float | None]) -> None:
            known.extend(scores)
            if self._settled(task, known) is None and len(known) < len(rungs) and None not in known:
                self._climb(task, recipe, need, then)
            else:
                self._arrived(then)

        need(jobs, then=arrived)

    def _arrived(self, then: Callable[[int], None]) -> None:
        """One ladder is climbed; after the last one the longest need counts for all."""
        needs = [self._need(task, recipe) for task, recipe in self._ladders]
        if self.epochs is None and None not in needs:
            self.epochs = max(need for need in needs if need is not None)
            then(self.epochs)

    def _need(self, task: Task, recipe: Recipe) -> int | None:
        """Epochs that a recipe needs; None while its ladder is being climbed. The longest where nothing settles."""
        scores, rungs = self.scores.get((task.key, recipe.name), []), self.rungs(task)
        if (found := self._settled(task, scores)) is not None:
            return rungs[found]
        if None in scores:
            return rungs[0]  # it fails at its default, and says nothing of how long others need
        return rungs[-1] if len(scores) == len(rungs) else None

    def _settled(self, task: Task, scores: Sequence[float | None]) -> int | None:
        return needed(scores, self._tolerance(task))

    def _tolerance(self, task: Task) -> float:
        return tolerance(self._plan.scored[task][0])

    def _job(self, task: Task, recipe: Recipe, number: int, epochs: int) -> Job:
        study = Study(self._plan, task, 1)
        training = self._plan.experiment.training.model_copy(update={"epochs": epochs})
        spec = self._plan.run_spec(
            task,
            recipe,
            recipe.defaults,
            seed=study.seed("pilot", recipe.name),
            final=False,
            deal=study.deal,
            training=training,
        )
        return Job(
            spec=spec, study=1, recipe=recipe.name, role="pilot", trial=None, number=number + 1,
            params=dict(recipe.defaults),
        )  # fmt: skip


def tolerance(queries: int) -> float:
    """By how much MAP@R of so many queries must rise to count.

    >>> tolerance(3_000), round(tolerance(80), 3)
    (0.01, 0.017)
    """
    return max(TOLERANCE, LUCK / math.sqrt(queries))


def needed(scores: Sequence[float | None], least: float) -> int | None:
    """The first rung on which the next two are not higher by more than `least`, in the mean; None so far.

    >>> needed([0.30, 0.50, 0.52, 0.525, 0.524], 0.01), needed([0.30, 0.30, 0.50], 0.01)
    (2, None)
    """
    for rung, score in enumerate(scores[: max(0, len(scores) - AHEAD)]):
        later = [other for other in scores[rung + 1 : rung + 1 + AHEAD] if other is not None]
        if score is not None and len(later) == AHEAD and fmean(later) - score <= least:
            return rung
    return None
