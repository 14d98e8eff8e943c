"""How much of a plan is stored, and about how long the rest will take."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lossbench.executors.processes import SerialExecutor
from lossbench.specification.plan import Plan
from lossbench.specification.task import Task
from lossbench.store import Store
from lossbench.sweep.jobs import Job, Record
from lossbench.sweep.sweep import Sweep

# Seconds before anything ran, measured once on a two-core machine with `convnet`: of a run, of an image and a value of
# it in training, of a pair of scored images in a ranking and in the statistics. Machines differ, so "about".
RUN_S, IMAGE_S, PIXEL_S, RANK_S, PAIR_S = 0.1, 4.5e-5, 7e-8, 1.5e-8, 2e-7
EMBEDDING = 1 / 3  # of the time of training
RANKINGS = 3  # of the chosen epoch: its choice and both spaces
# How many times as long an image takes there.
TIMES_CONVNET = {"convnet4": 3.5, "resnet": 5.5, "lenetpp-quarter": 5.0, "lenetpp": 65.0}

MAX_PAIRS = 5_000_000  # of the statistics, which take a sample of more

Kind = tuple[Task, str]  # "trials", which see validation only, "finals", or "longer" ones


class _Looking(Sweep):
    """A sweep that only looks: what is planned and stored, as far as studies can be replayed."""

    def __init__(self, plan: Plan, store: Store) -> None:
        super().__init__(plan, store, SerialExecutor(), self)
        self.found: list[tuple[Job, float | None]] = []
        self.need_all()

    def start(self, workers: int) -> None: ...

    def expect(self, planned: Mapping[str, int], studies: int) -> None: ...

    def message(self, text: str) -> None: ...

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        self.found.append((job, record.get("cost", {}).get("run_wall_s")))

    def _write_plan(self) -> None: ...


@dataclass(frozen=True)
class Survey:
    """What is planned and what of it is stored.

    Attributes:
        plan: with the epochs that a stored pilot found.
        found: the planned runs that are there and the seconds that each took.
        planned: how many runs of each kind are planned by now.
        most: how many it can become, where no more recipes leave a race and no look ends it.
    """

    plan: Plan
    found: Sequence[tuple[Job, float | None]]
    planned: Counter[Kind]
    most: Counter[Kind]


def survey(plan: Plan, store: Store) -> Survey:
    """Look through the store; nothing is run or written."""
    looked = _Looking(plan, store)
    planned = Counter[Kind]((job.spec.task, "pilot") for job in looked.jobs if job.role == "pilot")
    most = planned.copy()
    for task, race in looked.races.items():
        for number in filter(plan.makes, range(1, race.most + 1)):
            counts = plan.run_counts(task, number, race.recipes_of(number))
            of_study = {(task, kind): count for kind, count in counts._asdict().items()}
            most.update(of_study)
            if number <= race.until:
                planned.update(of_study)
    return Survey(looked.plan, looked.found, planned, most)


def seconds_left(looked: Survey, planned: Counter[Kind]) -> float:
    """Seconds of work for one worker to all runs `planned`.

    Per kind the mean of stored runs that trained, else from its images. NaN before a pilot found how long a run is.
    """
    plan = looked.plan
    if plan.experiment.training.piloted:
        return math.nan
    missing = planned.copy()
    missing.subtract(_kind(job) for job, _ in looked.found)
    seconds = _mean_seconds(looked.found)
    return sum(max(0, count) * seconds.get(kind, guess(plan, kind)) for kind, count in missing.items())


def guess(plan: Plan, kind: Kind) -> float:
    """Seconds of one run before any was made."""
    task, role = kind
    training = plan.experiment.training
    slower = TIMES_CONVNET.get(plan.experiment.backbone, 1.0)
    pixels, (val, test) = plan.pixels[task], plan.scored[task]
    epochs = training.epochs * (2 if role == "longer" else 1)
    looks = min(epochs, training.validations or epochs)
    image_s = (IMAGE_S + PIXEL_S * pixels) * slower
    scored = 0 if role == "trials" else test
    forward = image_s * (epochs * plan.train_sizes[task] + EMBEDDING * (looks * val + scored))
    ranking = RANK_S * (looks * val**2 + RANKINGS * scored**2)
    statistics = PAIR_S * min(scored**2 / 2, MAX_PAIRS)
    return RUN_S + forward + ranking + statistics


def _kind(job: Job) -> Kind:
    return job.spec.task, job.kind


def _mean_seconds(found: Sequence[tuple[Job, float | None]]) -> Mapping[Kind, float]:
    times: dict[Kind, list[float]] = defaultdict(list)
    for job, seconds in found:
        if seconds and job.role != "baseline":  # as on the board
            times[_kind(job)].append(seconds)
    return {kind: fmean(seconds) for kind, seconds in times.items()}
