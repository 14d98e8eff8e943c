"""The step of centre loss against the B x C form that most public code uses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.measure import Row, at_least, at_most, in_turns
from lossbench.losses import CenterLoss


class PopularCenterLoss(nn.Module):
    """The published B x C algorithm, written for this comparison: all distances, masked to the own class."""

    def __init__(self, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        distances = embeddings.square().sum(1, keepdim=True) + self.centers.square().sum(1)
        distances = distances - 2 * embeddings @ self.centers.T
        own = labels.unsqueeze(1) == torch.arange(len(self.centers))
        return (distances * own).clamp(1e-12, 1e12).sum() / len(labels)


def rows() -> Iterator[Row]:
    """Forward, backward and centre step, one thread."""
    torch.manual_seed(0)
    for batch, dim, classes, factor in ((128, 2, 10, 1.6), (256, 512, 10_575, 120)):
        ours, peer = CenterLoss(classes, dim), PopularCenterLoss(classes, dim)
        embeddings, labels = torch.randn(batch, dim, requires_grad=True), torch.randint(classes, (batch,))
        pairs = in_turns(_Step(ours, embeddings, labels), _PopularStep(peer, embeddings, labels))
        yield at_least(f"centre loss step, m {batch}, D {dim}, C {classes:,}, against B x C", pairs, factor)
    yield from _million_classes()


def _million_classes() -> Iterator[Row]:
    few, many = 10_575, 1_000_000
    embeddings = torch.randn(256, 512, requires_grad=True)
    step = _Step(CenterLoss(many, 512), embeddings, torch.randint(many, (256,)))
    fewer = _Step(CenterLoss(few, 512), embeddings, torch.randint(few, (256,)))
    yield at_most(f"centre loss step, m 256, D 512, C {many:,}, against C {few:,}", in_turns(step, fewer), 1.2)
    largest = _largest_allocation(step)
    yield Row(
        what=f"the largest allocation of that step at C {many:,}",
        ours=f"{largest / 1e6:.2g} MB",
        limit="< 1 MB, a byte a class",
        reached=largest < many,
    )


class _Step:
    """A step of ours: the centres move within `forward`."""

    def __init__(self, loss: nn.Module, embeddings: Tensor, labels: Tensor) -> None:
        self.loss, self.embeddings, self.labels = loss, embeddings, labels

    def __call__(self) -> None:
        self.embeddings.grad = None
        self.loss(self.embeddings, self.labels).backward()


class _PopularStep(_Step):
    """A step of the B x C form, whose centres belong to an optimizer."""

    def __init__(self, loss: nn.Module, embeddings: Tensor, labels: Tensor) -> None:
        super().__init__(loss, embeddings, labels)
        self.optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        super().__call__()
        self.optimizer.step()


def _largest_allocation(step: _Step) -> int:
    """Bytes of the largest tensor that a step allocates."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    return max(int(event.self_cpu_memory_usage) for event in profile.events())
