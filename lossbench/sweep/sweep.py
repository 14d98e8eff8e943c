"""An experiment from plan to stored results: asks the studies, feeds the executor, stores what arrives."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lossbench.executors.processes import WorkerDiedError
from lossbench.plugins import Choice, Float, Plugin, PluginError, Range, registry
from lossbench.run.clock import TimeLimitError
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.plan import TUNING_SEED, Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import SCHEMA, RunSpec, Task, Value, to_json
from lossbench.store import Store, StoreError
from lossbench.sweep.registration import register
from lossbench.sweep.tuning import Study, export, is_export

MAX_ATTEMPTS = 3
AHEAD = 1  # calls queued for each worker beyond the one it runs, so that it never waits for the driver
FEED_S = 5.0  # how often workers that joined meanwhile are looked for
PLAN_EVERY_S, PLAN_SHARE = 10.0, 50  # the plan is written while runs go on, in at most a fiftieth of the time
FINAL_ROLES = ("final", "default")  # runs that score test
TRIAL, OTHER = 0, 1  # trials first: everything else waits for nobody

Record = dict[str, Any]


class Progress(Protocol):
    """Who watches a sweep."""

    def start(self, total: int, workers: int) -> None:
        """Called once, before the first run, with the number of planned runs."""

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        """Called for each planned run that is there."""

    def message(self, text: str) -> None:
        """One line worth telling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run and the role it plays: one row of the results table."""

    spec: RunSpec
    recipe: str
    role: str
    trial: int | None
    params: dict[str, Value] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The row of the plan file."""
        return {
            "dataset": self.spec.task.dataset,
            "protocol": self.spec.task.key.removeprefix(f"{self.spec.task.dataset}/"),
            "recipe": self.recipe,
            "role": self.role,
            "trial": self.trial,
            "seed": self.spec.seed,
            "fold": self.spec.fold,
            "run_id": self.spec.run_id,
            "params": self.params,
        }


def study_name(task: Task, recipe: Recipe) -> str:
    """`glyphs/open-set softmax+center`."""
    return f"{task.key} {recipe.name}"


class Sweep:
    """One execution of a plan. `run()` returns when every planned run is stored."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        executor: Executor,
        progress: Progress,
        *,
        retry_failed: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.store, self.executor, self.progress = plan, store, executor, progress
        self.retry_failed, self._beat = retry_failed, beat
        self.jobs: list[Job] = []
        self.studies: dict[str, Study] = {}
        self._waiting: dict[str, list[Callable[[Record], None]]] = {}
        self._queue: list[tuple[int, int, RunSpec]] = []
        self._flying: dict[Future[Any], RunSpec] = {}
        self._attempts: dict[str, int] = {}
        self._order = itertools.count()
        self._executed = 0
        self._plan_cost_s = 0.0
        self._planned_at = time.monotonic()

    def run(self) -> None:
        """Run what is missing. Results are stored the moment they arrive; stopping loses only runs in flight."""
        earlier = planned_before(self.plan, self.store)
        self.progress.start(planned_runs(self.plan), getattr(self.executor, "workers", 1))
        self.need_all()
        self._report_stale(earlier)
        self._register_claims(earlier)
        self._write_plan()
        try:
            self._work()
        except BaseException:
            with contextlib.suppress(OSError):  # perhaps the very reason
                self._write_plan()
            raise
        if self._executed:
            self._write_plan()
        database = self.store.root / "experiments" / f"{self.plan.experiment.name}.optuna.db"
        if self._executed or not is_export(database):
            self._export(database)

    def need_all(self) -> None:
        """Have all planned runs that can be named yet; studies go on as their trials arrive."""
        for task in self.plan.experiment.tasks:
            for recipe in self.plan.recipes:
                self._begin_study(task, recipe)
        for task in self.plan.experiment.tasks:
            for name, spec in self.plan.baseline_specs(task):
                self._need([Job(spec=spec, recipe=name, role="baseline", trial=None)])
            for recipe in self.plan.recipes:
                self._need_finals(task, recipe, "default", 0, dict(recipe.defaults))

    def _export(self, database: Path) -> None:
        """The studies for optuna-dashboard; nothing reads them back, so nothing hangs on it."""
        try:
            export({name: study.study for name, study in self.studies.items()}, database)
        except Exception as error:  # SQLAlchemy's own errors, such as a full disk
            self.progress.message(f"{database}: not written: {str(error).splitlines()[0]}")

    def _begin_study(self, task: Task, recipe: Recipe) -> None:
        study = Study(recipe, self.plan.experiment.budget.trials, seed=TUNING_SEED)
        self.studies[study_name(task, recipe)] = study
        self._next_generation(task, study)

    def _next_generation(self, task: Task, study: Study) -> None:
        """Ask a generation; when all of it is there, tell it and go on: to the next, or to the final runs."""
        recipe, first = study.recipe, len(study.points)
        jobs = [
            Job(
                spec=self.plan.run_spec(task, recipe, values, seed=TUNING_SEED, final=False),
                recipe=recipe.name,
                role="trial",
                trial=first + position,
                params=values,
            )
            for position, values in enumerate(study.ask())
        ]

        def told(records: list[Record]) -> None:
            study.tell([objective(record) for record in records])
            if not study.done:
                self._next_generation(task, study)
                return
            best = study.points.index(study.best)
            self._need_finals(task, recipe, "final", best, study.best)

        self._need(jobs, then=told, priority=TRIAL)

    def _need_finals(self, task: Task, recipe: Recipe, role: str, trial: int, values: dict[str, Value]) -> None:
        seeds = self.plan.final_seeds
        first = self.plan.run_spec(task, recipe, values, seed=seeds[0], final=True)
        self._need(
            Job(
                spec=replace(first, seed=seed, fold=fold),
                recipe=recipe.name,
                role=role,
                trial=trial,
                params=values,
            )
            for fold, seed in itertools.product(task.final_folds, seeds)
        )

    def _need(
        self,
        jobs: Iterable[Job],
        *,
        then: Callable[[list[Record]], None] | None = None,
        priority: int = OTHER,
    ) -> None:
        """Have these runs; call `then` with their records, in order, once all are there."""
        jobs = list(jobs)
        self.jobs += jobs
        records: dict[int, Record] = {}

        def arrived(position: int, record: Record, *, reused: bool) -> None:
            self.progress.finished(jobs[position], record, reused=reused)
            if then is None:
                return  # nobody waits for all of them: thousands of final runs are not kept in memory
            records[position] = record
            if len(records) == len(jobs):
                then([records[index] for index in range(len(jobs))])

        for position, job in enumerate(jobs):
            run_id = job.spec.run_id
            record = self.store.read(run_id)
            if record is not None and not (self.retry_failed and record["status"] == "failed"):
                arrived(position, record, reused=True)
                continue
            if run_id not in self._waiting:
                if run_id in self.store.damaged:
                    self.progress.message(f"run {run_id}: what is stored is damaged; it is run again")
                heapq.heappush(self._queue, (priority, next(self._order), job.spec))
            self._waiting.setdefault(run_id, []).append(
                lambda record, position=position: arrived(position, record, reused=False)  # type: ignore[misc]
            )

    def _work(self) -> None:
        """Keep the workers fed until nothing is wanted any more."""
        while self._queue or self._flying:
            limit = getattr(self.executor, "workers", 1) * (1 + AHEAD)
            while self._queue and len(self._flying) < limit:
                _, _, spec = heapq.heappop(self._queue)
                self._flying[self.executor.submit(execute_spec, spec)] = spec
            for future in wait(self._flying, FEED_S, return_when=FIRST_COMPLETED).done:
                self._land(future, self._flying.pop(future))
            self._beat()
            if time.monotonic() - self._planned_at > max(PLAN_EVERY_S, PLAN_SHARE * self._plan_cost_s):
                self._write_plan()

    def _land(self, future: Future[Any], spec: RunSpec) -> None:
        """Store a result; send a run whose worker died again, up to three times."""
        try:
            record, extras = future.result()
        except WorkerDiedError as error:
            attempts = self._attempts[spec.run_id] = self._attempts.get(spec.run_id, 0) + 1
            self.progress.message(f"run {spec.run_id}: {error}; attempt {attempts} of {MAX_ATTEMPTS}")
            if attempts < MAX_ATTEMPTS:
                heapq.heappush(self._queue, (TRIAL, next(self._order), spec))
                return
            record, extras = failed_record(spec, f"{error}, {attempts} times"), {}
        except TimeLimitError as error:
            record, extras = failed_record(spec, f"{error} (training.time_limit_s)"), {}
        self._executed += 1
        self.store.write(record, **extras)
        for callback in self._waiting.pop(spec.run_id):
            callback(self.store.read(spec.run_id) or record)

    def _write_plan(self) -> None:
        """Keep the plan as far as it is known; on the way as often as costs little."""
        started = time.monotonic()
        self.store.write_plan(plan_document(self.plan, self.jobs))
        self._planned_at = time.monotonic()
        self._plan_cost_s = self._planned_at - started

    def _register_claims(self, earlier: list[dict[str, Any]]) -> None:
        """Register what the experiment claims; post hoc where a final run of this or an earlier plan is stored."""
        experiment, rows = self.plan.experiment, itertools.chain(earlier, (job.row() for job in self.jobs))
        seen = any(self.store.read(row["run_id"]) is not None for row in rows if row["role"] in FINAL_ROLES)
        for text in register(self.store, experiment.name, experiment.claims, seen=seen):
            self.progress.message(f"post hoc, as final runs were already there: {text}")

    def _report_stale(self, earlier: list[dict[str, Any]]) -> None:
        """One line about results of the same runs under other code, data or libraries."""
        reasons = stale_reasons(self.plan, self.store, earlier, self.jobs)
        if reasons:
            why = ", ".join(sorted({reason for found in reasons.values() for reason in found}))
            self.progress.message(f"{len(reasons)} stored runs will be repeated: {why} changed")


def objective(record: Record) -> float | None:
    """What tuning maximizes: validation MAP@R on the sphere at the best epoch; None for a failed run."""
    if record["status"] == "failed":
        return None
    return float(record["metrics"]["val"]["sphere.map_at_r"])


def planned_runs(plan: Plan) -> int:
    """Rows of the results table of a whole experiment; rows that turn out identical share one run."""
    return sum(trials + finals for trials, finals in map(plan.run_counts, plan.experiment.tasks))


def plan_document(plan: Plan, jobs: Iterable[Job]) -> dict[str, Any]:
    """The content of `runs/experiments/<name>.json`: the resolved experiment and the role of every run."""
    experiment = plan.experiment
    losses = [plugin for recipe in plan.recipes for plugin in recipe.losses]
    return {
        "schema": SCHEMA,
        "name": experiment.name,
        "experiment": experiment.model_dump(mode="json"),
        "recipes": [
            {
                "name": recipe.name,
                "losses": [plugin.name for plugin in recipe.losses],
                "sampler": recipe.sampler,
                "searched": {name: _range_document(allowed) for name, allowed in recipe.searched.items()},
                "defaults": dict(recipe.defaults),
            }
            for recipe in plan.recipes
        ],
        "planned_runs": planned_runs(plan),
        "train_images": {task.key: size for task, size in plan.train_sizes.items()},
        "provenance": {
            task.key: asdict(plan.provenance(task, losses, experiment.backbone)) for task in experiment.tasks
        },
        "rows": [job.row() for job in jobs],
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
    experiment, libraries = plan.experiment, [*map(list, library_versions())]
    settings = experiment.training.model_dump(), experiment.embedding_dim
    tasks = [(task.model_dump(), plan.checksums[task]) for task in experiment.tasks]
    code_of = lru_cache(_code_of)
    found: dict[str, list[str]] = {}
    today = {job.spec.run_id for job in jobs}
    for run_id in dict.fromkeys(row["run_id"] for row in earlier if row["run_id"] not in today):
        record = store.read(run_id)
        spec = record["spec"] if record else {}
        data = next((checksum for task, checksum in tasks if spec.get("task") == task), None)
        if data is None or (spec["training"], spec["embedding_dim"]) != settings:
            continue
        code = code_of(spec["backbone"], tuple(term["loss"] for term in spec["terms"]))
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


def failed_record(spec: RunSpec, reason: str) -> Record:
    """The record of a run whose worker died too often."""
    return {
        "schema": SCHEMA,
        "run_id": spec.run_id,
        "key": spec.key,
        "status": "failed",
        "error": reason,
        "spec": to_json(spec),
    }


def execute_spec(spec: RunSpec) -> tuple[Record, dict[str, Any]]:
    """What a worker calls; torch is imported there, not in the driver."""
    from lossbench.run.execution import execute

    result = execute(spec)
    return result.record, {"arrays": result.arrays, "audit": result.audit, "checkpoint": result.checkpoint}


def _range_document(allowed: Range) -> dict[str, Any]:
    if isinstance(allowed, Choice):
        return {"options": list(allowed.options)}
    return {"low": allowed.low, "high": allowed.high, "log": isinstance(allowed, Float) and allowed.log}
