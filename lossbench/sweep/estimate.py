"""How much of a plan is stored, and about how long the rest will take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from lossbench.executors.processes import SerialExecutor
from lossbench.specification.plan import Plan
from lossbench.specification.spec import Task
from lossbench.store import Store
from lossbench.sweep.sweep import Job, Record, Sweep

# Seconds before anything ran, measured once on a two-core machine with `convnet`: of a run, of an image and a value of
# it in training, of a pair of scored images in a ranking and in the statistics. Machines differ, so "about".
RUN_S, IMAGE_S, PIXEL_S, RANK_S, PAIR_S = 0.1, 4.5e-5, 7e-8, 1.5e-8, 2e-7
EMBEDDING = 1 / 3  # of the time of training
RANKINGS = 3  # of the chosen epoch: its choice and both spaces
TIMES_CONVNET = {"convnet4": 3.5, "resnet": 5.5}  # how many times as long an image takes there

MAX_PAIRS = 5_000_000  # of the statistics, which take a sample of more

Kind = tuple[Task, bool]  # whether it is a final run, which scores test too


class _Survey(Sweep):
    """A sweep that only looks: what is planned and stored, as far as studies can be replayed."""

    def __init__(self, plan: Plan, store: Store) -> None:
        super().__init__(plan, store, SerialExecutor(), self)
        self.found: list[tuple[Job, float | None]] = []
        self.need_all()

    def start(self, total: int, workers: int) -> None: ...

    def message(self, text: str) -> None: ...

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        self.found.append((job, record.get("cost", {}).get("run_wall_s")))

    def _write_plan(self) -> None: ...


def stored(plan: Plan, store: Store) -> list[tuple[Job, float | None]]:
    """The planned runs that are there and the seconds that each took; nothing is run or written."""
    return _Survey(plan, store).found


def seconds_left(plan: Plan, found: Sequence[tuple[Job, float | None]]) -> float:
    """Seconds of work for one worker: of each kind of run the mean of those stored, else from its images.

    Args:
        found: as `stored` gives it.
    """
    missing = planned(plan)
    missing.subtract(_kind(job) for job, _ in found)
    seconds = _mean_seconds(found)
    return sum(max(0, count) * seconds.get(kind, guess(plan, kind)) for kind, count in missing.items())


def planned(plan: Plan) -> Counter[Kind]:
    """How many runs of each kind the whole experiment has."""
    kinds = Counter[Kind]()
    for task in plan.experiment.tasks:
        kinds[task, False], kinds[task, True] = plan.run_counts(task)
    return kinds


def guess(plan: Plan, kind: Kind) -> float:
    """Seconds of one run before any was made."""
    task, final = kind
    slower = TIMES_CONVNET.get(plan.experiment.backbone, 1.0)
    pixels, sizes = plan.pixels[task], plan.scored[task]
    epochs = plan.experiment.training.epochs
    image_s = (IMAGE_S + PIXEL_S * pixels) * slower
    scored = sizes if final else sizes[:1]
    forward = epochs * image_s * (plan.train_sizes[task] + EMBEDDING * sum(scored))
    ranking = (epochs + RANKINGS) * RANK_S * sum(size**2 for size in scored)
    statistics = PAIR_S * sum(min(size**2 / 2, MAX_PAIRS) for size in scored)
    return RUN_S + forward + ranking + statistics


def _kind(job: Job) -> Kind:
    return job.spec.task, job.spec.final


def _mean_seconds(found: Sequence[tuple[Job, float | None]]) -> Mapping[Kind, float]:
    times: dict[Kind, list[float]] = defaultdict(list)
    for job, seconds in found:
        if seconds:
            times[_kind(job)].append(seconds)
    return {kind: fmean(seconds) for kind, seconds in times.items()}
