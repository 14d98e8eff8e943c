"""An epoch through the harness against a loop written by hand and against the trainer of the library; batch plans."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import time
from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from benchmarks.measure import PAIRS, Row, at_least, at_most, compared, default_run, in_turns, seconds_of, within
from lossbench.losses import SoftmaxLoss
from lossbench.run.clock import make_clock
from lossbench.run.data import TaskData, task_data
from lossbench.run.execution import build
from lossbench.run.model import Model
from lossbench.run.sampling import balanced_plan, uniform_plan
from lossbench.run.seeding import stream
from lossbench.run.training import train
from lossbench.specification.spec import RunSpec

# Tasks, and pairs with the loop by hand: the shorter a call, the more alike is what disturbs the two of a pair.
TASKS = {
    "digits, 8 x 8": ('{dataset="digits", protocol="closed-set"}', 25 * PAIRS),
    "glyphs, 28 x 28": ('{dataset="glyphs", protocol="open-set", train_classes=100}', 5 * PAIRS),
}
EPOCHS = 3  # with the library's trainer, which sets up for them once


def rows() -> Iterator[Row]:
    """Epochs of softmax, the quickest recipe, so that what the harness adds weighs most."""
    for name, (task, turns) in TASKS.items():
        spec = default_run(f"tasks=[{task}]", "training.epochs=1")
        data = task_data(spec)
        _same_weights(harness(spec, data), by_hand(spec, data))
        pairs = in_turns(partial(harness, spec, data), partial(by_hand, spec, data), turns)
        yield at_most(f"an epoch of {name}, against a loop by hand on the same batches", pairs, 1.05)
        spec = default_run(f"tasks=[{task}]", f"training.epochs={EPOCHS}")
        ours = partial(harness, spec, data)
        what = f"{EPOCHS} epochs of {name}, against the library's trainer, DataLoader"
        pairs = in_turns(ours, partial(library, spec, data, loaders=0))
        yield compared(f"{what} in its process", pairs)
        pairs = in_turns(ours, partial(library, spec, data, loaders=2), clock=time.perf_counter)
        yield at_least(f"{what} with 2 more (wall)", pairs, 2.0)
    yield from _plans()


def harness(spec: RunSpec, data: TaskData) -> Model:
    """Train as every run does, clock and choice of the epoch included; each epoch is better than the last."""
    model, scores = build(spec, data), itertools.count()
    train(
        model,
        data.train.images,
        data.train.labels,
        spec,
        make_clock("cpu"),
        lambda epoch: {"val_map_at_r": float(next(scores))},
    )
    return model


def by_hand(spec: RunSpec, data: TaskData) -> Model:
    """The same training in the fewest lines that do it: no clock, no curves, no choice."""
    model, order = build(spec, data), stream(spec.seed, "order")
    network, head = model.network, cast(SoftmaxLoss, model.losses[0].module)
    images, labels = data.train.images, data.train.labels
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=spec.lr, fused=True)
    network.train()
    for _ in range(spec.training.epochs):
        for batch in uniform_plan(len(labels), batch_size=spec.training.batch_size, generator=order):
            logits = head.logits(network((images[batch].float() - 127.5) / 128))
            loss = functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


class Images(Dataset[tuple[Tensor, int]]):
    """The training split as a map-style data set: one image and its label at a time."""

    def __init__(self, data: TaskData) -> None:
        assert isinstance(data.train.images, Tensor)
        self.images, self.labels = data.train.images, data.train.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (self.images[index].float() - 127.5) / 128, self.labels[index]


def library(spec: RunSpec, data: TaskData, *, loaders: int) -> None:
    """The same with pytorch-metric-learning's trainer, which by itself takes two loader processes."""
    from pytorch_metric_learning.trainers import TrainWithClassifier

    logging.getLogger("PML").setLevel(logging.ERROR)
    model, batch = build(spec, data), spec.training.batch_size
    models = {
        "trunk": model.network,
        "embedder": nn.Identity(),
        "classifier": _Head(cast(SoftmaxLoss, model.losses[0].module)),
    }
    trainer = TrainWithClassifier(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.Adam(models[name].parameters(), lr=spec.lr, fused=True)
            for name in ("trunk", "classifier")
        },
        batch_size=batch,
        loss_funcs={"classifier_loss": nn.CrossEntropyLoss(), "metric_loss": nn.Identity()},
        loss_weights={"classifier_loss": 1, "metric_loss": 0},
        dataset=Images(data),
        data_device=torch.device("cpu"),
        iterations_per_epoch=len(data.train.labels) // batch,
        dataloader_num_workers=loaders,
    )
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        trainer.train(num_epochs=spec.training.epochs)


class _Head(nn.Module):
    """A head as the library wants it: a module from embeddings to logits."""

    def __init__(self, loss: SoftmaxLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.loss.logits(embeddings)


def _same_weights(ours: Model, peer: Model) -> None:
    """A comparison of speed means nothing unless both compute the same.

    Raises:
        RuntimeError: they do not.
    """
    for part, tensors in ours.state().items():
        for name, tensor in tensors.items():
            if not torch.equal(tensor, peer.state()[part][name]):
                raise RuntimeError(f"the loop by hand ends with another {part}.{name}")


def _plans() -> Iterator[Row]:
    from pytorch_metric_learning.samplers import MPerClassSampler

    def plan(labels: Tensor) -> None:
        steps = len(labels) // 64
        balanced_plan(labels, steps=steps, batch_size=64, samples_per_class=4, generator=torch.Generator())

    many, few = (torch.arange(size) % (size // 20) for size in (1_000_000, 20_000))
    what = "M-per-class plan of an epoch, {:,} labels, {:,} classes"
    yield within(what.format(len(many), len(many) // 20), seconds_of(lambda: plan(many)), 2.0)
    sampler = MPerClassSampler(few, m=4, batch_size=64, length_before_new_iter=len(few))
    pairs = in_turns(lambda: plan(few), lambda: list(sampler), 5)  # minutes an epoch for the library at the larger size
    yield at_least(f"{what.format(len(few), len(few) // 20)}, against the library's sampler", pairs, 1.0)
