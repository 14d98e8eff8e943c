"""One run on several processes: each embeds a share of every batch, and all of them see the whole of it.

The embeddings of all ranks are gathered before the losses, so that pairs, proxies and centers meet the batch that
one process would have: k ranks of m samples take the step of one rank of k * m, whatever the loss. Only the
network's gradient is summed. Alone, without a process group, every function here is the identity.

The group is torch.distributed's own, as `torchrun` describes it: nccl on GPUs, gloo elsewhere.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

AGREEMENT_S = 300.0  # how long a rank that has ended a run waits for the others to end it too

_control: Any = None  # a gloo group beside the one that trains: what ranks say on it never meets a tensor of a step


class DisagreementError(RuntimeError):
    """The ranks of a group did not end a run alike; the group cannot go on."""


@contextlib.contextmanager
def group(device: Literal["cpu", "cuda"]) -> Iterator[None]:
    """The process group that `torchrun` describes in the environment, for as long as the block lasts."""
    global _control
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    _control = dist.new_group(backend="gloo")
    try:
        yield
    finally:
        _control = None
        dist.destroy_process_group()


def size() -> int:
    """Number of ranks; 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's place among the ranks."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(total: int) -> slice:
    """This rank's part of `total` rows: contiguous, in the order of the ranks, as even as can be."""
    bounds = _bounds(total)
    return slice(bounds[rank()], bounds[rank() + 1])


def gather(own: Tensor, total: int) -> Tensor:
    """The rows (total, ...) of all ranks from `share(total)` of each.

    Each rank computes the same loss from the same rows, and the gradient that comes back to it is that of its own.
    """
    if size() == 1:
        return own
    gathered: Tensor = _Gather.apply(own, total)  # type: ignore[no-untyped-call]
    return gathered


def reduce(values: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    """Put the sum over ranks, or what `op` makes of them, in the place of each rank's values."""
    if size() > 1:
        dist.all_reduce(values, op=op)


def sum_gradients(network: nn.Module) -> None:
    """Add up the gradients that the ranks' shares left in the network."""
    if size() == 1:
        return
    gradients = [param.grad for param in network.parameters() if param.grad is not None]
    if gradients:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(total.view_as(gradient))


def synchronize(modules: Iterable[nn.Module]) -> None:
    """Give every rank the parameters and buffers of the first; what is split over the ranks (`axes`) stays where it is.

    They are the same by construction; a loss whose kernels add in any order may let them drift by a rounding.
    """
    if size() == 1:
        return
    for module in modules:
        for name, value in module.state_dict().items():
            if name not in getattr(module, "axes", ()):
                dist.broadcast(value, src=0)


def everywhere(holds: bool) -> bool:
    """Whether something holds on every rank, so that all take the same decision."""
    if size() == 1:
        return holds
    answers = torch.tensor([int(holds)])
    dist.all_reduce(answers, op=dist.ReduceOp.MIN, group=_control)
    return bool(answers)


def from_first(value: Any) -> Any:
    """The first rank's value on every rank, so that all take the same decision; anything JSON can hold."""
    return value if size() == 1 else _broadcast(value, source=0)


def agree(error: str | None) -> str | None:
    """How a run ended on all ranks: None where it succeeded everywhere, else the first reason.

    Raises:
        DisagreementError: another rank is still inside the run, waiting for this one: it will not end.
    """
    if size() == 1:
        return error
    try:
        dist.monitored_barrier(_control, timeout=timedelta(seconds=AGREEMENT_S))
    except RuntimeError as stuck:
        raise DisagreementError(f"rank {rank()} left the run alone: {error}") from stuck
    reasons = [_broadcast(error, source) for source in range(size())]
    return next((reason for reason in reasons if reason), None)


def with_global_statistics(network: nn.Module) -> nn.Module:
    """The network with batch normalization over the batch of all ranks; the same network alone."""
    if size() == 1:
        return network
    for name, child in network.named_children():
        setattr(network, name, with_global_statistics(child))
    return GlobalBatchNorm.of(network) if isinstance(network, nn.modules.batchnorm._BatchNorm) else network


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization whose statistics in training are those of all ranks' samples.

    `nn.SyncBatchNorm` does the same on GPUs only. The variance is taken in a second pass over the centered values, not
    as a difference of large numbers.
    """

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> GlobalBatchNorm:
        """The same layer, with the same parameters and statistics."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made.__dict__.update(norm.__dict__)
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two on."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (B, C, ...) over everything but C."""
        if not self.training:
            return super().forward(input)
        others = [axis for axis in range(input.ndim) if axis != 1]
        along = [1, -1, *[1] * (input.ndim - 2)]
        values = input.to(torch.promote_types(input.dtype, torch.float32))  # bfloat16 would lose the sums
        own = values.new_full((1,), input.numel() // input.shape[1])
        sums = _summed(torch.cat([values.sum(others), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centered = values - mean.view(along)
        variance = _summed(centered.square().sum(others)) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scaled = centered * (variance + self.eps).rsqrt().view(along)
        if self.weight is not None:
            scaled = scaled * self.weight.view(along) + self.bias.view(along)
        return scaled.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        pace = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, pace)
        self.running_var.lerp_(variance, pace)


def _summed(own: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    return total


class _Gather(torch.autograd.Function):
    """All ranks' rows forward; this rank's rows of the gradient backward, since each rank has the whole loss."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, total: int) -> Tensor:
        ctx.rows = share(total)
        sizes = [end - start for start, end in itertools.pairwise(_bounds(total))]
        padded = own.new_zeros((max(sizes), *own.shape[1:]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.rows], None


class _Sum(torch.autograd.Function):
    """The sum over ranks; every rank's loss depends on it, so the gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _bounds(total: int) -> list[int]:
    return [total * place // size() for place in range(size() + 1)]


def _broadcast(value: Any, source: int) -> Any:
    """The value of one rank, on every rank, as JSON: nothing received is ever run."""
    content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    length = torch.tensor([len(content)])
    dist.broadcast(length, src=source, group=_control)
    if rank() != source:
        content = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(content, src=source, group=_control)
    return json.loads(bytes(content.tolist()))
