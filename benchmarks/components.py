"""Where does an effect's variance come from: every search under every split, which an ordinary study keeps together.

The points that the first studies of the ablation chose are trained on the deals of all these studies, with the seeds
of the deal's own final runs. The ablation must be in the folder: `lossbench run ablation --into DIR` before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.measure import ABLATION
from lossbench.executors.processes import ProcessExecutor
from lossbench.executors.threads import available_cores
from lossbench.specification.plan import Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import RunSpec
from lossbench.specification.task import Task
from lossbench.specification.values import Value
from lossbench.statistics.components import (
    Components,
    Crossed,
    Prices,
    Search,
    crossed_components,
    spendings,
    variance_components,
)
from lossbench.statistics.effects import FloatArray
from lossbench.store import Store
from lossbench.sweep import launch
from lossbench.sweep.driver import driving
from lossbench.sweep.estimate import survey
from lossbench.sweep.feed import execute_spec
from lossbench.sweep.jobs import final_score
from lossbench.sweep.study import Study

CROSSED = 5  # searches, and splits
SEEDS = 2
SPENDINGS = 6  # lines

Points = Mapping[tuple[str, int], Mapping[str, Value]]  # recipe and study to its chosen point
Cell = tuple[str, int, int, int]  # recipe, search, split, seed


def run(into: Path, workers: int | None = None) -> Iterator[str]:
    """Run what is missing, then the lines of the table."""
    store = Store(into / "runs")
    plan = survey(launch.prepare(ABLATION, [], []), store).plan
    stored = store.read_plan(plan.experiment.name)
    for task in plan.experiment.tasks:
        specs = _cells(plan, task, chosen_points(stored, task))
        with driving(store.root, plan.experiment.name):
            _complete(store, list(specs.values()), workers or available_cores())
        scores = {cell: final_score(store.read(spec.run_id) or {"status": "failed"}) for cell, spec in specs.items()}
        yield from lines(plan, task, scores, prices_of(store, stored, task))


def chosen_points(stored: Mapping[str, Any], task: Task) -> Points:
    """What each search of the first studies chose, from the plan file."""
    return {
        (row["recipe"], row["study"]): row["params"]
        for row in _rows(stored, task)
        if row["role"] == "final" and row["seed"] == 1 and row["study"] <= CROSSED
    }


def _cells(plan: Plan, task: Task, points: Points) -> dict[Cell, RunSpec]:
    studies = range(1, CROSSED + 1)
    return {
        (recipe.name, search, split, number): Study(plan, task, split).final(
            recipe, points[recipe.name, search], number, whole=False
        )
        for recipe, search, split, number in product(plan.recipes, studies, studies, range(1, SEEDS + 1))
    }


def _complete(store: Store, specs: list[RunSpec], workers: int) -> None:
    """Run and store what is not stored yet."""
    missing = [spec for spec in {spec.run_id: spec for spec in specs}.values() if store.read(spec.run_id) is None]
    executor = ProcessExecutor(workers, preload=launch.PRELOAD)
    try:
        for future in [executor.submit(execute_spec, spec) for spec in missing]:
            record, kept = future.result()
            store.write(record, **kept)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def lines(plan: Plan, task: Task, scores: Mapping[Cell, float | None], prices: Prices) -> Iterator[str]:
    budget = plan.experiment.budget
    reference, *others = plan.recipes
    found = {recipe.name: crossed_effects(scores, recipe, reference) for recipe in others}
    yield f"{task.key}: variances of an effect against {reference.name}, in 1e-6 (standard deviation of one final run)"
    for name, effects in found.items():
        yield f"  {name:<22}{_parts(crossed_components(effects))}"
    typical = _together(median, [of_studies(effects) for effects in found.values()])
    search = Search(trials=budget.trials, candidates=budget.candidates, candidate_seeds=budget.candidate_seeds)
    spent = budget.studies.most * search.seconds(budget.seeds, prices)
    yield f"  what {spent:.0f} CPU seconds a recipe buy by this search: half-width of a median effect's 95 % interval"
    for bought in spendings({search: typical}, prices, spent)[:SPENDINGS]:
        yield f"    {bought.studies} studies of {bought.seeds} final runs: {bought.half_width:.4f}"


def crossed_effects(scores: Mapping[Cell, float | None], recipe: Recipe, reference: Recipe) -> FloatArray:
    """(searches, splits, seeds) differences: both recipes by the same study's search, on the same deal and seed."""
    studies = range(1, CROSSED + 1)

    def score(name: str, search: int, split: int, seed: int) -> float:
        found = scores[name, search, split, seed]
        return np.nan if found is None else found

    return np.array(
        [
            [
                [score(recipe.name, *at, seed) - score(reference.name, *at, seed) for seed in range(1, SEEDS + 1)]
                for at in product([search], studies)
            ]
            for search in studies
        ]
    )


def of_studies(effects: FloatArray) -> Components:
    """Components as an ordinary report has them, of search k on split k; averaged over all ways to pair the two."""
    shifted = [
        variance_components(np.array([effects[(row + shift) % CROSSED, row] for row in range(CROSSED)]))
        for shift in range(CROSSED)
    ]
    return _together(mean, shifted)


def _together(how: Callable[[list[float]], float], found: list[Components]) -> Components:
    study, seed = how([one.study for one in found]), how([one.seed for one in found])
    return Components(study=study, seed=seed, classes=0.0, studies=CROSSED, seeds=SEEDS)


def _parts(one: Crossed) -> str:
    parts = {"search": one.search, "split": one.split, "both": one.both, "seed": one.seed}
    return "  ".join(f"{name} {1e6 * part:6.1f} ({part**0.5:.4f})" for name, part in parts.items())


def prices_of(store: Store, stored: Mapping[str, Any], task: Task) -> Prices:
    def seconds(role: str) -> float:
        runs = {row["run_id"] for row in _rows(stored, task) if row["role"] == role}
        return mean(float(record["cost"]["run_cpu_s"]) for run in sorted(runs) if (record := store.read(run)))

    return Prices(trial_s=seconds("trial"), candidate_s=seconds("candidate"), final_s=seconds("final"))


def _rows(stored: Mapping[str, Any], task: Task) -> Iterator[Mapping[str, Any]]:
    return (row for row in stored["rows"] if f"{row['dataset']}/{row['protocol']}" == task.key)
