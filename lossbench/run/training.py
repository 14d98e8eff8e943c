"""The one training loop, the same for every recipe."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lossbench.run import parallel
from lossbench.run.augmentation import augmented
from lossbench.run.clock import Clock, TimeLimitError
from lossbench.run.history import History
from lossbench.run.model import Model, combine, to_input
from lossbench.run.optimizer import rate_factor
from lossbench.run.resuming import Moving, Watched
from lossbench.run.rows import Samples
from lossbench.run.sampling import batch_plan
from lossbench.run.stages import Turn, begin, starts_of
from lossbench.run.unfinished import Unfinished
from lossbench.specification.spec import RunSpec
from lossbench.specification.training_settings import Training


def train(
    model: Model,
    images: Samples,
    labels: Tensor,
    spec: RunSpec,
    clock: Clock,
    validate: Callable[[int], dict[str, float] | None],
    unfinished: Unfinished | None = None,
    watched: Watched | None = None,
) -> History:
    """Train for `spec.training.epochs` epochs and remember the best by `validate`'s `val_map_at_r`.

    Where several processes train together, each takes its share of every batch (`parallel`).

    A second stage goes on with the network, and has losses, optimizer, schedule and order of the samples of its own.

    Nothing waits for a device within an epoch: batches and augmentation are drawn on the host before the first step,
    sums of the losses are read after the last.

    Args:
        images: (N, C, H, W) uint8 or (N, F) floating of the training split, on the device to train on.
        labels: (N,) int64 in 0..C-1, there too.
        validate: scores the model after an epoch of `validated_epochs`; None where its embeddings are not finite.
        unfinished: where the state is kept between epochs, and found again: the same bits come of it.
        watched: what `validate` remembers, to be kept with it.

    Raises:
        TimeLimitError: more than `time_limit_s` seconds at the end of an epoch, evaluation included.
    """
    settings = spec.training
    starts = starts_of(spec)
    turn = begin(model, spec, 0, 0)
    silent = {f"loss.{term.name}": math.nan for losses in model.stages for term in losses}  # of the other stage
    validated = validated_epochs(settings)
    history = History()
    moving = Moving(model, history, clock, watched)
    done = 0
    if unfinished is not None and (kept := unfinished.load()) is not None:
        turn = begin(model, spec, kept["stage"], kept["taken"])
        done = moving.load(kept, turn)
    else:
        _keep(history, model, 0, validate(0), {"loss": math.nan, "coverage": math.nan, "wall_s": 0.0})
        clock.lap("evaluation")

    for epoch in range(done + 1, settings.epochs + 1):
        if epoch > done + 1 and unfinished is not None and unfinished.is_due:
            unfinished.save(moving.state(epoch - 1, turn))
        began_cpu_s = time.process_time()
        if epoch > 1 and epoch in starts:
            turn = begin(model, spec, starts[epoch], history.steps)
        plan, sums = _steps(model, turn, images, labels, spec, history.steps - turn.taken, clock)
        history.steps += len(plan)
        history.images += plan.numel()
        history.cpu_s += time.process_time() - began_cpu_s
        if settings.time_limit_s is not None and parallel.from_first(clock.total_s) > settings.time_limit_s:
            raise TimeLimitError(f"ran longer than {settings.time_limit_s:g} s (training.time_limit_s)")
        model.train(False)
        parallel.synchronize(model.parts().values())
        means = [value / len(plan) for value in torch.stack(sums).tolist()]
        loss = sum(term.weight * mean for term, mean in zip(model.losses, means, strict=True) if term.weight)
        finite = parallel.everywhere(math.isfinite(loss) and model.is_finite())
        if finite and epoch not in validated:
            clock.lap("evaluation")
            continue
        coverage = int(plan.flatten().bincount().count_nonzero()) / len(labels)
        scores = parallel.from_first(validate(epoch) if finite else None)
        facts = {"loss": loss, "coverage": coverage, "wall_s": clock.training_s}
        facts |= silent | {f"loss.{term.name}": mean for term, mean in zip(model.losses, means, strict=True)}
        clock.lap("evaluation")
        if not _keep(history, model, epoch, scores, facts):
            break
    return history


def _steps(
    model: Model, turn: Turn, images: Samples, labels: Tensor, spec: RunSpec, taken: int, clock: Clock
) -> tuple[Tensor, list[Tensor]]:
    """An epoch of a stage that took `taken` steps before: rows of each batch (steps, B), each loss's sum of values."""
    settings = spec.training
    precision = autocast(settings)
    factor = rate_factor(settings, max(1, len(labels) // settings.batch_size) * turn.stage.epochs)
    plan = batch_plan(
        turn.stage.sampler,
        labels,
        batch_size=settings.batch_size,
        samples_per_class=settings.samples_per_class,
        generator=turn.order,
    ).to(images.device)
    drawn = turn.augmentation.draw(plan, images.shape, images.device)
    model.train(True)
    sums = [torch.zeros((), device=images.device) for _ in model.losses]  # read once an epoch
    own = parallel.share(plan.shape[1])  # of every batch; all of it, where this process trains alone
    for step, (indices, targets) in enumerate(zip(plan[:, own], labels[plan], strict=True)):
        batch = augmented(to_input(images[indices]), drawn, step, own)
        clock.lap("sampling")
        with precision:
            embeddings = model.network(batch)
        embeddings = parallel.gather(embeddings.float(), len(targets))  # losses compute in float32
        clock.lap("forward")
        total, values = combine(model.losses, embeddings, targets)
        clock.lap("loss")
        turn.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        parallel.sum_gradients(model.network)
        clock.lap("backward")
        now = factor(taken + step)
        for group in turn.optimizer.param_groups:
            group["lr"] = spec.lr * group["lr_factor"] * now
        turn.optimizer.step()
        for running, value in zip(sums, values, strict=True):
            running += value
        clock.lap("optimizer")
    return plan, sums


def validated_epochs(settings: Training) -> tuple[int, ...]:
    """The epochs after which validation is scored, evenly spaced; the last is always one.

    >>> validated_epochs(Training(epochs=10, validations=4))
    (2, 5, 7, 10)
    """
    count = min(settings.validations or settings.epochs, settings.epochs)
    return tuple(settings.epochs * turn // count for turn in range(1, count + 1))


def autocast(settings: Training) -> contextlib.AbstractContextManager[Any]:
    """What the network trains under: nothing, or bfloat16 in the operations that torch holds to bear it."""
    if settings.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(settings.device, dtype=torch.bfloat16)


def _keep(history: History, model: Model, epoch: int, scores: dict[str, float] | None, facts: dict[str, float]) -> bool:
    """Record an epoch; False where it diverged."""
    if scores is None:
        history.diverged_epoch = epoch
        return False
    history.record(epoch=epoch, **facts, **scores)
    if scores["val_map_at_r"] > history.best_score:
        history.best_epoch, history.best_score = epoch, scores["val_map_at_r"]
        history.best_state, history.best_losses = model.state(), model.losses
    return True
