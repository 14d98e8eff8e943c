"""A loss under test and what it is called with: every number is drawn from a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.plugins.plugin import Plugin, Problem

CLASSES, DIM, PER_CLASS = 6, 8, 4
BATCH = CLASSES * PER_CLASS


class Violation(Exception):  # noqa: N818  # what a check found, not an error of the program
    """What a loss did that no loss may do, with the input that showed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A loss under test: `build` gives the same module for the same arguments every time."""

    plugin: Plugin
    params: dict[str, Any] = field(default_factory=dict)

    def build(self, classes: int = CLASSES, dim: int = DIM, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The loss for a problem of `classes` and `dim`, in training mode."""
        torch.manual_seed(0)
        problem = Problem(num_classes=classes, embedding_dim=dim, generator=torch.Generator().manual_seed(0))
        built = self.plugin.build(problem, **{**self.plugin.defaults, **self.params})
        if not isinstance(built, nn.Module):
            raise Violation(f"builds {type(built).__name__!r}, which is not an nn.Module")
        torch.manual_seed(1)  # what the loss draws while it is called
        return built.to(dtype)


def batch(size: int = BATCH, dim: int = DIM, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal embeddings (size, dim) in float64 and labels that take turns."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, dim, generator=generator, dtype=torch.float64), torch.arange(size) % classes


def call(module: nn.Module, embeddings: Tensor, labels: Tensor, given: str) -> tuple[Tensor, Tensor]:
    """Value and gradient (B, D) of a loss; both must be there and finite.

    Args:
        given: the input in words, for the message.
    """
    points = embeddings.detach().clone().requires_grad_()
    value = module(points, labels)
    if not isinstance(value, Tensor):
        raise Violation(f"{given}: returned {type(value).__name__!r} where a scalar tensor belongs")
    if value.ndim:
        raise Violation(f"{given}: returned a tensor of shape {tuple(value.shape)} where a scalar belongs")
    if not value.isfinite():
        raise Violation(f"{given}: the loss is {value.item()}")
    if not value.requires_grad:
        raise Violation(f"{given}: the loss is detached: no gradient goes through it")
    value.backward()  # type: ignore[no-untyped-call]
    if points.grad is None:
        raise Violation(f"{given}: the loss is detached from the embeddings: no gradient reaches them")
    gradients = {"embeddings": points.grad} | {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        if not gradient.isfinite().all():
            raise Violation(f"{given}: the loss is {value.item():.4g}, the gradient of {name} is not finite")
    return value.detach(), points.grad


def words(size: int, dim: int = DIM) -> str:
    """A batch of embeddings in words, for messages."""
    return f"a batch of {size} x {dim}"


def steps(module: nn.Module, count: int, seed: int = 0) -> list[float]:
    """The losses of some training steps in float32, each on its own batch."""
    torch.manual_seed(seed)
    labels = batch()[1]
    return [
        call(module, batch(seed=seed + step)[0].float(), labels, f"step {step + 1}")[0].item() for step in range(count)
    ]
