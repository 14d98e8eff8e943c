"""What a loss keeps between steps: the same again, saved and loaded, at rest in evaluation, seen by the optimizer."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lossbench.plugins.checks.subject import Subject, Violation, batch, call, steps


def determinism(subject: Subject) -> str:
    """Built and called again under the same seeds, the same bits."""
    outcomes = [steps(subject.build(dtype=torch.float32), 3) for _ in range(2)]
    if outcomes[0] != outcomes[1]:
        raise Violation(f"three steps gave the losses {outcomes[0]} and, built again, {outcomes[1]}")
    return ""


def state(subject: Subject) -> str:
    """Saved after three steps and loaded into a new module, it goes on with the same bits."""
    module = subject.build(dtype=torch.float32)
    steps(module, 3)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    other = subject.build(dtype=torch.float32)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    going_on, loaded = (steps(each, 2, seed=9) for each in (module, other))
    if going_on != loaded:
        raise Violation(f"the losses after three steps were {going_on}, from the saved state {loaded}")
    return f"{len(module.state_dict())} tensors" if module.state_dict() else "no state"


def evaluation(subject: Subject) -> str:
    """In evaluation mode a call moves nothing."""
    module = subject.build(dtype=torch.float32)
    steps(module, 1)
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
        steps(module, 3)
    for name, value in module.named_parameters():
        if value.requires_grad and torch.equal(value, start[name]):
            raise Violation(f"parameter {name} did not move in three steps of SGD")
    return f"{sum(value.numel() for value in start.values())} values" if start else "none"


def _attributes(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that parts of a module keep as plain attributes."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                yield f"{path}.{name}".lstrip("."), value
