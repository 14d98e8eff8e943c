"""A few dozen steps on digits by the one training loop: what `lossbench check` asks of a loss beyond single batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossbench import metrics
from lossbench.plugins.checks.subject import Subject, Violation
from lossbench.run import device, evaluation
from lossbench.run.clock import make_clock
from lossbench.run.data import TaskData, source, task_data
from lossbench.run.execution import build
from lossbench.run.history import History
from lossbench.run.model import Model
from lossbench.run.training import train
from lossbench.specification.recipes import make_recipe
from lossbench.specification.spec import Provenance, RunSpec
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training

TASK = Task(dataset="digits", protocol="closed-set")
SETTINGS = Training(epochs=3)
LEAST_GAIN = 0.01  # in MAP@R over the untrained network; losses of the catalogue gain 0.03 to 0.63


def training(subject: Subject) -> str:
    """Trained alone at its defaults, the loss falls, stays finite, and ranks better than the untrained network.

    A head with the wrong sign ranks better too: it tells the classes apart by the least logit. So logits, centers or
    proxies, where a loss has them, must know the labels.
    """
    device.set_up("cpu")
    spec = _spec(subject)
    data = task_data(spec)
    model = build(spec, data)
    history = _train(model, data, spec)
    losses, scores = history.curves["loss"][1:], history.curves["val_map_at_r"]
    if history.diverged_epoch is not None:
        raise Violation(f"digits: loss, weights or embeddings are not finite after {_steps(history)}")
    if not losses[-1] < losses[0]:
        raise Violation(f"digits: the loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {_steps(history)}")
    if scores[-1] < scores[0] + LEAST_GAIN:
        raise Violation(
            f"digits: MAP@R on validation is {scores[-1]:.3f} after {_steps(history)} and {scores[0]:.3f} untrained: "
            "is the sign right?"
        )
    known = _accuracy(model, data)
    chance = 1 / data.num_classes
    if known is not None and known < 2 * chance:
        raise Violation(
            f"digits: logits, centers or proxies name {known:.1%} of validation rightly, chance {chance:.1%}"
        )
    return f"loss {losses[0]:.3g} to {losses[-1]:.3g}, MAP@R {scores[0]:.3f} to {scores[-1]:.3f} in {_steps(history)}"


def _spec(subject: Subject) -> RunSpec:
    recipe = make_recipe(subject.plugin.name, subject.plugin.name, SETTINGS)
    values = {**recipe.defaults, **subject.params}
    (stage,) = recipe.stages(values, SETTINGS.epochs)
    return RunSpec(
        task=TASK, backbone="convnet", embedding_dim=32, terms=stage.terms, sampler=stage.sampler,
        lr=float(values["lr"]), training=SETTINGS, seed=0, final=False,
        provenance=Provenance(data=source(TASK.dataset, None, "crop").checksum, code=""),
    )  # fmt: skip


def _train(model: Model, data: TaskData, spec: RunSpec) -> History:
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    def validate(_: int) -> dict[str, float] | None:
        embeddings = evaluation.embed(model.network, data.val.images)
        if not embeddings.isfinite().all():
            return None
        return {"val_map_at_r": metrics.retrieval_metrics(metrics.unit(embeddings), data.val.labels)["map_at_r"]}

    model.losses[0].module.register_forward_pre_hook(count)
    try:
        return train(model, data.train.images, data.train.labels, spec, make_clock("cpu"), validate)
    except Exception as error:  # whatever a loss raises while it trains is the loss's mistake
        raise Violation(f"digits, step {steps}: {type(error).__name__}: {error}".splitlines()[0]) from error


def _steps(history: History) -> str:
    return f"{history.steps} steps"


def _accuracy(model: Model, data: TaskData) -> float | None:
    """The share of validation that the loss itself names rightly: by logits, else by the nearest center or proxy."""
    module = model.losses[0].module
    embeddings, labels = evaluation.embed(model.network, data.val.images), data.val.labels
    known = evaluation.head_accuracy([module], embeddings, labels)
    if not math.isnan(known):
        return known
    for name in ("centers", "proxies"):
        points = getattr(module, name, None)
        if isinstance(points, Tensor) and points.shape == (data.num_classes, embeddings.shape[1]):
            angles = metrics.unit(embeddings) @ metrics.unit(points.detach()).T
            return max(metrics.accuracy(near, labels) for near in (-torch.cdist(embeddings, points.detach()), angles))
    return None
