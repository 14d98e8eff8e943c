"""An experiment file to a finished sweep: find it, check it, run it, and run some of it again."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path

from lossbench.executors.processes import ProcessExecutor, SerialExecutor
from lossbench.plugins.mistakes import SpecError, nearest
from lossbench.specification import shipped
from lossbench.specification.experiment import Experiment
from lossbench.specification.parsing import blamed, read_experiment
from lossbench.specification.plan import Plan, make_plan
from lossbench.store import Store, StoreError
from lossbench.sweep import estimate, ranks
from lossbench.sweep.audit import Audit, parsed_share
from lossbench.sweep.audit import audit as audit_runs
from lossbench.sweep.driver import Note, driving
from lossbench.sweep.dry_run import too_few_steps
from lossbench.sweep.placing import environments, in_turns, worker_count
from lossbench.sweep.probe import run_probe, run_scaling
from lossbench.sweep.progress import Board
from lossbench.sweep.replay import TOLERANCE, Replay, spec_of, stored_run
from lossbench.sweep.replay import replay as replay_run
from lossbench.sweep.sweep import Sweep

PRELOAD = ("lossbench.run.execution",)  # what a worker imports before its first run
GRACE_S = 60.0  # a run may take this much longer than its limit, to load its data, before its worker is killed


def prepare(file: Path, overrides: Sequence[str], plugin_files: Sequence[Path]) -> Plan:
    """The checked plan of an experiment file, or of a shipped experiment by its bare name.

    Raises:
        SpecError: every mistake in it.
    """
    path = find_experiment(file)
    try:
        return make_plan(read_experiment(path, overrides), file=path, plugin_files=plugin_files)
    except SpecError as error:
        raise SpecError(blamed(error.mistakes, path, overrides)) from error


def shared(plan: Plan, text: str) -> Plan:
    """The plan of which only a share of the studies is made here: `2/3` is every third one from the second on.

    Raises:
        SpecError: it is no share, or how many studies there are hangs on the results of all.
    """
    first, _, of = text.partition("/")
    if not (first.isdecimal() and of.isdecimal() and 1 <= int(first) <= int(of)):
        raise SpecError([f"--share: {text!r} is not K/N, a part K from 1 to N of N parts"])
    budget = plan.experiment.budget
    if budget.studies.least < budget.studies.most or budget.racing:
        raise SpecError(
            ["--share: needs a number of studies and no racing: what goes on hangs on all studies together"]
        )
    return replace(plan, share=(int(first), int(of)))


def find_experiment(file: Path) -> Path:
    """The file itself, or the experiment of that name that ships with lossbench."""
    if file.exists() or file.suffix or len(file.parts) > 1:
        return file
    known = shipped.experiments()
    if file.name not in known:
        raise SpecError([f"{file}: no such file or shipped experiment{nearest(file.name, known)}"])
    return known[file.name]


def run(
    plan: Plan, store: Store, *, workers: int | None, cluster: str | None = None, retry_failed: bool = False
) -> None:
    """Run what is missing, on as many worker processes as `worker_count` has it unless told otherwise.

    Args:
        workers: worker processes on this machine; 0 runs in this process.
        cluster: address of a dask scheduler, or `local:N`; the runs happen on its nodes.

    Raises:
        BusyError: another process is writing to the runs folder.
        ClusterError: there is no such cluster.
    """
    experiment = plan.experiment
    with (
        driving(store.root, experiment.name) as note,
        Board() as board,
        _executor(experiment, workers, cluster, store.root / "logs") as executor,
    ):
        beat = partial(_beat, note, executor)
        if in_turns(experiment, executor):
            board.message("runs take turns on a GPU; `nvidia-cuda-mps-control -d` lets them share it: docs/scaling.md")
        for warning in (each for task in experiment.tasks for each in too_few_steps(plan, task)):
            board.message(f"warning: {warning}")
        sweep = Sweep(plan, store, executor, board, retry_failed=retry_failed, beat=beat)
        sweep.run()
        # The probe measures the steps of one process, at the median of all studies.
        if ranks.started() == 1 and plan.share == (1, 1):
            _probe(sweep.plan, store, executor, board)


def _beat(note: Note, executor: Executor) -> None:
    note.write(executor.pids() if isinstance(executor, ProcessExecutor) else [])


@contextlib.contextmanager
def _executor(experiment: Experiment, workers: int | None, cluster: str | None, logs: Path) -> Iterator[Executor]:
    """Where the runs happen, for as long as the block lasts."""
    if ranks.started() > 1:
        with ranks.drive(experiment.training) as together:
            yield together
        return
    limit_s = experiment.training.time_limit_s
    limit_s = None if limit_s is None else limit_s + GRACE_S
    executor: Executor
    if cluster is not None:
        from lossbench.executors.cluster import ClusterExecutor

        executor = ClusterExecutor(cluster, resources=experiment.resources, limit_s=limit_s)
    elif count := worker_count(experiment, workers):
        executor = ProcessExecutor(
            count, limit_s=limit_s, preload=PRELOAD, environments=environments(experiment, count), logs=logs
        )
    else:
        executor = SerialExecutor()
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def probe(plan: Plan, store: Store) -> None:
    """Measure the steps of every recipe anew, and how each loss scales, on one otherwise idle worker."""
    plan = estimate.survey(plan, store).plan
    executor = ProcessExecutor(1)
    with Board() as board:
        try:
            for line in run_probe(plan, store, executor, again=True):
                board.message(line)
            run_scaling(plan, store, executor)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _probe(plan: Plan, store: Store, executor: Executor, board: Board) -> None:
    """The cost probe after the last run, when the workers are idle; an experiment is complete without it."""
    try:
        for line in run_probe(plan, store, executor):
            board.message(line)
    except (RuntimeError, ValueError) as error:  # its worker died, or the data cannot be read any more
        board.message(f"no cost probe: {error}")


def replay(runs: Path, run_id: str, tolerance: float | None) -> Replay:
    """Repeat a stored run on a worker process as it was run, and compare.

    Raises:
        StoreError: no such run.
        SpecError: it was a run on several processes, which `torchrun` would have to start.
    """
    record = stored_run(Store(runs), run_id)
    ranks.check(spec_of(record).training)
    executor = ProcessExecutor(1, preload=PRELOAD)
    try:
        return replay_run(record, executor, tolerance=TOLERANCE if tolerance is None else tolerance)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def audit(runs: Path, sample: str, seed: int, tolerance: float | None) -> Audit:
    """Repeat a seeded share of the stored runs on a worker process.

    Raises:
        SpecError: `sample` is no share.
        StoreError: no run is stored there.
    """
    share = parsed_share(sample)
    executor = ProcessExecutor(1, preload=PRELOAD)
    try:
        return audit_runs(
            runs,
            share,
            seed,
            executor,
            tolerance=TOLERANCE if tolerance is None else tolerance,
            check=lambda record: ranks.check(spec_of(record).training),
        )
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def check_writable(*folders: Path) -> None:
    """Make the folders and see that files can be written there; leave nothing behind where one cannot.

    Raises:
        StoreError: the first that cannot be written.
    """
    made: list[Path] = []
    for folder in folders:
        try:
            made += [parent for parent in (folder, *folder.parents) if not parent.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            for path in sorted(made, reverse=True):
                if path.is_dir():
                    path.rmdir()
            raise StoreError(f"{folder}: cannot be written: {(error.strerror or str(error)).lower()}") from error
