"""Batches on which losses break: too few classes or samples, equal, huge, tiny and half-precision embeddings."""

from __future__ import annotations

import math

import torch

from lossbench.plugins.checks.subject import BATCH, CLASSES, DIM, PER_CLASS, Subject, Violation, batch, call, words


def scale(subject: Subject) -> str:
    """Finite when all embeddings are a hundred times longer or shorter; says how the value follows their length."""
    embeddings, labels = batch()
    values = {
        factor: float(
            call(subject.build(dtype=torch.float32), factor * embeddings.float(), labels, f"embeddings x {factor:g}")[0]
        )
        for factor in (0.01, 1.0, 100.0)
    }
    if math.isclose(values[0.01], values[100.0], rel_tol=1e-3, abs_tol=1e-6):
        return "independent of length"
    return f"{values[0.01]:.3g}, {values[1.0]:.3g}, {values[100.0]:.3g} at x 0.01, 1, 100"


def one_class(subject: Subject) -> str:
    """A batch of one class is finite and part of the graph."""
    value, _ = call(subject.build(), batch()[0], torch.zeros(BATCH, dtype=torch.int64), "all labels 0")
    return f"{value.item():.4g}"


def singletons(subject: Subject) -> str:
    """So are a batch of one sample a class, one in which some classes have one, and one of a single sample."""
    embeddings, labels = batch()
    value, _ = call(subject.build(), embeddings[:CLASSES], torch.arange(CLASSES), "one sample of each class")
    call(subject.build(), embeddings[:7], torch.tensor([0, 0, 0, 1, 1, 2, 3]), "labels 0 0 0 1 1 2 3")
    call(subject.build(), embeddings[:1], labels[:1], "a single sample")
    return f"{value.item():.4g}"


def identical(subject: Subject) -> str:
    """Equal embeddings, as collapse and sampling with replacement make them, have finite gradients."""
    embeddings, labels = batch()
    value, _ = call(subject.build(), embeddings[:1].repeat(BATCH, 1), labels, "all embeddings equal")
    within = embeddings[:CLASSES].repeat(PER_CLASS, 1)
    call(subject.build(dtype=torch.float32), within.float(), labels, "embeddings equal within each class")
    return f"{value.item():.4g}"


def bad_row(subject: Subject) -> str:
    """One zero, one constant or one duplicated row among normal ones leaves all gradients finite, and their squares."""
    embeddings, labels = batch()
    normal = call(subject.build(dtype=torch.float32), embeddings.float(), labels, words(BATCH))[0].item()
    rows = {
        "zero": torch.zeros(DIM),
        "constant": torch.full((DIM,), 0.7),
        "that of another class": embeddings[1].float(),
        "that of its own class": embeddings[CLASSES].float(),
    }
    largest = normal
    for name, row in rows.items():
        points, given = embeddings.float(), f"{words(BATCH)} whose first row is {name}"
        points[0] = row
        value, gradient = call(subject.build(dtype=torch.float32), points, labels, given)
        if not gradient.square().isfinite().all():  # Adam divides by its root: at infinity nothing moves any more
            raise Violation(f"{given}: a gradient of {gradient.abs().amax():.3g}, whose square overflows float32")
        largest = max(largest, value.item())
    return f"at most {largest:.4g}, without it {normal:.4g}"


def huge(subject: Subject) -> str:
    """Embeddings of size 1e10 do not overflow float32."""
    embeddings, labels = batch()
    value, _ = call(subject.build(dtype=torch.float32), 1e10 * embeddings.float(), labels, "embeddings x 1e10")
    return f"{value.item():.4g}"


def tiny(subject: Subject) -> str:
    """Embeddings of size 1e-10, and at zero, have finite gradients."""
    embeddings, labels = batch()
    value, _ = call(subject.build(dtype=torch.float32), 1e-10 * embeddings.float(), labels, "embeddings x 1e-10")
    call(subject.build(dtype=torch.float32), torch.zeros(BATCH, DIM), labels, "all embeddings zero")
    return f"{value.item():.4g}"


def half(subject: Subject) -> str:
    """Under autocast, bfloat16 and float16 embeddings give nearly the value of float32."""
    embeddings, labels = batch()
    full = float(call(subject.build(dtype=torch.float32), embeddings.float(), labels, words(BATCH))[0])
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        with torch.autocast("cpu", dtype=dtype):
            value = float(
                call(subject.build(dtype=torch.float32), embeddings.to(dtype), labels, f"{name} embeddings")[0]
            )
        if not math.isclose(value, full, rel_tol=0.1, abs_tol=0.05):
            raise Violation(f"{name} embeddings give {value:.4g}, float32 {full:.4g}")
    return f"within {abs(value - full) / max(abs(full), 1e-9):.1%}"
