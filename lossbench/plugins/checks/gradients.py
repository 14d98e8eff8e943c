"""Value and gradient of a loss on ordinary batches."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from lossbench.plugins.checks.subject import BATCH, Subject, Violation, batch, call, words
from lossbench.plugins.plugin import Choice


def scalar(subject: Subject) -> str:
    """A finite scalar with a finite gradient that reaches the embeddings."""
    value, gradient = call(subject.build(dtype=torch.float32), batch()[0].float(), batch()[1], words(BATCH))
    if not gradient.any():
        raise Violation(f"{words(BATCH)}: the gradient is zero everywhere")
    return f"{value.item():.4g}"


def space(subject: Subject) -> str:
    """Both ends of every range and every option build and work."""
    tried = 0
    for name, allowed in subject.plugin.space.items():
        ends: tuple[Any, ...] = allowed.options if isinstance(allowed, Choice) else (allowed.low, allowed.high)
        for end in ends:
            tuned = Subject(plugin=subject.plugin, params={name: end})
            call(tuned.build(dtype=torch.float32), batch()[0].float(), batch()[1], f"{name} = {end}")
            tried += 1
    return f"{tried} ends and options" if tried else "no parameters"


def gradcheck(subject: Subject) -> str:
    """The gradient in float64 is the central difference, entry by entry for embeddings, along a line for parameters."""
    embeddings, labels = batch(size=12, dim=5)
    labels = labels % 3
    start = subject.build(dim=5)

    def value(points: Tensor, shift: float = 0.0, directions: list[Tensor] | None = None) -> float:
        module = copy.deepcopy(start)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter, direction in zip(module.parameters(), directions or [], strict=False):
                parameter.add_(direction, alpha=shift)
            return float(module(points, labels))

    module = copy.deepcopy(start)
    torch.manual_seed(1)
    _, gradient = call(module, embeddings, labels, words(12, 5))
    step, worst = 1e-6, 0.0
    for row in range(embeddings.shape[0]):
        for column in range(embeddings.shape[1]):
            moved = embeddings.clone()
            moved[row, column] += step
            up = value(moved)
            moved[row, column] -= 2 * step
            numeric = (up - value(moved)) / (2 * step)
            difference = abs(numeric - float(gradient[row, column]))
            if difference > 1e-5 + 1e-3 * abs(numeric):
                raise Violation(
                    f"{words(12, 5)}: d loss / d embeddings[{row}, {column}] is {gradient[row, column]:.6g}, "
                    f"by differences {numeric:.6g}"
                )
            worst = max(worst, difference)
    directions = [torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).to(p) for p in start.parameters()]
    if directions:
        pairs = zip(module.parameters(), directions, strict=True)
        slope = math.fsum(float((p.grad * d).sum()) for p, d in pairs if p.grad is not None)
        ends = [value(embeddings, shift, directions) for shift in (step, -step)]
        numeric = (ends[0] - ends[1]) / (2 * step)
        if abs(numeric - slope) > 1e-5 + 1e-3 * abs(numeric):
            raise Violation(f"{words(12, 5)}: along the parameters {slope:.6g}, by differences {numeric:.6g}")
    return f"within {worst:.0e}"


def permutation(subject: Subject) -> str:
    """The order of the batch changes neither value nor gradients."""
    embeddings, labels = batch()
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(3))
    value, gradient = call(subject.build(), embeddings, labels, words(BATCH))
    shuffled, shuffled_gradient = call(subject.build(), embeddings[order], labels[order], f"shuffled {words(BATCH)}")
    if not math.isclose(value, shuffled, rel_tol=1e-7, abs_tol=1e-9):
        raise Violation(f"{value:.6g} became {shuffled:.6g} when {words(BATCH)} was shuffled")
    if not torch.allclose(gradient[order], shuffled_gradient, rtol=1e-6, atol=1e-9):
        raise Violation(f"the gradient changed when {words(BATCH)} was shuffled")
    return ""
