"""The cost probe from the driver's side: what is measured, where it is kept, when it is repeated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from lossbench.specification.plan import Plan
from lossbench.specification.spec import SCHEMA, RunSpec, Term, canonical
from lossbench.specification.task import Task
from lossbench.store import Store

VERSION = 4  # of the way in which the probe measures


PROBE_SEED = 0  # of batches and initial weights


def probe_specs(plan: Plan, store: Store, task: Task) -> dict[str, RunSpec]:
    """A run of each recipe at the point of its median study; recipes without final runs are left out."""
    points = median_points(plan, store, task)
    return {
        recipe.name: plan.run_spec(
            task,
            recipe,
            {**recipe.defaults, **points[recipe.name]["params"]},  # an older plan may not know every parameter
            seed=PROBE_SEED,
            final=False,
        )
        for recipe in plan.recipes
        if recipe.name in points
    }


def median_points(plan: Plan, store: Store, task: Task) -> dict[str, Mapping[str, Any]]:
    """Of each recipe that has any, the first final row of its median study."""
    place = (task.dataset, task.key.removeprefix(f"{task.dataset}/"))
    finals: dict[str, list[Mapping[str, Any]]] = {}
    for row in store.read_plan(plan.experiment.name)["rows"]:
        if (row["role"], row["seed"]) == ("final", 1) and (row["dataset"], row["protocol"]) == place:
            finals.setdefault(row["recipe"], []).append(row)
    return {recipe: _median(store, rows) for recipe, rows in finals.items()}


def _median(store: Store, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row of the median score on validation, the lower of two; failed runs are the lowest."""

    def score(row: Mapping[str, Any]) -> float:
        found = (store.read(row["run_id"]) or {}).get("metrics", {}).get("val", {}).get("sphere.map_at_r")
        return -math.inf if found is None else float(found)

    return sorted(rows, key=lambda row: (score(row), row["study"]))[(len(rows) - 1) // 2]


def run_probe(plan: Plan, store: Store, executor: Executor, *, again: bool = False) -> list[str]:
    """Measure the training steps of every task that was not measured as it is now; nothing else may be running.

    Args:
        again: measure also what is measured already.

    Returns:
        One line for each recipe that could not be measured.
    """
    name = plan.experiment.name
    document = store.read_probe(name) or {"schema": SCHEMA, "experiment": name, "tasks": {}, "scaling": None}
    lines = []
    for task in plan.experiment.tasks:
        specs = probe_specs(plan, store, task)
        key = _key(specs)
        if not specs or (document["tasks"].get(task.key, {}).get("key") == key and not again):
            continue
        found = executor.submit(_measure_steps, specs).result()
        studies = {recipe: row["study"] for recipe, row in median_points(plan, store, task).items()}
        document["tasks"][task.key] = {"key": key, "studies": studies, **found}
        lines += [f"cost probe, {task.key}, {recipe}: {why}" for recipe, why in found["failed"].items()]
        store.write_probe(name, document)
    return lines


def run_scaling(plan: Plan, store: Store, executor: Executor) -> None:
    """Measure how each loss scales with batch size, dimension and classes; `run_probe` comes first."""
    name = plan.experiment.name
    document = store.read_probe(name)
    if document is None:
        return
    terms: dict[str, Term] = {}
    for task in plan.experiment.tasks:
        for spec in probe_specs(plan, store, task).values():
            found = [term for stage in spec.stages for term in stage.terms]
            terms |= {term.loss: term for term in found if term.loss not in terms}
    device = plan.experiment.training.device
    document["scaling"] = executor.submit(_measure_scaling, list(terms.values()), plan.plugin_files, device).result()
    store.write_probe(name, document)


def _key(specs: Mapping[str, RunSpec]) -> str:
    content = {"version": VERSION, "runs": {name: spec.run_id for name, spec in specs.items()}}
    return hashlib.sha256(canonical(content)).hexdigest()[:16]


def _measure_steps(specs: Mapping[str, RunSpec]) -> dict[str, Any]:
    """What the worker calls; torch is imported there, not in the driver."""
    from lossbench.run.measuring import measure_steps

    return measure_steps(specs)


def _measure_scaling(terms: list[Term], plugin_files: tuple[str, ...], device: str) -> dict[str, Any]:
    from lossbench.run.measuring import measure_scaling

    return measure_scaling(terms, plugin_files, device)
