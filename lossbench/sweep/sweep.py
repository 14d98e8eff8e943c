"""An experiment from plan to stored results: its studies in order, and of each recipe the search, choice and runs."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from lossbench.specification.plan import LONGER_RUNS, Plan
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import RunSpec
from lossbench.specification.task import Task
from lossbench.store import Store
from lossbench.sweep.feed import TRIAL, Feed, Progress
from lossbench.sweep.jobs import FINAL_ROLES, Job, final_score, mean
from lossbench.sweep.pilot import Pilot
from lossbench.sweep.plan_file import Place, plan_document, planned_before, stale_reasons
from lossbench.sweep.registration import register, registered
from lossbench.sweep.stopping import Race
from lossbench.sweep.study import Study
from lossbench.sweep.tuning import Chosen, Point, Search, choose, export, is_export

PLAN_EVERY_S, PLAN_SHARE = 10.0, 50  # the plan is written while runs go on, in at most a fiftieth of the time


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
        self.plan, self.store, self.progress, self._beat = plan, store, progress, beat
        checkpoint_s = plan.experiment.resources.checkpoint_s
        self.feed = Feed(store, executor, progress, retry_failed=retry_failed, checkpoint_s=checkpoint_s)
        self.searches: dict[str, Search] = {}
        self.choices: dict[Place, Chosen] = {}
        self.races = {task: Race(plan.experiment.budget, plan.recipes) for task in plan.experiment.tasks}
        self.pilot = Pilot(plan) if plan.experiment.training.piloted else None
        self._plan_cost_s = 0.0
        self._planned_at = time.monotonic()

    def run(self) -> None:
        """Run what is missing. Results are stored the moment they arrive; stopping loses only runs in flight."""
        earlier = planned_before(self.plan, self.store)
        self._expect()
        self.progress.start(getattr(self.feed.executor, "workers", 1))
        self.need_all()
        self._report_stale(earlier)
        self._register_claims(earlier)
        self._write_plan()
        try:
            self.feed.work(self._between)
        except BaseException:
            with contextlib.suppress(OSError):  # perhaps the very reason
                self._write_plan()
            raise
        if self.feed.executed:
            self._write_plan()
        database = self.store.root / "experiments" / f"{self.plan.experiment.name}.optuna.db"
        if self.feed.executed or not is_export(database):
            self._export(database)

    def need_all(self) -> None:
        """Have all planned runs that can be named yet; studies go on as their results arrive."""
        if self.pilot is not None:
            self.pilot.begin(self.feed.need, self._piloted)
            return
        for task in self.plan.experiment.tasks:
            self._go_on(task)

    def _piloted(self, epochs: int) -> None:
        """The pilot has found how long to train: now there is a comparison to plan."""
        self.plan = self.plan.with_epochs(epochs)
        self.progress.message(f"the pilot found {epochs} epochs, for every recipe and task")
        for task in self.plan.experiment.tasks:
            self._go_on(task)

    @property
    def jobs(self) -> list[Job]:
        """Every planned run that can be named by now."""
        return self.feed.jobs

    @property
    def planned(self) -> int:
        """Rows of the results table, as far as studies are planned by now."""
        return self._kinds(lambda study: True).total()

    def _kinds(self, counts: Callable[[int], bool]) -> Counter[str]:
        """How many runs of each kind are planned by now, in the studies that count."""
        planned = Counter(pilot=sum(job.kind == "pilot" for job in self.jobs))
        for task, race in self.races.items():
            for number in filter(counts, range(1, race.until + 1)):
                planned.update(self.plan.run_counts(task, number, race.recipes_of(number))._asdict())
        return planned

    def _expect(self) -> None:
        """Tell the board what is made here."""
        self.progress.expect(self._kinds(self.plan.makes), max(race.until for race in self.races.values()))

    def _between(self) -> None:
        """While runs go on: a sign of life, and the plan as often as costs little."""
        self._beat()
        if time.monotonic() - self._planned_at > max(PLAN_EVERY_S, PLAN_SHARE * self._plan_cost_s):
            self._write_plan()

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
        self._expect()
        made = list(filter(self.plan.makes, range(first, last + 1)))
        open_studies = set(made)
        race.begun = last

        def ended(number: int, scores: Mapping[str, float]) -> None:
            race.scores[number] = scores
            open_studies.discard(number)
            if not open_studies:
                race.decide()
                self._go_on(task)

        for number in made:
            self._begin_study(Study(self.plan, task, number), race.recipes_of(number), partial(ended, number))

    def _begin_study(
        self, study: Study, recipes: Sequence[Recipe], ended: Callable[[Mapping[str, float]], None]
    ) -> None:
        """Search, choose and train every recipe of a study; `ended` gets the score of each."""
        scores: dict[str, float] = {}

        def scored(recipe: Recipe, found: list[float | None]) -> None:
            scores[recipe.name] = mean(found)
            if len(scores) == len(recipes):
                ended({each.name: scores[each.name] for each in recipes})

        for name, number in _numbered(self.plan.baseline_names(study.task, study.number)):
            self.feed.need([self._job(study, name, "baseline", None, number, study.baseline(name, number), {})])
        for recipe in recipes:
            if not recipe.searched:
                self._need_finals(study, recipe, [dict(recipe.defaults)], 0, partial(scored, recipe))
                continue
            search = self.searches[search_name(study, recipe)] = study.search(recipe)
            self._next_generation(study, search, partial(scored, recipe))

    def _next_generation(self, study: Study, search: Search, scored: Callable[[list[float | None]], None]) -> None:
        """Ask a generation; when all of it is there, tell it and go on: to the next, or to the candidates."""
        recipe, first = search.recipe, len(search.points)
        jobs = [
            self._job(study, recipe.name, "trial", first + place, 0, study.trial(recipe, values), values)
            for place, values in enumerate(search.ask())
        ]

        def told(found: list[float | None]) -> None:
            search.tell(found)
            if search.done:
                self._choose(study, search, scored)
            else:
                self._next_generation(study, search, scored)

        self.feed.need(jobs, then=told, priority=TRIAL)

    def _choose(self, study: Study, search: Search, scored: Callable[[list[float | None]], None]) -> None:
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

        def decided(scores: list[float | None]) -> None:
            count = len(numbers)
            again = [scores[place * count : (place + 1) * count] for place in range(len(shortlist))] if scores else []
            choice = choose(shortlist, [search.scores[trial] for trial in shortlist], again)
            self.choices[study.task, study.number, recipe.name] = choice
            self._need_finals(study, recipe, search.points, choice.trial, scored)

        self.feed.need(jobs, then=decided, priority=TRIAL) if jobs else decided([])

    def _need_finals(
        self,
        study: Study,
        recipe: Recipe,
        points: Sequence[Point],
        trial: int,
        scored: Callable[[list[float | None]], None],
    ) -> None:
        """The chosen point's final runs, which score it, and what is held against them."""
        values, default = points[trial], points[0]
        numbers = range(1, self.plan.experiment.budget.seeds + 1)
        finals = [study.final(recipe, values, number, whole=True) for number in numbers]
        jobs = [self._job(study, recipe.name, "final", trial, *run, values) for run in enumerate(finals, 1)]
        self.feed.need(jobs, then=scored, of=final_score)
        if study.has_longer:
            longer = [study.longer(recipe, values, number) for number in numbers[:LONGER_RUNS]]
            self.feed.need(self._job(study, recipe.name, "longer", trial, *run, values) for run in enumerate(longer, 1))
        if study.has_defaults:
            runs = [study.final(recipe, default, number, whole=False) for number in numbers] if trial else finals
            self.feed.need(self._job(study, recipe.name, "default", 0, *run, default) for run in enumerate(runs, 1))

    @staticmethod
    def _job(study: Study, recipe: str, role: str, trial: int | None, number: int, spec: RunSpec, values: Point) -> Job:
        return Job(
            spec=spec, study=study.number, recipe=recipe, role=role, trial=trial, number=number, params=dict(values)
        )

    def _write_plan(self) -> None:
        """Keep the plan as far as it is known; on the way as often as costs little."""
        started = time.monotonic()
        document = plan_document(
            self.plan,
            self.jobs,
            self.races,
            self.choices,
            planned=self.planned,
            pilot=self.pilot.document() if self.pilot else None,
            claims=registered(self.store, self.plan.experiment.name, self.plan.experiment.claims),
        )
        self.store.write_plan(document)
        self._planned_at = time.monotonic()
        self._plan_cost_s = self._planned_at - started

    def _register_claims(self, earlier: list[dict[str, Any]]) -> None:
        """Register what the experiment claims; post hoc where a final run of this or an earlier plan is stored."""
        experiment, rows = self.plan.experiment, itertools.chain(earlier, (job.row() for job in self.jobs))
        seen = any(self.store.read(row["run_id"]) is not None for row in rows if row["role"] in FINAL_ROLES)
        texts = register(self.store, experiment.name, experiment.claims, seen=seen, file_digest=self.plan.file_digest)
        for text in texts:
            self.progress.message(f"post hoc, as final runs were already there: {text}")

    def _report_stale(self, earlier: list[dict[str, Any]]) -> None:
        """One line about results of the same runs under other code, data or libraries."""
        reasons = stale_reasons(self.plan, self.store, earlier, self.jobs)
        if reasons:
            why = ", ".join(sorted({reason for found in reasons.values() for reason in found}))
            self.progress.message(f"{len(reasons)} stored runs will be repeated: {why} changed")


def _numbered(names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each name with the number of times it came so far."""
    counts: Counter[str] = Counter()
    for name in names:
        counts[name] += 1
        yield name, counts[name]
