"""The cost probe from the driver's side: what is measured, where it is kept, when it is repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from lossbench.specification.plan import TUNING_SEED, Plan
from lossbench.specification.spec import SCHEMA, RunSpec, Task, Term, canonical
from lossbench.store import Store

VERSION = 3  # of the way in which the probe measures


def probe_specs(plan: Plan, store: Store, task: Task) -> dict[str, RunSpec]:
    """A run of each recipe at the values that its final runs use; recipes without final runs are left out."""
    rows = store.read_plan(plan.experiment.name)["rows"]
    place = (task.dataset, task.key.removeprefix(f"{task.dataset}/"))
    chosen = {
        row["recipe"]: row["params"]
        for row in rows
        if row["role"] == "final" and (row["dataset"], row["protocol"]) == place
    }
    return {
        recipe.name: plan.run_spec(
            task,
            recipe,
            {**recipe.defaults, **chosen[recipe.name]},  # an older plan may not know every parameter
            seed=TUNING_SEED,
            final=False,
        )
        for recipe in plan.recipes
        if recipe.name in chosen
    }


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
        document["tasks"][task.key] = {"key": key, **found}
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
            terms |= {term.loss: term for term in spec.terms if term.loss not in terms}
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
