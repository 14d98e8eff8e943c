"""What every loss must do: one suite for built-in, catalogue and plugin losses, as `lossbench check` runs it.

A check is a function of a `Subject`. It returns what it saw, in a few words, or raises `Violation` with what went wrong
and for which input. Every number it uses is drawn from a fixed seed, and cost is counted in tensor elements and not in
seconds, so that a verdict does not depend on the machine.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lossbench.plugins import registry
from lossbench.plugins.counting import elements_written
from lossbench.plugins.plugin import Choice, Plugin, PluginError, Problem

CLASSES, DIM, PER_CLASS = 6, 8, 4
BATCH = CLASSES * PER_CLASS
SIZES = {"batch": (16, 32, 64), "dimension": (16, 64, 256), "classes": (16, 128, 1024)}
# Pairs and triplets cost up to the cube of the batch; dimension and number of classes may enter once. With what small
# sizes add to a slope.
LIMITS = {"batch": 3.25, "dimension": 1.25, "classes": 1.25}


class Violation(Exception):  # noqa: N818  # what a check found, not an error of the program
    """What a loss did that no loss may do, with the input that showed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check.

    Attributes:
        status: `ok`, `FAIL`, or `known` for a failure that the loss declares.
        detail: what was seen, in one line.
    """

    check: str
    status: Literal["ok", "FAIL", "known"]
    detail: str


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


def check_loss(plugin: Plugin) -> list[Finding]:
    """Every check on one loss, in order. After a failed `scalar` the others would only say the same again."""
    findings = []
    for name, check in CHECKS.items():
        findings.append(_finding(name, check, Subject(plugin=plugin)))
        if name == "scalar" and findings[-1].status == "FAIL":
            break
    unknown = "a deviation is declared, but there is no such check"
    findings += [
        Finding(check=name, status="FAIL", detail=unknown) for name in plugin.deviations.keys() - CHECKS.keys()
    ]
    return findings


def losses_of(name: str) -> list[Plugin]:
    """The losses that a plugin file registers, or the one of that name.

    Raises:
        PluginError: no such file or loss, or a file that registers no loss.
    """
    path = Path(name)
    if path.suffix != ".py" and not path.exists():
        return [registry.find("loss", name)]
    registry.load_file(path)
    found = registry.registered_by(path, "loss")
    if not found:
        raise PluginError(f"plugin {path}: registers no loss; the checks are for losses")
    return found


def untrainable(plugin: Plugin, embedding_dim: int) -> str | None:
    """Why no run of a loss can train: no scalar, not finite, or detached on an ordinary batch; None where it can.

    What a loss raises is left to its runs: it may be about this batch only.
    """
    try:
        embeddings, labels = batch(dim=embedding_dim)
        module = Subject(plugin=plugin).build(dim=embedding_dim, dtype=torch.float32)
        call(module, embeddings.float(), labels, _words(BATCH, embedding_dim))
    except Violation as violation:
        return str(violation)
    except Exception:
        return None
    return None


def assert_conforms(name: str | Path) -> None:
    """For a test of a plugin: every check passes or is a declared deviation.

    Raises:
        AssertionError: the findings as a table.
    """
    for plugin in losses_of(str(name)):
        findings = check_loss(plugin)
        if any(finding.status == "FAIL" for finding in findings):
            raise AssertionError(table(plugin, findings))


def table(plugin: Plugin, findings: list[Finding]) -> str:
    """The findings as lines of text under the name of the loss."""
    place = "built in" if plugin.builtin else str(plugin.file)
    rows = [f"  {each.check:<18} {each.status:<5} {each.detail}".rstrip() for each in findings]
    return "\n".join([f"loss {plugin.name} ({place})", *rows])


def _finding(name: str, check: Callable[[Subject], str], subject: Subject) -> Finding:
    known = subject.plugin.deviations.get(name)
    try:
        seen = check(subject)
    except Violation as violation:
        problem = str(violation)
    except Exception as error:  # whatever a loss raises on a valid batch is the loss's mistake
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        if known:
            return Finding(check=name, status="FAIL", detail=f"passes, but a deviation is declared: {known}")
        return Finding(check=name, status="ok", detail=seen)
    return Finding(check=name, status="known", detail=known) if known else Finding(
        check=name, status="FAIL", detail=problem
    )  # fmt: skip


# The inputs.


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


# The checks.


def scalar(subject: Subject) -> str:
    """A finite scalar with a finite gradient that reaches the embeddings."""
    value, gradient = call(subject.build(dtype=torch.float32), batch()[0].float(), batch()[1], _words(BATCH))
    if not gradient.any():
        raise Violation(f"{_words(BATCH)}: the gradient is zero everywhere")
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
    _, gradient = call(module, embeddings, labels, _words(12, 5))
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
                    f"{_words(12, 5)}: d loss / d embeddings[{row}, {column}] is {gradient[row, column]:.6g}, "
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
            raise Violation(f"{_words(12, 5)}: along the parameters {slope:.6g}, by differences {numeric:.6g}")
    return f"within {worst:.0e}"


def permutation(subject: Subject) -> str:
    """The order of the batch changes neither value nor gradients."""
    embeddings, labels = batch()
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(3))
    value, gradient = call(subject.build(), embeddings, labels, _words(BATCH))
    shuffled, shuffled_gradient = call(subject.build(), embeddings[order], labels[order], f"shuffled {_words(BATCH)}")
    if not math.isclose(value, shuffled, rel_tol=1e-7, abs_tol=1e-9):
        raise Violation(f"{value:.6g} became {shuffled:.6g} when {_words(BATCH)} was shuffled")
    if not torch.allclose(gradient[order], shuffled_gradient, rtol=1e-6, atol=1e-9):
        raise Violation(f"the gradient changed when {_words(BATCH)} was shuffled")
    return ""


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
    full = float(call(subject.build(dtype=torch.float32), embeddings.float(), labels, _words(BATCH))[0])
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        with torch.autocast("cpu", dtype=dtype):
            value = float(
                call(subject.build(dtype=torch.float32), embeddings.to(dtype), labels, f"{name} embeddings")[0]
            )
        if not math.isclose(value, full, rel_tol=0.1, abs_tol=0.05):
            raise Violation(f"{name} embeddings give {value:.4g}, float32 {full:.4g}")
    return f"within {abs(value - full) / max(abs(full), 1e-9):.1%}"


def determinism(subject: Subject) -> str:
    """Built and called again under the same seeds, the same bits."""
    outcomes = [_steps(subject.build(dtype=torch.float32), 3) for _ in range(2)]
    if outcomes[0] != outcomes[1]:
        raise Violation(f"three steps gave the losses {outcomes[0]} and, built again, {outcomes[1]}")
    return ""


def state(subject: Subject) -> str:
    """Saved after three steps and loaded into a new module, it goes on with the same bits."""
    module = subject.build(dtype=torch.float32)
    _steps(module, 3)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    other = subject.build(dtype=torch.float32)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    going_on, loaded = (_steps(each, 2, seed=9) for each in (module, other))
    if going_on != loaded:
        raise Violation(f"the losses after three steps were {going_on}, from the saved state {loaded}")
    return f"{len(module.state_dict())} tensors" if module.state_dict() else "no state"


def evaluation(subject: Subject) -> str:
    """In evaluation mode a call moves nothing."""
    module = subject.build(dtype=torch.float32)
    _steps(module, 1)
    module.eval()
    before = copy.deepcopy(module.state_dict())
    module(batch(seed=5)[0].float(), batch()[1])
    for name, value in module.state_dict().items():
        if not torch.equal(value, before[name]):
            raise Violation(f"{name} moved in evaluation mode")
    return ""


def parameters(subject: Subject) -> str:
    """An optimizer sees whatever needs a gradient, and each parameter gets one and moves."""
    module = subject.build(dtype=torch.float32)
    known = {id(parameter) for parameter in module.parameters()}
    for name, value in _attributes(module):
        if value.requires_grad and value.is_leaf and id(value) not in known:
            raise Violation(f"{name} needs a gradient but is no parameter: no optimizer trains it")
    start = {name: value.detach().clone() for name, value in module.named_parameters()}
    if start:
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for seed in range(3):  # a second step shows a graph that was kept
            optimizer.zero_grad()
            call(module, batch(seed=seed)[0].float(), batch()[1], f"step {seed + 1}")
            optimizer.step()
    else:
        _steps(module, 3)
    for name, value in module.named_parameters():
        if value.requires_grad and torch.equal(value, start[name]):
            raise Violation(f"parameter {name} did not move in three steps of SGD")
    return f"{sum(value.numel() for value in start.values())} values" if start else "none"


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


CHECKS: dict[str, Callable[[Subject], str]] = {
    "scalar": scalar,
    "space": space,
    "gradcheck": gradcheck,
    "permutation": permutation,
    "scale": scale,
    "one class": one_class,
    "singletons": singletons,
    "identical": identical,
    "huge": huge,
    "tiny": tiny,
    "half precision": half,
    "determinism": determinism,
    "state": state,
    "evaluation mode": evaluation,
    "parameters": parameters,
    "cost: batch": cost_batch,
    "cost: dimension": cost_dimension,
    "cost: classes": cost_classes,
}


def _words(size: int, dim: int = DIM) -> str:
    return f"a batch of {size} x {dim}"


def _steps(module: nn.Module, count: int, seed: int = 0) -> list[float]:
    """The losses of some training steps in float32, each on its own batch."""
    torch.manual_seed(seed)
    labels = batch()[1]
    return [
        call(module, batch(seed=seed + step)[0].float(), labels, f"step {step + 1}")[0].item() for step in range(count)
    ]


def _attributes(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that parts of a module keep as plain attributes."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{path}.{name}".lstrip("."), value


def _cost(subject: Subject, *, size: int = BATCH, dim: int = DIM, classes: int = CLASSES) -> int:
    module = subject.build(classes, dim, torch.float32)
    embeddings, labels = batch(size, dim, min(classes, size // PER_CLASS))
    return elements_written(lambda: call(module, embeddings.float(), labels, _words(size, dim)))


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
