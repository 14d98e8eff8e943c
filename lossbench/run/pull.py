"""How far a training step moves the centers of a loss: measured on the loss and the optimizer that train."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.run import sharding
from lossbench.run.model import Model, WeightedLoss, combine
from lossbench.run.optimizer import make_optimizer
from lossbench.specification.training_settings import Training

REPEATS = 100  # of one step, after which momentum 0.9 has gathered all but 3e-5 of its sum


def effective_pull(
    losses: list[WeightedLoss], embeddings: Tensor, labels: Tensor, settings: Training, lr: float
) -> dict[str, float]:
    """The pull k of one step, c <- c - k (c - mean of the batch's samples of the class), over the classes present.

    Each loss with `centers` is copied and trained by a copy of the experiment's optimizer on one batch, again and
    again from the same centers. k is the least-squares coefficient of the movement on the way to the means, each
    class counted once.

    Args:
        losses: the terms of the recipe; they are left as they are.
        embeddings: (B, D) of one batch; `labels` (B,).

    Returns:
        `<loss>.pull`, of the first step, and `<loss>.pull_sustained`, of a step after many like it, when momentum has
        gathered; NaN where all centers lie at the means.
    """
    model = Model(nn.Identity(), [copy.deepcopy(term) for term in losses if hasattr(term.module, "centers")])
    model.train(True)
    modules: dict[str, Any] = {term.name: term.module for term in model.losses}
    start = {name: module.centers.detach().clone() for name, module in modules.items()}
    before = {name: sharding.centers(module).clone() for name, module in modules.items()}
    points = embeddings.detach().requires_grad_()
    found: dict[str, float] = {}
    if not modules:
        return found
    optimizer = make_optimizer(model, settings, lr)
    for repeat in range(REPEATS):
        for name, module in modules.items():
            module.centers.data.copy_(start[name])
        optimizer.zero_grad()
        total = combine(model.losses, points, labels)[0]
        if total.requires_grad:  # not at lambda = 0
            total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if repeat in (0, REPEATS - 1):
            kind = "pull_sustained" if repeat else "pull"
            for name, module in modules.items():
                found[f"{name}.{kind}"] = _coefficient(before[name], sharding.centers(module), points.detach(), labels)
    return found


def _coefficient(before: Tensor, after: Tensor, points: Tensor, labels: Tensor) -> float:
    present, dense, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(present), points.shape[1], dtype=torch.float64, device=points.device)
    means = sums.index_add(0, dense, points.double()) / counts.unsqueeze(1)
    way, moved = (before[present] - means), (before - after)[present]
    return float((way * moved).sum() / way.square().sum())
