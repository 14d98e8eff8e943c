"""What must not keep anybody waiting: the command line, a data set in a new worker, thousands of finished runs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.measure import ABLATION, Row, in_a_new_process, seconds_of, within
from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import Dataset, Request
from lossbench.executors.processes import SerialExecutor
from lossbench.plugins import registry
from lossbench.plugins.plugin import Kind
from lossbench.specification.fingerprint import code_digest
from lossbench.specification.spec import RunSpec, to_json
from lossbench.store import Store
from lossbench.sweep import dry_run, launch
from lossbench.sweep.jobs import Job, Record
from lossbench.sweep.sweep import Sweep

TRIES = 9
IMAGES = 60_000
MANY = (  # some ten thousand runs
    'tasks=[{dataset="digits", protocol="closed-set"}]',
    'recipes=["softmax", "contrastive", "triplet"]',
    "budget.trials=2",
    "budget.studies=7",
    "budget.seeds=290",
)
THOUSAND = ('tasks=[{dataset="digits", protocol="closed-set"}]', "budget.trials=10", "budget.seeds=4")


def rows() -> Iterator[Row]:
    """CPU seconds, the least of several tries: what a start costs where nothing disturbs it and files are cached."""
    for arguments in (["--help"], ["list"]):
        seconds = min(_start(arguments) for _ in range(TRIES))
        yield within(f"lossbench {arguments[0]}, process start to end", seconds, 0.3)
    seconds = min(in_a_new_process(digest_code) for _ in range(TRIES))
    yield within("digest of the code of every built-in plugin", seconds, 0.2)
    yield from _cached_images()
    yield from _many_runs()
    yield _report()


def _start(arguments: list[str]) -> float:
    """CPU seconds of the command line as a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "lossbench", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def digest_code() -> float:
    """CPU seconds of what a driver computes once, for every loss and backbone that there is."""
    kinds: tuple[Kind, ...] = ("loss", "backbone")
    plugins = [registry.find(kind, name) for kind in kinds for name in registry.names(kind)]
    started = time.process_time()
    code_digest(plugins)
    return time.process_time() - started  # of the first call: it is remembered


def _cached_images() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        in_a_new_process(open_images, folder)  # decodes and caches
        opened = [in_a_new_process(open_images, folder) for _ in range(TRIES)]
    what = f"opening {IMAGES:,} cached images of 28 x 28 in a new worker"
    yield within(what, min(seconds for seconds, _ in opened), 0.2)
    private = max(private for _, private in opened)
    yield Row(
        what=f"{what}: memory of its own after reading them all",
        ours=f"{private / 1e6:.2g} MB",
        limit=f"< 5 MB of {IMAGES * 784 / 1e6:.0f} MB",
        reached=private < 5e6,
    )


def open_images(folder: str) -> tuple[float, float]:
    """Seconds to open the images, and bytes of memory that reading all of them makes this process's own."""
    os.environ["LOSSBENCH_CACHE"] = folder
    started = time.process_time()
    data = cached("noise", Request(folder=Path(folder)), [], random_images)
    seconds = time.process_time() - started
    before = _private_bytes()
    int(data.samples.sum(dtype=np.int64))
    return seconds, _private_bytes() - before


def random_images(request: Request) -> Dataset:
    """As many images as MNIST has for training, of noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
    return Dataset(images=images, labels=np.arange(IMAGES) % 10, class_names=tuple("0123456789"))


def _private_bytes() -> float:
    """Memory that this process shares with no other and that is no file's."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * float(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


class Silent:
    """Progress that nobody watches."""

    def expect(self, planned: Mapping[str, int], studies: int) -> None: ...

    def start(self, workers: int) -> None: ...

    def finished(self, job: Job, record: Record, *, reused: bool) -> None: ...

    def message(self, text: str) -> None: ...


class Copies(SerialExecutor):
    """Finishes every run at once: one real trial and one real final run, under each run's own identity.

    Args:
        arrays: whether final runs keep what the report draws.
    """

    def __init__(self, *, arrays: bool = False) -> None:
        self.arrays, self.real, self.trials = arrays, dict[bool, Any](), 0
        self.rng = np.random.default_rng(0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        spec: RunSpec = args[0]
        if spec.final not in self.real:
            from lossbench.run.execution import execute  # what is timed imports no torch, as the driver does not

            self.real[spec.final] = execute(spec)
        real = self.real[spec.final]
        own = {**real.record, "run_id": spec.run_id, "key": spec.key, "spec": to_json(spec)}
        own["metrics"] = {group: self._varied(scores) for group, scores in real.record["metrics"].items()}
        if not spec.final:  # each trial beats the one before, so that tuned and default runs are different runs
            self.trials += 1
            own["metrics"]["val"]["sphere.map_at_r"] = 1 - 1 / self.trials
        extras = {"arrays": real.arrays, "audit": real.audit} if self.arrays else {}
        return super().submit(lambda: (own, extras))

    def _varied(self, scores: Mapping[str, float]) -> dict[str, float]:
        return {name: value * (1 + 0.01 * self.rng.normal()) for name, value in scores.items()}


def _many_runs() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        plan = launch.prepare(ABLATION, MANY, [])
        with mock.patch("os.fsync"):  # the copies may be lost
            Sweep(plan, Store(runs), Copies(), Silent()).run()
        count = len(list(runs.glob("*/result.json")))
        for name, seconds in in_a_new_process(check_runs, runs).items():
            yield within(f"{name} of {count:,} stored runs", seconds, 2.0)
        yield _report_of(runs, plan.experiment.name, 15.0)


def check_runs(runs: Path) -> dict[str, float]:
    """CPU seconds of what a command does first where every run is stored, the least of three tries."""
    plan = launch.prepare(ABLATION, MANY, [])
    checks: dict[str, Callable[[Store], object]] = {
        "resume check": lambda store: Sweep(plan, store, Copies(), Silent()).run(),
        "dry run": lambda store: dry_run.describe(plan, store, None),
        "table load": lambda store: store.table(store.read_plan(plan.experiment.name)),
    }
    return {
        name: min(seconds_of(lambda check=check: check(Store(runs))) for _ in range(3))  # type: ignore[misc]
        for name, check in checks.items()
    }


def _report() -> Row:
    """Of runs that keep arrays, which the report draws."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        plan = launch.prepare(ABLATION, THOUSAND, [])
        with mock.patch("os.fsync"):
            Sweep(plan, Store(runs), Copies(arrays=True), Silent()).run()
        return _report_of(runs, plan.experiment.name, 10.0)


def _report_of(runs: Path, name: str, limit_s: float) -> Row:
    """Wall seconds, as two cores may share the work; the command line as a process of its own."""
    count = len(list(runs.glob("*/result.json")))
    command = [sys.executable, "-m", "lossbench", "report", name, "--runs", str(runs)]
    with tempfile.TemporaryDirectory() as reports:
        started = time.perf_counter()
        subprocess.run([*command, "--reports", reports], check=True, capture_output=True)
        seconds = time.perf_counter() - started
    return within(f"report of {count:,} stored runs, process start to end", seconds, limit_s)
