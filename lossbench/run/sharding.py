"""Class-parallel losses: the C x D state of a head or of the centers, split over the ranks of a group by class.

Every rank has the embeddings of the whole batch (`parallel.gather`), so a rank computes what its own classes take of
the loss, and the ranks exchange O(B) numbers forward and the (B, D) gradient of the embeddings backward. No rank ever
holds the state, the gradient, the moments or the logits of more than its share of the classes.

A head may train on a share of its classes at a time (`sampled`): each rank draws its own; that works alone too.

Source: the model-parallel softmax of An et al., CVPR 2022, arXiv:2203.15565, section 3.1.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from pytorch_metric_learning import losses as library
from torch import Tensor, nn

from lossbench.losses.center import CenterLoss
from lossbench.losses.softmax import SoftmaxLoss
from lossbench.run import parallel
from lossbench.run.model import Model, State
from lossbench.run.sampled import Part, Sampled


class Sharded:
    """What the split losses share: which tensors are split along which axis, and which classes are here.

    Attributes:
        axes: name of a parameter or buffer to the axis of its classes.
        classes: number of classes of all ranks.
        own: the classes of this rank.
    """

    axes: dict[str, int]
    classes: int

    @property
    def own(self) -> slice:
        """The classes of this rank."""
        return parallel.share(self.classes)

    def places(self, labels: Tensor) -> Tensor:
        """(B,) where each label lies among this rank's classes; -1 where another rank has it."""
        here = (labels >= self.own.start) & (labels < self.own.stop)
        return torch.where(here, labels - self.own.start, -1)

    def whole(self, name: str, own: Tensor) -> Tensor:
        """A tensor of all classes from this rank's share of it; every rank calls this."""
        axis = self.axes[name]
        return parallel.gather(own.detach().movedim(axis, 0).contiguous(), self.classes).movedim(0, axis)


class _Head(Sharded, Sampled):
    """Cross-entropy of logits of which each rank has its own columns, in training those of the classes it draws."""

    label_smoothing: float = 0.0
    training: bool

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,), the same on every rank."""
        head, places = self, self.places(labels)
        if self.negatives < 1.0 and self.training:
            head, places = self._of_sample(places)
        logits = head.local_logits(_whole_gradient(embeddings), places)
        value: Tensor = _CrossEntropy.apply(logits, places, self.label_smoothing)  # type: ignore[no-untyped-call]
        return value

    def _of_sample(self, places: Tensor) -> tuple[_Head, Tensor]:
        """The head as if this rank had the classes of a sample only, and where the labels lie among these."""
        here = places >= 0
        rows = self.drawn(self.own.stop - self.own.start, places[here])
        parts = {name: Part.of(getattr(self, name), axis, rows) for name, axis in self.axes.items()}
        self.parts = tuple(parts.values())
        head: Any = copy.copy(self)
        head._parameters = {name: part.own for name, part in parts.items()}
        return head, torch.where(here, torch.searchsorted(rows, places), -1)

    def local_logits(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """Logits (B, C of this rank), the own class's with its margin."""
        raise NotImplementedError

    def own_logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, C of this rank) without a margin."""
        raise NotImplementedError

    def logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, C) without a margin, for evaluation: every rank calls this, none gets a gradient."""
        return parallel.gather(self.own_logits(embeddings).detach().T.contiguous(), self.classes).T


class ShardedSoftmax(_Head, SoftmaxLoss):
    """`SoftmaxLoss`, split by class."""

    axes = {"weight": 0, "bias": 0}  # noqa: RUF012

    def own_logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, C of this rank)."""
        return SoftmaxLoss.logits(self, embeddings)

    def local_logits(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """The same: there is no margin."""
        return self.own_logits(embeddings)


class ShardedNormalizedSoftmax(_Head, library.NormalizedSoftmaxLoss):  # type: ignore[misc]  # the library has no types
    """The library's `NormalizedSoftmaxLoss`, split by class."""

    axes = {"W": 1}  # noqa: RUF012

    def own_logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, C of this rank)."""
        return self.get_logits(embeddings)  # type: ignore[no-any-return]

    def local_logits(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """The same: there is no margin."""
        return self.own_logits(embeddings)


class _MarginHead(_Head):
    """Scaled cosines whose own class is changed by the library's own rule."""

    def own_logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, C of this rank) without the margin."""
        logits: Tensor = self.get_logits(embeddings)  # type: ignore[attr-defined]
        return logits

    def local_logits(self, embeddings: Tensor, places: Tensor) -> Tensor:
        """Logits (B, C of this rank) with the margin on the classes of the batch that are here."""
        library_loss: Any = self
        cosine: Tensor = library_loss.get_cosine(embeddings)
        (rows,) = torch.nonzero(places >= 0, as_tuple=True)
        columns = places[rows]
        changed = library_loss.modify_cosine_of_target_classes(cosine[rows, columns])
        logits: Tensor = library_loss.scale_logits(cosine.index_put((rows, columns), changed), embeddings)
        return logits


class ShardedArcFace(_MarginHead, library.ArcFaceLoss):  # type: ignore[misc]
    """The library's `ArcFaceLoss`, split by class."""

    axes = {"W": 1}  # noqa: RUF012


class ShardedCosFace(_MarginHead, library.CosFaceLoss):  # type: ignore[misc]
    """The library's `CosFaceLoss`, split by class."""

    axes = {"W": 1}  # noqa: RUF012


class ShardedCenters(Sharded, CenterLoss):
    """`CenterLoss`, whose centers are stored and stepped where their classes are."""

    axes = {"centers": 0}  # noqa: RUF012

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,), the same on every rank; in training mode the centers step once."""
        places = self.places(labels)
        (rows,) = torch.nonzero(places >= 0, as_tuple=True)
        offsets = _whole_gradient(embeddings)[rows] - self.centers[places[rows]]
        loss: Tensor = _Total.apply(offsets.square().sum() / (2 * len(labels)))  # type: ignore[no-untyped-call]
        if self.training:
            self._step(offsets.detach(), places[rows])
        return loss


_SPLIT: dict[type[nn.Module], type[Any]] = {
    SoftmaxLoss: ShardedSoftmax,
    library.NormalizedSoftmaxLoss: ShardedNormalizedSoftmax,
    library.ArcFaceLoss: ShardedArcFace,
    library.CosFaceLoss: ShardedCosFace,
    CenterLoss: ShardedCenters,
}


def sharded(module: nn.Module, negatives: float = 1.0, draws: torch.Generator | None = None) -> nn.Module:
    """The loss with its classes split over the ranks; as it is alone, or where nobody knows how to split it.

    A head that trains on a share of its classes is one that is split, alone over a single rank.

    The whole state is built first and cut then, so that any number of ranks starts from the same values: for that
    moment it takes memory for all classes once, half of what a step of two ranks takes with gradient and moments.
    """
    kind = _SPLIT.get(type(module))
    samples = negatives < 1.0 and kind is not None and issubclass(kind, Sampled)
    if kind is None or (parallel.size() == 1 and not samples):
        return module
    made: Any = object.__new__(kind)
    made.__dict__.update(module.__dict__)
    present = [name for name in kind.axes if getattr(module, name) is not None]
    made.axes = {name: kind.axes[name] for name in present}
    made.classes = getattr(module, present[0]).shape[made.axes[present[0]]]
    for name in present:
        values = getattr(module, name)
        cut = _cut(made, name, values.detach())
        setattr(made, name, nn.Parameter(cut) if isinstance(values, nn.Parameter) else cut)
    if samples:
        made.negatives, made.draws = negatives, draws
    found: nn.Module = made
    return found


def whole_state(model: Model, state: State) -> State:
    """A model's state with the tensors of all classes, as one process would have it; every rank calls this."""
    return {name: _over(part, state[name], lambda split, key, value: split.whole(key, value))
            for name, part in model.parts().items()}  # fmt: skip


def own_state(model: Model, state: State) -> State:
    """This rank's share of a whole state, which any number of ranks may have left."""
    return {name: _over(part, state[name], _cut) for name, part in model.parts().items()}


def centers(module: Any) -> Tensor:
    """The centers (C, D) of a loss, of all classes; every rank calls this."""
    own: Tensor = module.centers.detach()
    return module.whole("centers", own) if isinstance(module, Sharded) else own


def parameters(module: nn.Module) -> int:
    """Numbers that a loss trains, on all ranks together."""
    axes, classes = (module.axes, module.classes) if isinstance(module, Sharded) else ({}, 0)
    return sum(
        value.numel() // value.shape[axes[name]] * classes if name in axes else value.numel()
        for name, value in module.named_parameters()
    )


def _over(part: nn.Module, state: dict[str, Tensor], change: Any) -> dict[str, Tensor]:
    """A part's state with every split tensor changed."""
    axes = part.axes if isinstance(part, Sharded) else {}
    return {key: change(part, key, value) if key in axes else value for key, value in state.items()}


def _cut(split: Sharded, name: str, whole: Tensor) -> Tensor:
    """This rank's classes of a tensor, as a copy that keeps nothing of the rest alive."""
    return whole.movedim(split.axes[name], 0)[split.own].movedim(0, split.axes[name]).contiguous().clone()


def _whole_gradient(embeddings: Tensor) -> Tensor:
    """The embeddings themselves; backward, the sum over ranks of what each one's classes have to say of them."""
    found: Tensor = _WholeGradient.apply(embeddings)  # type: ignore[no-untyped-call]
    return found


class _WholeGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        return embeddings.view_as(embeddings)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        parallel.reduce(total)
        return total


class _Total(torch.autograd.Function):
    """The sum over ranks of what each contributes to one loss, which all of them then have whole."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        parallel.reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy from each rank's columns of the logits: maximum, sum and own logit are reduced over ranks.

    `logits` (B, C of this rank); `places` (B,) the column of the own class, -1 on all ranks but one; `smoothing` the
    share of each label that is spread evenly over the columns of all ranks.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, places: Tensor, smoothing: float) -> Tensor:
        highest = logits.amax(1) if logits.shape[1] else logits.new_full((len(logits),), -torch.inf)
        parallel.reduce(highest, dist.ReduceOp.MAX)
        shares = logits - highest.unsqueeze(1)
        (rows,) = torch.nonzero(places >= 0, as_tuple=True)
        own = logits.new_zeros(len(logits))
        own[rows] = shares[rows, places[rows]]
        even = [shares.sum(1), torch.full_like(own, logits.shape[1])] if smoothing else []
        sums = torch.stack([shares.exp_().sum(1), own, *even])
        parallel.reduce(sums)
        ctx.save_for_backward(shares.div_(sums[0].unsqueeze(1)), places)
        ctx.own, ctx.even = 1.0 - smoothing, (smoothing / sums[3, 0] if smoothing else 0.0)
        losses: Tensor = sums[0].log() - ctx.own * sums[1]
        if smoothing:
            losses -= ctx.even * sums[2]
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        shares, places = ctx.saved_tensors
        (rows,) = torch.nonzero(places >= 0, as_tuple=True)
        slope = shares - ctx.even
        slope[rows, places[rows]] -= ctx.own
        return slope.mul_(gradient / len(places)), None, None
