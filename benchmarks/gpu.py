"""A GPU: what a step takes and how much of the card it uses, what waits for it, and many runs at once against one.

The network is LeNets++ on MNIST. Processes share the card at one time where `nvidia-cuda-mps-control -d` runs, else in
turns.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Row, default_run, duration
from lossbench.executors.processes import ProcessExecutor
from lossbench.run.clock import make_clock
from lossbench.run.data import TaskData, task_data
from lossbench.run.device import set_up
from lossbench.run.execution import build, execute
from lossbench.run.model import Model, to_input
from lossbench.run.training import train
from lossbench.specification.spec import RunSpec
from lossbench.sweep.launch import PRELOAD

RECIPES = ("softmax", "softmax+center", "contrastive", "triplet")
PRECISIONS = {"bf16": torch.bfloat16, "float32": torch.float32}
BATCH = 64
EPOCHS = 2
WORKERS = (1, 12)
STEPS = 100  # of an epoch whose steps are timed
PEAK_SIZE, PRODUCTS = 8192, 10


def rows() -> Iterator[Row]:
    """Steps and runs in both precisions."""
    set_up("cuda")
    for precision in PRECISIONS:
        peak = _peak(precision)
        for recipe in RECIPES:
            yield from _steps(_spec(recipe, precision), precision, peak)
    for precision in PRECISIONS:
        yield from _runs(precision)


def _spec(recipe: str, precision: str) -> RunSpec:
    return default_run(
        *('tasks=[{dataset="mnist", protocol="closed-set"}]', "backbone=lenetpp", "embedding_dim=2", "claims=[]"),
        *(f"training.epochs={EPOCHS}", f"training.batch_size={BATCH}"),
        *("training.device=cuda", f"training.precision={precision}", f'recipes=["{recipe}"]'),
    )


def _peak(precision: str) -> float:
    """Operations a second of a large matrix product, the most the card was seen to do."""
    left, right = (torch.randn(PEAK_SIZE, PEAK_SIZE, device="cuda").to(PRECISIONS[precision]) for _ in range(2))
    clock = make_clock("cuda")
    for part in ("warm", "timed"):
        for _ in range(PRODUCTS):
            left @ right
        clock.lap(part)
    return PRODUCTS * 2 * PEAK_SIZE**3 / clock.seconds["timed"]


def _steps(spec: RunSpec, precision: str, peak: float) -> Iterator[Row]:
    """A step through the harness: its time, its share of the card's peak, and how often the host waits in it."""
    data = task_data(spec)
    model = build(spec, data)
    with FlopCounterMode(display=False) as counter:
        model.network(to_input(data.train.images[:BATCH])).sum().backward()
    _step_seconds(model, spec, data)  # kernels are loaded and chosen
    step_s = _step_seconds(model, spec, data)
    name = f"LeNets++, {BATCH} of 28 x 28, {' + '.join(term.loss for term in spec.terms)}, {precision}"
    share = counter.get_total_flops() / step_s / peak
    yield Row(what=f"a step of {name}; share of the card's peak", ours=duration(step_s), ratio=f"{share:.1%}")
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _step_seconds(model, spec, data)
    torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing" in str(each.message) for each in caught)
    yield Row(what=f"times that the host waits in {STEPS} steps of {name}", ours=f"{waits / EPOCHS:.0f}")


def _step_seconds(model: Model, spec: RunSpec, data: TaskData) -> float:
    """Seconds of a step by the run's own clock, evaluation left out; the model trains on."""
    clock, some = make_clock("cuda"), slice(BATCH * STEPS)
    images, labels = data.train.images[some], data.train.labels[some]
    history = train(model, images, labels, spec, clock, lambda epoch: {"val_map_at_r": float(epoch)})
    return clock.training_s / history.steps


def _runs(precision: str) -> Iterator[Row]:
    """Trials and final runs in turns, each with its evaluation, on ever more processes that are warm."""
    spec = _spec("softmax+center", precision)
    alone = 0.0
    for workers in WORKERS:
        executor = ProcessExecutor(workers, preload=PRELOAD)
        try:
            _all(executor, spec, workers, first_seed=1000)
            runs = max(4, 2 * workers)
            started = time.perf_counter()
            _all(executor, spec, runs, first_seed=1)
            rate = 3600 * runs / (time.perf_counter() - started)
        finally:
            executor.shutdown(wait=False)
        alone = alone or rate
        most = workers == max(WORKERS)
        yield Row(
            what=f"runs an hour of softmax + center, {EPOCHS} epochs, {precision}, {workers} at once against one",
            ours=f"{rate:,.0f}",
            peer=f"{alone:,.0f}",
            ratio=f"{rate / alone:.2f}",
            limit=">= 5 x" if most else "",
            reached=rate >= 5 * alone if most else None,
        )


def _all(executor: ProcessExecutor, spec: RunSpec, runs: int, first_seed: int) -> None:
    specs = [replace(spec, seed=first_seed + turn, final=bool(turn % 2)) for turn in range(runs)]
    for future in [executor.submit(execute, each) for each in specs]:
        record = future.result().record
        if record["status"] == "failed":
            raise RuntimeError(record["error"])
