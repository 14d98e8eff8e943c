"""An experiment from plan to stored results: asks the searches, feeds the executor, stores what arrives."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from lossbench.executors.processes import WorkerDiedError
from lossbench.plugins import Choice, Float, Plugin, PluginError, Range, registry
from lossbench.run.clock import TimeLimitError
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.plan import Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import SCHEMA, RunSpec, Task, Value, to_json
from lossbench.store import Store, StoreError
from lossbench.sweep import stopping
from lossbench.sweep.registration import register
from lossbench.sweep.stopping import Race
from lossbench.sweep.study import Study
from lossbench.sweep.tuning import Point, Search, chosen, export, is_export

MAX_ATTEMPTS = 3
AHEAD = 1  # calls queued for each worker beyond the one it runs, so that it never waits for the driver
FEED_S = 5.0  # how often workers that joined meanwhile are looked for
PLAN_EVERY_S, PLAN_SHARE = 10.0, 50  # the plan is written while runs go on, in at most a fiftieth of the time
FINAL_ROLES = ("final", "default", "longer")  # runs of recipes that score test
TRIAL, OTHER = 0, 1  # trials first: everything else waits for nobody

Record = dict[str, Any]


class Progress(Protocol):
    """Who watches a sweep."""

    total: int  # planned runs, which grow as studies are added

    def start(self, total: int, workers: int) -> None:
        """Called once, before the first run, with the number of planned runs."""

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        """Called for each planned run that is there."""

    def message(self, text: str) -> None:
        """One line worth telling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run and the role it plays: one row of the results table.

    Attributes:
        number: which of the equal runs of its role it is, from 1; 0 for a trial. Its seed follows from it.
    """

    spec: RunSpec
    study: int
    recipe: str
    role: str
    trial: int | None
    number: int
    params: dict[str, Value] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The row of the plan file."""
        return {
            "dataset": self.spec.task.dataset,
            "protocol": self.spec.task.key.removeprefix(f"{self.spec.task.dataset}/"),
            "study": self.study,
            "recipe": self.recipe,
            "role": self.role,
            "trial": self.trial,
            "seed": self.number,
            "fold": self.spec.fold,
            "run_id": self.spec.run_id,
            "params": self.params,
        }


def search_name(study: Study, recipe: Recipe) -> str:
    """`glyphs/open-set, study 2, softmax+center`."""
    return f"{study.task.key}, study {study.number}, {recipe.name}"


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
        self.searches: dict[str, Search] = {}
        self.races = {task: Race(plan.experiment.budget, plan.recipes) for task in plan.experiment.tasks}
        self._waiting: dict[str, list[Callable[[Record], None]]] = {}
        self._queue: list[tuple[int, int, int, RunSpec]] = []
        self._flying: dict[Future[Any], RunSpec] = {}
        self._attempts: dict[str, int] = {}
        self._order = itertools.count()
        self._executed = 0
        self._plan_cost_s = 0.0
        self._planned_at = time.monotonic()

    def run(self) -> None:
        """Run what is missing. Results are stored the moment they arrive; stopping loses only runs in flight."""
        earlier = planned_before(self.plan, self.store)
        self.progress.start(self.planned, getattr(self.executor, "workers", 1))
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
        """Have all planned runs that can be named yet; studies go on as their results arrive."""
        for task in self.plan.experiment.tasks:
            self._go_on(task)

    @property
    def planned(self) -> int:
        """Rows of the results table, as far as studies are planned by now."""
        return sum(
            sum(self.plan.run_counts(task, number, race.recipes_of(number)))
            for task, race in self.races.items()
            for number in range(1, race.until + 1)
        )

    def _export(self, database: Path) -> None:
        """The searches for optuna-dashboard; nothing reads them back, so nothing hangs on it."""
        try:
            export({name: search.study for name, search in self.searches.items()}, database)
        except Exception as error:  # SQLAlchemy's own errors, such as a full disk
            self.progress.message(f"{database}: not written: {str(error).splitlines()[0]}")

    def _go_on(self, task: Task) -> None:
        """Begin the studies up to the next one on which something hangs; when they are all there, decide and go on."""
        race = self.races[task]
        first, last = race.begun + 1, race.until
        if first > last:
            return
        self.progress.total = self.planned
        open_studies = set(range(first, last + 1))
        race.begun = last

        def ended(number: int, scores: Mapping[str, float]) -> None:
            race.scores[number] = scores
            open_studies.discard(number)
            if not open_studies:
                race.decide()
                self._go_on(task)

        for number in range(first, last + 1):
            self._begin_study(Study(self.plan, task, number), race.recipes_of(number), partial(ended, number))

    def _begin_study(
        self, study: Study, recipes: Sequence[Recipe], ended: Callable[[Mapping[str, float]], None]
    ) -> None:
        """Search, choose and train every recipe of a study; `ended` gets the score of each."""
        scores: dict[str, float] = {}

        def scored(recipe: Recipe, records: list[Record]) -> None:
            scores[recipe.name] = mean_score(records)
            if len(scores) == len(recipes):
                ended({each.name: scores[each.name] for each in recipes})

        for name, number in _numbered(self.plan.baseline_names(study.task, study.number)):
            self._need([self._job(study, name, "baseline", None, number, study.baseline(name, number), {})])
        for recipe in recipes:
            if study.has_defaults:
                self._need_finals(study, recipe, "default", 0, dict(recipe.defaults))
            search = self.searches[search_name(study, recipe)] = study.search(recipe)
            self._next_generation(study, search, partial(scored, recipe))

    def _next_generation(self, study: Study, search: Search, scored: Callable[[list[Record]], None]) -> None:
        """Ask a generation; when all of it is there, tell it and go on: to the next, or to the candidates."""
        recipe, first = search.recipe, len(search.points)
        jobs = [
            self._job(study, recipe.name, "trial", first + place, 0, study.trial(recipe, values), values)
            for place, values in enumerate(search.ask())
        ]

        def told(records: list[Record]) -> None:
            search.tell([objective(record) for record in records])
            if search.done:
                self._choose(study, search, scored)
            else:
                self._next_generation(study, search, scored)

        self._need(jobs, then=told, priority=TRIAL)

    def _choose(self, study: Study, search: Search, scored: Callable[[list[Record]], None]) -> None:
        """Try the best trials and the default again with fresh seeds; their mean alone decides which one is final."""
        budget, recipe = self.plan.experiment.budget, search.recipe
        shortlist = search.shortlist(budget.candidates)
        numbers = range(1, budget.candidate_seeds + 1)
        jobs = [
            self._job(
                study, recipe.name, "candidate", trial, number,
                study.candidate(recipe, search.points[trial], number), search.points[trial],
            )
            for trial in shortlist if len(shortlist) > 1 for number in numbers
        ]  # fmt: skip

        def decided(records: list[Record]) -> None:
            again: dict[int, list[float | None]] = {trial: [] for trial in shortlist}
            for job, record in zip(jobs, records, strict=True):
                again[job.trial or 0].append(objective(record))
            trial = chosen(again)
            self._need_finals(study, recipe, "final", trial, search.points[trial], then=scored)
            if study.has_longer:
                longer = study.longer(recipe, search.points[trial])
                self._need([self._job(study, recipe.name, "longer", trial, 1, longer, search.points[trial])])

        self._need(jobs, then=decided, priority=TRIAL) if jobs else decided([])

    def _need_finals(
        self,
        study: Study,
        recipe: Recipe,
        role: str,
        trial: int,
        values: Point,
        then: Callable[[list[Record]], None] | None = None,
    ) -> None:
        numbers = range(1, self.plan.experiment.budget.seeds + 1)
        whole = role == "final"
        self._need(
            (
                self._job(
                    study, recipe.name, role, trial, number, study.final(recipe, values, number, whole=whole), values
                )
                for number in numbers
            ),
            then=then,
        )

    @staticmethod
    def _job(study: Study, recipe: str, role: str, trial: int | None, number: int, spec: RunSpec, values: Point) -> Job:
        return Job(
            spec=spec, study=study.number, recipe=recipe, role=role, trial=trial, number=number, params=dict(values)
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
                heapq.heappush(self._queue, (job.study, priority, next(self._order), job.spec))
            self._waiting.setdefault(run_id, []).append(
                lambda record, position=position: arrived(position, record, reused=False)  # type: ignore[misc]
            )

    def _work(self) -> None:
        """Keep the workers fed until nothing is wanted any more."""
        while self._queue or self._flying:
            limit = getattr(self.executor, "workers", 1) * (1 + AHEAD)
            while self._queue and len(self._flying) < limit:
                *_, spec = heapq.heappop(self._queue)
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
                heapq.heappush(self._queue, (0, TRIAL, next(self._order), spec))
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
        self.store.write_plan(plan_document(self.plan, self.jobs, self.races, self.planned))
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


def mean_score(records: Sequence[Record]) -> float:
    """A study's score of a recipe: the mean of its final runs on test; NaN where one failed."""
    if any(record["status"] == "failed" for record in records):
        return math.nan
    return math.fsum(record["metrics"]["test"][stopping.PRIMARY] for record in records) / len(records)


def plan_document(plan: Plan, jobs: Iterable[Job], races: Mapping[Task, Race], planned: int) -> dict[str, Any]:
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
        "planned_runs": planned,
        "studies": {task.key: race.until for task, race in races.items()},
        "dropped": {task.key: race.dropped for task, race in races.items()},
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


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each name with the number of times it came so far."""
    counts: Counter[str] = Counter()
    for name in names:
        counts[name] += 1
        yield name, counts[name]


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
