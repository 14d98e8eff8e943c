"""Seconds of training steps and of losses, measured one at a time and in turns: the only base of cost claims.

On a CPU these are CPU seconds of one thread: the wall seconds of a machine that does nothing else.

Recipes take turns on the same batches, a step each, in an order drawn anew for every round: whatever slows the machine
for a while slows all of them, and the rounds are pairs as seeds are for scores.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from lossbench.plugins import Problem, registry
from lossbench.run.data import TaskData, task_data
from lossbench.run.device import environment, set_up
from lossbench.run.execution import build
from lossbench.run.model import Model, WeightedLoss, combine, to_input
from lossbench.run.optimizer import make_optimizer
from lossbench.run.sampling import balanced_plan
from lossbench.run.seeding import stream
from lossbench.run.training import autocast
from lossbench.specification.spec import RunSpec, Term

BACKBONE = ""  # the name of the step without any loss
PARTS = ("forward_s", "loss_s", "backward_s", "optimizer_s")
ROUNDS = 80
WARM_ROUNDS = 4
SCALING_ROUNDS = 7
SCALES: Mapping[str, tuple[int, ...]] = {
    "batch_size": (16, 32, 64, 128, 256, 512),
    "embedding_dim": (8, 32, 128, 512, 2048),
    "classes": (10, 100, 1_000, 10_000, 100_000, 1_000_000),
}
BASE = {"batch_size": 64, "embedding_dim": 32, "classes": 100}


class Stepper:
    """One recipe's training step with a stop watch; without terms, the backbone's alone."""

    def __init__(self, spec: RunSpec, data: TaskData) -> None:
        self.model: Model = build(spec, data)
        self.stages: list[tuple[list[WeightedLoss], torch.optim.Optimizer, float]] = []
        for stage, losses in zip(spec.stages, self.model.stages or (self.model.losses,), strict=True):
            self.model.losses = losses
            optimizer = make_optimizer(self.model, spec.training, spec.lr or 1e-3)
            self.stages.append((losses, optimizer, stage.epochs / spec.training.epochs))
        self.precision = autocast(spec.training)
        self.now = _clock(spec.training.device)

    def step(self, batch: Tensor, labels: Tensor) -> list[float]:
        """Seconds of each part of one step; of a recipe in stages, of a step of each by its share of the steps."""
        found = []
        for losses, optimizer, share in self.stages:
            self.model.losses = losses
            found.append([share * seconds for seconds in self._step(optimizer, batch, labels)])
        return [sum(parts) for parts in zip(*found, strict=True)]

    def _step(self, optimizer: torch.optim.Optimizer, batch: Tensor, labels: Tensor) -> list[float]:
        self.model.train(True)
        ticks = [self.now()]
        with self.precision:
            embeddings = self.model.network(batch)
        embeddings = embeddings.float()
        ticks.append(self.now())
        if self.model.losses:
            total, _ = combine(self.model.losses, embeddings, labels)
        else:
            total = embeddings.sum()  # the cheapest function that gives the backbone a gradient
        ticks.append(self.now())
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        ticks.append(self.now())
        optimizer.step()
        ticks.append(self.now())
        return [after - before for before, after in pairwise(ticks)]


def measure_steps(specs: Mapping[str, RunSpec]) -> dict[str, Any]:
    """Seconds of a training step of each recipe of one task, round by round.

    Args:
        specs: recipe to a run of it; all of one task and training setting.

    Returns:
        `recipes`: name to part to one value a round; `""` is the backbone alone. `failed`: name to reason of recipes
        that raised.
    """
    first = next(iter(specs.values()))
    set_up(first.training.device)
    registry.load_files(first.plugin_files)
    data = task_data(first)
    steppers, failed = _steppers({**specs, BACKBONE: replace(first, terms=(), then=None)}, data)
    batches = _batches(first, data)
    order = random.Random(0)
    seconds: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in steppers}
    for batch in batches[:WARM_ROUNDS]:
        _round(steppers, batch, order, failed)
    for turn in range(ROUNDS):
        for name, parts in _round(steppers, batches[turn % len(batches)], order, failed).items():
            for part, value in zip(PARTS, parts, strict=True):
                seconds[name][part].append(value)
    recipes = {name: found for name, found in seconds.items() if name not in failed}
    for found in recipes.values():
        found["step_s"] = [sum(parts) for parts in zip(*found.values(), strict=True)]
    return {
        "rounds": ROUNDS,
        "batch_size": first.training.batch_size,
        "embedding_dim": first.embedding_dim,
        "classes": data.num_classes,
        "recipes": recipes,
        "failed": failed,
        "environment": environment(first.training.device),
    }


def measure_scaling(terms: Sequence[Term], plugin_files: Sequence[str], device: str) -> dict[str, Any]:
    """Seconds of forward and backward of each loss alone while one of batch size, dimension and classes grows.

    Returns:
        `losses`: name to scale to a list of [size, seconds or null], the median over rounds; `base`:
        the sizes that do not grow.
    """
    set_up(device)
    registry.load_files(plugin_files)
    losses: dict[str, dict[str, list[list[float | None]]]] = {
        term.loss: {scale: [] for scale in SCALES} for term in terms
    }
    for scale, sizes in SCALES.items():
        for size in sizes:
            for name, value in _loss_seconds(terms, {**BASE, scale: size}, device).items():
                losses[name][scale].append([size, value])
            gc.collect()
    return {"base": BASE, "losses": losses, "environment": environment(device)}


def _steppers(specs: Mapping[str, RunSpec], data: TaskData) -> tuple[dict[str, Stepper], dict[str, str]]:
    steppers, failed = {}, {}
    for name, spec in specs.items():
        try:
            steppers[name] = Stepper(spec, data)
        except Exception as error:  # a plugin's own mistake must not stop the others
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return steppers, failed


def _batches(spec: RunSpec, data: TaskData) -> list[tuple[Tensor, Tensor]]:
    """Balanced batches, which every loss can work with; the same for all recipes."""
    plan = balanced_plan(
        data.train.labels,
        steps=8,
        batch_size=spec.training.batch_size,
        samples_per_class=spec.training.samples_per_class,
        generator=stream(spec.seed, "order"),
    )
    return [(to_input(data.train.images[index]), data.train.labels[index]) for index in plan]


def _round(
    steppers: Mapping[str, Stepper], batch: tuple[Tensor, Tensor], order: random.Random, failed: dict[str, str]
) -> dict[str, list[float]]:
    """Seconds of each part of a step of every recipe on one batch, in an order drawn anew."""
    names = [name for name in steppers if name not in failed]
    found = {}
    for name in order.sample(names, len(names)):
        try:
            found[name] = steppers[name].step(*batch)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def _loss_seconds(terms: Sequence[Term], sizes: Mapping[str, int], device: str) -> dict[str, float | None]:
    """Median seconds of each loss at one point, in turns; None where it does not work there."""
    generator = torch.Generator().manual_seed(0)
    count, dim, classes = sizes["batch_size"], sizes["embedding_dim"], sizes["classes"]
    points = torch.randn(count, dim, generator=generator).to(device).requires_grad_()
    labels = (torch.arange(count) % min(classes, max(2, count // 4))).to(device)
    problem = Problem(num_classes=classes, embedding_dim=dim, generator=generator)
    calls: dict[str, Callable[[], float]] = {}
    found: dict[str, list[float]] = {term.loss: [] for term in terms}
    for term in terms:
        try:
            calls[term.loss] = _timed_call(term, problem, points, labels, device)
            calls[term.loss]()
        except Exception:  # out of memory, or a loss that does not take these sizes
            calls.pop(term.loss, None)
    for _ in range(SCALING_ROUNDS):
        for name, call in calls.items():
            found[name].append(call())
    return {name: median(values) if values else None for name, values in found.items()}


def _timed_call(term: Term, problem: Problem, points: Tensor, labels: Tensor, device: str) -> Callable[[], float]:
    module = registry.find("loss", term.loss).build(problem, **dict(term.params)).to(device)
    module.train()
    now = _clock(device)

    def call() -> float:
        points.grad = None
        module.zero_grad()
        started = now()
        module(points, labels).backward()
        return now() - started

    return call


def _clock(device: str) -> Callable[[], float]:
    """CPU seconds, which other programs do not lengthen; with an accelerator wall seconds, once it is done."""
    if device == "cpu":
        return time.process_time

    def synchronized() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronized
