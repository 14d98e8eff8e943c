"""Runs that are wanted go to an executor in the order of their studies; what arrives is stored at once."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, Protocol

from lossbench.executors.processes import WorkerDiedError
from lossbench.run.clock import TimeLimitError
from lossbench.specification.spec import SCHEMA, RunSpec, to_json
from lossbench.store import Store
from lossbench.sweep.jobs import Job, Record, objective

MAX_ATTEMPTS = 3
AHEAD = 1  # calls queued for each worker beyond the one it runs, so that it never waits for the driver
UNFINISHED = "unfinished"  # in a runs folder: states of runs that can go on
FEED_S = 5.0  # how often workers that joined meanwhile are looked for
TRIAL, OTHER = 0, 1  # in a study, trials first: everything else waits for nobody


class Progress(Protocol):
    """Who watches a sweep."""

    def expect(self, planned: Mapping[str, int], studies: int) -> None:
        """Called before the first run and whenever studies are added, with how many runs of each kind (`jobs.KINDS`)
        and how many studies of a task are planned by now.
        """

    def start(self, workers: int) -> None:
        """Called once, before the first run."""

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        """Called for each planned run that is there."""

    def message(self, text: str) -> None:
        """One line worth telling."""


class Feed:
    """The runs of a sweep: wanted, under way, or there.

    Attributes:
        jobs: every planned run so far, in the order in which it was wanted.
        executed: how many runs were made here.

    Args:
        checkpoint_s: how often a worker keeps the state of a run that is not finished; None: never.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        progress: Progress,
        *,
        retry_failed: bool = False,
        checkpoint_s: float | None = None,
    ) -> None:
        self._unfinished = store.root.absolute() / UNFINISHED
        self._saving = [] if checkpoint_s is None else [(str(self._unfinished), checkpoint_s)]
        self.store, self.executor, self.progress, self.retry_failed = store, executor, progress, retry_failed
        self.jobs: list[Job] = []
        self.executed = 0
        self._waiting: dict[str, list[Callable[[Record], None]]] = {}
        self._queue: list[tuple[int, int, int, RunSpec]] = []
        self._flying: dict[Future[Any], RunSpec] = {}
        self._attempts: dict[str, int] = {}
        self._order = itertools.count()

    def need(
        self,
        jobs: Iterable[Job],
        *,
        then: Callable[[list[float | None]], None] | None = None,
        of: Callable[[Record], float | None] = objective,
        priority: int = OTHER,
    ) -> None:
        """Have these runs; once all are there, call `then` with a figure `of` each record, in order.

        The figures are all that is kept of them: a sweep of any number of runs keeps its size.
        """
        jobs = list(jobs)
        self.jobs += jobs
        figures: dict[int, float | None] = {}

        def arrived(position: int, record: Record, *, reused: bool) -> None:
            self.progress.finished(jobs[position], record, reused=reused)
            if then is None:
                return
            figures[position] = of(record)
            if len(figures) == len(jobs):
                then([figures[index] for index in range(len(jobs))])

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

    def work(self, between: Callable[[], None]) -> None:
        """Keep the workers fed until nothing is wanted any more; `between` is called after each arrival."""
        if self._saving:
            self._unfinished.mkdir(parents=True, exist_ok=True)
        while self._queue or self._flying:
            limit = getattr(self.executor, "workers", 1) * (1 + AHEAD)
            while self._queue and len(self._flying) < limit:
                *_, spec = heapq.heappop(self._queue)
                self._flying[self.executor.submit(execute_spec, spec, *self._saving)] = spec
            for future in wait(self._flying, FEED_S, return_when=FIRST_COMPLETED).done:
                self._land(future, self._flying.pop(future))
            between()

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
        self.executed += 1
        self.store.write(record, **extras)
        for left in self._unfinished.glob(f"{spec.run_id}.*"):
            left.unlink(missing_ok=True)
        for callback in self._waiting.pop(spec.run_id):
            callback(self.store.read(spec.run_id) or record)


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


def execute_spec(spec: RunSpec, saving: Sequence[Any] | None = None) -> tuple[Record, dict[str, Any]]:
    """What a worker calls; torch is imported there, not in the driver."""
    from lossbench.run.execution import execute
    from lossbench.run.unfinished import Saving

    result = execute(spec, None if saving is None else Saving(*saving))
    return result.record, {"arrays": result.arrays, "audit": result.audit, "checkpoint": result.checkpoint}
