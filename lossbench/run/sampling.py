"""Batch plans of an epoch: a uniform shuffle, or M samples of each of P classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def batch_plan(
    sampler: Literal["uniform", "balanced"],
    labels: Tensor,
    *,
    batch_size: int,
    samples_per_class: int,
    generator: torch.Generator,
) -> Tensor:
    """Sample indices (steps, batch) of one epoch: floor(N / batch_size) full batches, at least one.

    Both samplers take the same number of steps, so that every recipe sees equally many images. The plan is made on
    the host, wherever the labels are.
    """
    if sampler == "uniform":
        return uniform_plan(len(labels), batch_size=batch_size, generator=generator)
    steps = max(1, len(labels) // batch_size)
    return balanced_plan(
        labels, steps=steps, batch_size=batch_size, samples_per_class=samples_per_class, generator=generator
    )


def uniform_plan(size: int, *, batch_size: int, generator: torch.Generator) -> Tensor:
    """A permutation of `size` samples cut into full batches; what is left over waits for another epoch."""
    order = torch.randperm(size, generator=generator)
    batch = min(batch_size, size)
    steps = size // batch
    return order[: steps * batch].view(steps, batch)


def balanced_plan(
    labels: Tensor, *, steps: int, batch_size: int, samples_per_class: int, generator: torch.Generator
) -> Tensor:
    """P = min(C, batch_size / M) classes in each batch, batch_size / P samples of each.

    Where P does not divide the batch, the first classes give one sample more, so that every sampler fills its
    batches. Classes come in shuffled rounds: all are met about equally often and none twice in a batch. Within
    a class the samples come from one random order that wraps around, so that a class smaller than its share is
    sampled with replacement.

    Args:
        labels: (N,) int64, any values.

    Returns:
        (steps, batch_size) int64 sample indices.
    """
    _, dense, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    classes = max(1, min(len(counts), batch_size // samples_per_class))
    per_round = len(counts) // classes
    rounds = -(-steps // per_round)
    order = torch.rand(rounds, len(counts), generator=generator).argsort(dim=1)
    # A round leaves out the classes that would not fill its last batch.
    chosen = order[:, : per_round * classes].reshape(-1, classes)[:steps]
    wanted = chosen[:, torch.arange(batch_size) % classes]

    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[dense[shuffled].argsort(stable=True)]
    first = counts.cumsum(0) - counts
    turn = _earlier_occurrences(wanted.flatten()).view_as(wanted) % counts[wanted]
    return by_class[first[wanted] + turn]


def _earlier_occurrences(values: Tensor) -> Tensor:
    """How often each element of a flat tensor has stood before it.

    >>> _earlier_occurrences(torch.tensor([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    ordered, order = values.sort(stable=True)
    position = torch.arange(len(values))
    starts = torch.ones(len(values), dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    first = torch.where(starts, position, 0).cummax(0).values
    return torch.empty_like(position).scatter_(0, order, position - first)
