"""`runs/experiments/<name>.json`: the resolved experiment, the role of every run, and what was decided on the way.

Two sweeps that did the same work write the same bytes, whatever ran it and in whatever order, but for the dates on
which claims were registered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from lossbench.plugins import Choice, Float, Plugin, PluginError, Range, registry
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.plan import Plan
from lossbench.specification.primary import family, reference
from lossbench.specification.spec import SCHEMA
from lossbench.specification.task import Task
from lossbench.store import Store, StoreError
from lossbench.sweep.jobs import ROLES, Job
from lossbench.sweep.stopping import Race
from lossbench.sweep.tuning import Chosen

Place = tuple[Task, int, str]  # task, study, recipe


def plan_document(
    plan: Plan,
    jobs: Iterable[Job],
    races: Mapping[Task, Race],
    choices: Mapping[Place, Chosen],
    *,
    planned: int,
    pilot: Mapping[str, Any] | None = None,
    claims: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The content of the plan file.

    Args:
        planned: rows of the results table, as far as studies are planned by now.
        pilot: what the pilot of `epochs = "auto"` found.
        claims: as they are registered, by their digests.
    """
    experiment = plan.experiment
    names = [recipe.name for recipe in plan.recipes]
    losses = [plugin for recipe in plan.recipes for plugin in recipe.losses]
    return {
        "schema": SCHEMA,
        "name": experiment.name,
        "file_sha256": plan.file_digest,
        "experiment": experiment.model_dump(mode="json"),
        "recipes": [
            {
                "name": recipe.name,
                "losses": [plugin.name for plugin in recipe.losses],
                "sampler": recipe.sampler,
                "searched": {name: _range_document(allowed) for name, allowed in recipe.searched.items()},
                "defaults": dict(recipe.defaults),
                **({"neck": recipe.neck, "before_neck": recipe.before_neck} if recipe.neck else {}),
                **({"negatives": recipe.negatives} if recipe.negatives < 1.0 else {}),
            }
            for recipe in plan.recipes
        ],
        "inference": {"family": family(names), "reference": reference(names)},
        "planned_runs": planned,
        "studies": {task.key: race.until for task, race in races.items()},
        "looks": {task.key: [asdict(look) for look in race.looks] for task, race in races.items()},
        "dropped": {task.key: race.dropped for task, race in races.items()},
        "choices": [_choice_document(place, choices[place]) for place in sorted(choices, key=_order(plan))],
        "pilot": pilot,
        "claims": claims or {},
        "train_images": {task.key: size for task, size in plan.train_sizes.items()},
        **({"weights": plan.weights} if plan.weights else {}),
        "splits": {
            task.key: {part: {"classes": classes, "samples": samples} for part, (classes, samples) in parts.items()}
            for task, parts in plan.splits.items()
        },
        "provenance": {
            task.key: asdict(plan.provenance(task, losses, experiment.backbone)) for task in experiment.tasks
        },
        "rows": [job.row() for job in sorted(jobs, key=_row_order(plan))],
    }


def planned_before(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """The rows of this experiment's last plan; none where there is no such plan to read."""
    try:
        return list(store.read_plan(plan.experiment.name)["rows"])
    except StoreError:
        return []


def stale_reasons(
    plan: Plan, store: Store, earlier: Iterable[Mapping[str, Any]], jobs: Iterable[Job]
) -> dict[str, list[str]]:
    """Runs planned before with today's settings that other code, data or libraries made.

    Args:
        earlier: as `planned_before` gives them.
        jobs: what is known to be planned today, and so is not stale.

    Returns:
        run id to what changed: `data`, `code`, `libraries`.
    """
    experiment = plan.experiment
    shares = {experiment.training.negatives, *(recipe.negatives for recipe in plan.recipes)}
    settings = [experiment.training.model_copy(update={"negatives": share}).model_dump() for share in shares]
    tasks = [(task.model_dump(), plan.checksums[task]) for task in experiment.tasks]
    code_of = lru_cache(_code_of)
    found: dict[str, list[str]] = {}
    today = {job.spec.run_id for job in jobs}
    for run_id in dict.fromkeys(row["run_id"] for row in earlier if row["run_id"] not in today):
        record = store.read(run_id)
        spec = record["spec"] if record else {}
        data = next((checksum for task, checksum in tasks if spec.get("task") == task), None)
        if data is None or spec["training"] not in settings or spec["embedding_dim"] != experiment.embedding_dim:
            continue
        stages = [spec, spec["then"]] if "then" in spec else [spec]
        code = code_of(spec["backbone"], tuple(term["loss"] for stage in stages for term in stage["terms"]))
        libraries = [*map(list, library_versions(spec["backbone"]))]
        now, before = {"data": data, "code": code, "libraries": libraries}, spec["provenance"]
        if changed := [part for part, value in now.items() if value != before[part]]:
            found[run_id] = changed
    return found


def _code_of(backbone: str, losses: tuple[str, ...]) -> str:
    """Digest of what a stored run's plugins run today; one that is no longer registered is other code by itself."""
    plugins: list[Plugin] = []
    with contextlib.suppress(PluginError):
        plugins.append(registry.find("backbone", backbone))
        plugins += [registry.find("loss", name) for name in losses]
    return code_digest(plugins)


def _choice_document(place: Place, choice: Chosen) -> dict[str, Any]:
    task, study, recipe = place
    return {"task": task.key, "study": study, "recipe": recipe, **asdict(choice)}


def _order(plan: Plan) -> Any:
    """The place of a task, study and recipe in the experiment's own order; baselines after the recipes."""
    tasks = {task: number for number, task in enumerate(plan.experiment.tasks)}
    names = {name: number for number, name in enumerate([*(r.name for r in plan.recipes), *plan.experiment.baselines])}
    return lambda place: (tasks[place[0]], place[1], names[place[2]])


def _row_order(plan: Plan) -> Any:
    place = _order(plan)
    return lambda job: (
        *place((job.spec.task, job.study, job.recipe)),
        ROLES.index(job.role),
        -1 if job.trial is None else job.trial,
        job.number,
    )


def _range_document(allowed: Range) -> dict[str, Any]:
    if isinstance(allowed, Choice):
        return {"options": list(allowed.options)}
    return {"low": allowed.low, "high": allowed.high, "log": isinstance(allowed, Float) and allowed.log}
