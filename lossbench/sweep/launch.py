"""An experiment file to a finished sweep: find it, check it, estimate it, run it."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path

from lossbench.executors.processes import ProcessExecutor, SerialExecutor, WorkerDiedError
from lossbench.executors.threads import available_cores
from lossbench.plugins import registry
from lossbench.plugins.mistakes import SpecError, nearest
from lossbench.run.clock import TimeLimitError
from lossbench.specification import shipped
from lossbench.specification.budget import Budget
from lossbench.specification.experiment import Experiment
from lossbench.specification.parsing import blamed, read_experiment
from lossbench.specification.plan import Plan, make_plan
from lossbench.specification.spec import RunSpec
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training
from lossbench.store import Store, StoreError
from lossbench.sweep import estimate, ranks
from lossbench.sweep.audit import Audit, parsed_share
from lossbench.sweep.audit import audit as audit_runs
from lossbench.sweep.driver import Note, driving
from lossbench.sweep.plan_file import planned_before, stale_reasons
from lossbench.sweep.probe import run_probe, run_scaling
from lossbench.sweep.progress import Board, duration
from lossbench.sweep.replay import TOLERANCE, Replay, spec_of, stored_run
from lossbench.sweep.replay import replay as replay_run
from lossbench.sweep.sweep import Sweep

PRELOAD = ("lossbench.run.execution",)  # what a worker imports before its first run
FITS = {
    "crop": "their middle square",
    "pad": "the whole on a gray square",
    "stretch": "the whole, stretched to a square",
}
FEW_STEPS = 100  # of a run, below which a dry run warns
CHECK_LIMIT_S = 30.0  # for one batch through each loss of a plugin
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


def try_losses(plan: Plan) -> None:
    """One batch through each loss of a plugin, in a process that it may kill or hang: what does so, its runs will show.

    Raises:
        SpecError: losses that are no scalar, not finite or detached.
    """
    losses = {loss.name: loss for recipe in plan.recipes for loss in recipe.losses if not loss.builtin}
    foreign = sorted(name for name, loss in losses.items() if not loss.identity)
    if not foreign:
        return
    executor = ProcessExecutor(1, limit_s=CHECK_LIMIT_S)
    try:
        mistakes = executor.submit(_untrainable, foreign, plan.plugin_files, plan.experiment.embedding_dim).result()
    except (WorkerDiedError, TimeLimitError):
        return
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    if mistakes:
        raise SpecError(mistakes)


def _untrainable(names: Sequence[str], plugin_files: Sequence[str], embedding_dim: int) -> list[str]:
    """What the process calls; torch is imported there, not in the driver."""
    from lossbench.plugins import conformance

    registry.load_files(plugin_files)
    found = [(plugin := registry.find("loss", name), conformance.untrainable(plugin, embedding_dim)) for name in names]
    return [f"plugin {plugin.file}: loss {plugin.name!r}: {why}" for plugin, why in found if why]


def try_network(plan: Plan) -> list[str]:
    """Build a network that comes from elsewhere once a task, in a process of its own.

    Returns:
        What a file of weights gives it; nothing for the networks that lossbench ships, which need no trial.

    Raises:
        SpecError: it is not installed or not known, its weights do not fit, or it does not take the task's images.
    """
    experiment = plan.experiment
    if experiment.pretrained is None and not registry.find("backbone", experiment.backbone).variants:
        return []
    specs = [plan.baseline_spec(task, "untrained", seed=0) for task in experiment.tasks]
    executor = ProcessExecutor(1)
    try:
        if mistakes := executor.submit(_network_mistakes, specs).result():
            raise SpecError(mistakes)
        return [executor.submit(_network_note, specs[0]).result()] if experiment.pretrained else []
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _network_mistakes(specs: Sequence[RunSpec]) -> list[str]:
    from lossbench.run import network

    return network.mistakes(specs)


def _network_note(spec: RunSpec) -> str:
    from lossbench.run import network

    return network.note(spec)


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
        environments = _environments(experiment, count)
        executor = ProcessExecutor(count, limit_s=limit_s, preload=PRELOAD, environments=environments, logs=logs)
    else:
        executor = SerialExecutor()
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def in_turns(experiment: Experiment, executor: Executor) -> bool:
    """Whether processes wait for one another's work on a GPU, as they do unless NVIDIA's multi-process service runs."""
    if experiment.training.device != "cuda" or not isinstance(executor, ProcessExecutor):
        return False
    service = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    return executor.workers > len(_gpus()) and not (service / "control").exists()


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


def describe(plan: Plan, store: Store, workers: int | None) -> str:
    """What a run would do and about how long it would take. Nothing is run or written."""
    looked = estimate.survey(plan, store)
    plan, experiment = looked.plan, looked.plan.experiment
    count = worker_count(experiment, workers) or 1
    lines = [f"{experiment.name}: {experiment.question}".rstrip(": ")]
    for task in experiment.tasks:
        lines += [_described(plan, task), *(f"  warning: {warning}" for warning in too_few_steps(plan, task))]
    for recipe in plan.recipes:
        searched = ", ".join(recipe.searched) or "nothing"
        trials = _counted(experiment.budget.trials if recipe.searched else 1, "trial")
        lines.append(f"  recipe {recipe.name}: {recipe.sampler} batches; tunes {searched} in {trials} a study")
    lines.append(f"  {_budget(experiment.budget)}")
    part = "" if plan.share == (1, 1) else f" in part {plan.share[0]} of {plan.share[1]} of the studies"
    lines.append(f"{looked.planned.total()} planned runs{part}, {len(looked.found)} of them done")
    left_s = estimate.seconds_left(looked)
    on = f"on {count} worker{'s' if count > 1 else ''}"
    lines.append(f"time not known yet {on}: the pilot comes first" if math.isnan(left_s) else
                 f"about {duration(left_s / count)} {on}")  # fmt: skip
    if stale := stale_reasons(plan, store, planned_before(plan, store), [job for job, _ in looked.found]):
        lines.append(f"{len(stale)} stored runs would be repeated")
    return "\n".join(lines)


def _described(plan: Plan, task: Task) -> str:
    """What a dry run says of a task's data and of how long it trains."""
    training = plan.experiment.training
    per_epoch, (val, test) = plan.steps_an_epoch(task), plan.scored[task]
    learnt, chosen_on, tested = (plan.splits[task][part][0] for part in ("train", "val", "test"))
    samples = "vectors" if task in plan.vectors else "images"
    dealt = "dealt anew by every study" if task in plan.deals else "the same in every study"
    folds = f"; a study is one of {plan.folds[task]} folds" if task in plan.folds else ""
    steps = "steps a run not known yet" if training.piloted else f"{per_epoch * training.epochs} steps a run"
    return (
        f"  task {task.key}: {plan.train_sizes[task]} training, {val} validation and {test} test {samples} of "
        f"{learnt}, {chosen_on} and {tested} classes{_squares(task, training)}; training and validation are "
        f"{dealt}{folds}; {steps} ({per_epoch} an epoch)"
    )


def _squares(task: Task, training: Training) -> str:
    """How pictures of one's own become squares, if they do."""
    size = task.input_size or training.input_size
    if size is None or task.dataset.partition(":")[0] not in ("folder", "csv", "huggingface"):
        return ""
    return f", {FITS[task.fit]} at {size} x {size} pixels"


def _budget(budget: Budget) -> str:
    """What a dry run says of the studies, and of what a recipe gets in one."""
    least, most = budget.studies.least, budget.studies.most
    studies = f"{least} to {most} studies, as many as decide the top" if least < most else _counted(least, "study")
    again = (
        f"{_counted(budget.candidates, 'trial')} and the default again with "
        f"{_counted(budget.candidate_seeds, 'fresh seed')}, then "
    )
    longer = f"; twice the epochs too in {_counted(min(budget.longer, most), 'study')}" if budget.longer else ""
    racing = "; recipes clearly beaten leave" if budget.racing else ""
    finals = f"{again if budget.trials > 1 else ''}{_counted(budget.seeds, 'final run')}"
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


def worker_count(experiment: Experiment, asked: int | None) -> int:
    """Worker processes: as asked for, else as many runs as cores and GPUs hold by the experiment's resources."""
    if asked is not None:
        return asked
    resources = experiment.resources
    fitting = available_cores() / resources.cpus
    if experiment.training.device == "cuda" and resources.gpus:
        fitting = min(fitting, len(_gpus()) / resources.gpus)
    return max(1, int(fitting))


def _environments(experiment: Experiment, count: int) -> list[dict[str, str]]:
    """Which GPU each worker may see; nothing where runs do not say what they take of one."""
    share = experiment.resources.gpus
    if experiment.training.device != "cuda" or not share:
        return []
    gpus, whole = _gpus(), max(1, round(share))
    first = [int(slot * share) for slot in range(count)]
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[(place + extra) % len(gpus)] for extra in range(whole))}
        for place in first
    ]


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES writes them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
