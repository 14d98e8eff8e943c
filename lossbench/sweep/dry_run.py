"""What an experiment would do, in lines: its data, its recipes, its runs and their time."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lossbench.specification.budget import Budget
from lossbench.specification.plan import Plan
from lossbench.specification.primary import most_queries
from lossbench.specification.recipes import Recipe
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training
from lossbench.store import Store
from lossbench.sweep import estimate
from lossbench.sweep.placing import worker_count
from lossbench.sweep.plan_file import planned_before, stale_reasons
from lossbench.sweep.progress import duration

FITS = {
    "crop": "their middle square",
    "pad": "the whole on a gray square",
    "stretch": "the whole, stretched to a square",
}
FEW_STEPS = 100  # of a run, below which a dry run warns


def describe(plan: Plan, store: Store, workers: int | None) -> str:
    """What a run would do and about how long it would take. Nothing is run or written."""
    looked = estimate.survey(plan, store)
    plan, experiment = looked.plan, looked.plan.experiment
    count = worker_count(experiment, workers) or 1
    lines = [f"{experiment.name}: {experiment.question}".rstrip(": ")]
    for task in experiment.tasks:
        lines += [_described(plan, task), *(f"  warning: {warning}" for warning in too_few_steps(plan, task))]
    for recipe in plan.recipes:
        lines.append(f"  recipe {recipe.name}: {recipe.sampler} batches; tunes {_tuned(recipe, experiment.budget)}")
    lines.append(f"  {_budget(plan)}")
    part = "" if plan.share == (1, 1) else f" in part {plan.share[0]} of {plan.share[1]} of the studies"
    ends = [looked.planned] if looked.most == looked.planned else [looked.planned, looked.most]
    runs = _range(str(planned.total()) for planned in ends)
    lines.append(f"{runs} planned runs{part}, {len(looked.found)} of them done")
    left_s = [estimate.seconds_left(looked, planned) for planned in ends]
    on = f"on {_counted(count, 'worker')}"
    lines.append(f"time not known yet {on}: the pilot comes first" if math.isnan(left_s[0]) else
                 f"about {_range(duration(seconds / count) for seconds in left_s)} {on}")  # fmt: skip
    if stale := stale_reasons(plan, store, planned_before(plan, store), [job for job, _ in looked.found]):
        lines.append(f"{len(stale)} stored runs would be repeated")
    return "\n".join(lines)


def _range(texts: Iterable[str]) -> str:
    """`8 min`, or `8 min to 21 min` where a race or a look decides how much is done."""
    return " to ".join(dict.fromkeys(texts))


def _described(plan: Plan, task: Task) -> str:
    """What a dry run says of a task's data and of how long it trains."""
    training = plan.experiment.training
    per_epoch, (val, test) = plan.steps_an_epoch(task), plan.scored[task]
    train = plan.splits[task]["train"][1]
    learnt, chosen_on, tested = (plan.splits[task][part][0] for part in ("train", "val", "test"))
    samples = "vectors" if task in plan.vectors else "images"
    dealt = f"training and validation are {'dealt anew by' if task in plan.deals else 'the same in'} every study"
    if task in plan.folds:
        dealt = f"a study is one of {plan.folds[task]} folds, of which these are the last one's sizes"
    most = most_queries(test)
    among_all = task.protocol != "query-gallery"  # there the roles of the samples say who asks whom
    asking = f"; {most} samples of test, drawn once, ask all of it" if among_all and test > most else ""
    least = "at least " if task in plan.folds else ""
    steps = "steps a run not known yet" if training.piloted else f"{least}{per_epoch * training.epochs} steps a run"
    return (
        f"  task {task.key}: {train} training, {val} validation and {test} test {samples} of "
        f"{learnt}, {chosen_on} and {tested} classes{_squares(task, training)}; {dealt}"
        f"{asking}; {steps} ({per_epoch} an epoch)"
    )


def _squares(task: Task, training: Training) -> str:
    """How pictures of one's own become squares, if they do."""
    size = task.input_size or training.input_size
    if size is None or task.dataset.partition(":")[0] not in ("folder", "csv", "huggingface"):
        return ""
    return f", {FITS[task.fit]} at {size} x {size} pixels"


def _tuned(recipe: Recipe, budget: Budget) -> str:
    """`lr, lambda in 6 trials a study`, or `nothing`."""
    named = ", ".join(recipe.searched)
    return f"{named} in {_counted(budget.trials, 'trial')} a study" if named else "nothing"


def _budget(plan: Plan) -> str:
    """What a dry run says of the studies, and of what a recipe gets in one."""
    budget = plan.experiment.budget
    least, most = budget.studies.least, budget.studies.most
    studies = f"{least} to {most} studies, as many as decide the top" if least < most else _counted(least, "study")
    again = (
        f"{_counted(budget.candidates, 'trial')} and the default again with "
        f"{_counted(budget.candidate_seeds, 'fresh seed')}, then "
    )
    longer = f"; twice the epochs too in {_counted(min(budget.longer, most), 'study')}" if budget.longer else ""
    racing = "; recipes clearly beaten leave" if budget.racing else ""
    chosen = budget.trials > 1 and any(recipe.searched for recipe in plan.recipes)
    finals = f"{again if chosen else ''}{_counted(budget.seeds, 'final run')}"
    return f"{studies}; of each recipe in a study {finals}{longer}{racing}"


def _counted(count: int, what: str) -> str:
    """`1 study`, `7 studies`."""
    many = what.removesuffix("y") + "ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else many}"


def too_few_steps(plan: Plan, task: Task) -> list[str]:
    """A line where a run would hardly train: below FEW_STEPS steps."""
    training, per_epoch = plan.experiment.training, plan.steps_an_epoch(task)
    if training.piloted or (steps := per_epoch * training.epochs) >= FEW_STEPS:
        return []
    enough = -(-FEW_STEPS // per_epoch)
    return [
        f"{task.key}: {steps} steps a run hardly train a network; --set training.epochs={enough} makes {FEW_STEPS} of "
        'them, "auto" finds how many are needed'
    ]
