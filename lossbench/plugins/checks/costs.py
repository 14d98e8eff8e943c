"""How the cost of a step grows, counted in tensor elements and not in seconds: no verdict depends on the machine."""

from __future__ import annotations

import math

import torch

from lossbench.plugins.checks.subject import BATCH, CLASSES, DIM, PER_CLASS, Subject, Violation, batch, call, words
from lossbench.plugins.counting import elements_written

SIZES = {"batch": (16, 32, 64), "dimension": (16, 64, 256), "classes": (16, 128, 1024)}
# Pairs and triplets cost up to the cube of the batch; dimension and number of classes may enter once. With what small
# sizes add to a slope.
LIMITS = {"batch": 3.25, "dimension": 1.25, "classes": 1.25}


def cost_batch(subject: Subject) -> str:
    """Elements written per step against the size of the batch, four samples a class."""
    costs = [_cost(subject, size=size, classes=size // PER_CLASS) for size in SIZES["batch"]]
    return _slope("batch", costs)


def cost_dimension(subject: Subject) -> str:
    """Elements written per step against the dimension."""
    return _slope("dimension", [_cost(subject, dim=dim) for dim in SIZES["dimension"]])


def cost_classes(subject: Subject) -> str:
    """Elements written per step against the number of classes of the problem, with the same batch."""
    return _slope("classes", [_cost(subject, classes=classes) for classes in SIZES["classes"]])


def _cost(subject: Subject, *, size: int = BATCH, dim: int = DIM, classes: int = CLASSES) -> int:
    module = subject.build(classes, dim, torch.float32)
    embeddings, labels = batch(size, dim, min(classes, size // PER_CLASS))
    return elements_written(lambda: call(module, embeddings.float(), labels, words(size, dim)))


def _slope(axis: str, costs: list[int]) -> str:
    """The exponent of a cost in a size, by least squares on logarithms; more than its limit is a violation."""
    sizes = SIZES[axis]
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True)) / sum((a - x_mean) ** 2 for a in x)
    seen = f"exponent {slope:.2f}: {', '.join(f'{cost:,}' for cost in costs)} elements at {', '.join(map(str, sizes))}"
    if slope > LIMITS[axis]:
        raise Violation(f"{seen}; the limit is {LIMITS[axis]:g}")
    return seen
