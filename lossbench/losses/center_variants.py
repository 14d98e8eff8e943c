"""Centre loss as widely used implementations compute it, to be compared with the paper's (`CenterLoss`).

They differ in how the centers move. With n of a batch's m samples in a class, a step from rest moves its center
by c <- c - k (c - mean of the n samples), where the effective pull k is

    paper       alpha n / (1 + n)       whatever m, C, lambda and lr are
    caffe       lr n / (1 + n)          and 1 / (1 - momentum) times that while the gradient lasts
    autograd    lr lambda n / m         likewise
    popular     alpha 2 n / m           shrinks as n / m = 1 / C does

Under Adam the pulls of `caffe` and `autograd` are another matter: it divides by the size of the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossbench.losses.center import initial_centers


class CaffeCenterLoss(nn.Module):
    """Centre loss as the authors' released Caffe layer computes it (github.com/ydwen/caffe-face).

    The loss is `CenterLoss`'s. The layer hands Eq. 4's delta to the solver as the gradient of the centers, not
    multiplied by lambda. So the centers are a parameter: learning rate, schedule, momentum and weight decay of the
    experiment's optimizer move them, and there is no alpha. Momentum moves classes that are absent from a batch.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: where the initial centers are drawn from.
    """

    def __init__(self, num_classes: int, embedding_dim: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.centers = nn.Parameter(initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        loss: Tensor = _CaffeLayer.apply(embeddings, self.centers, labels)  # type: ignore[no-untyped-call]
        return loss


class AutogradCenterLoss(nn.Module):
    """Centre loss whose centers follow the gradient of the total loss, as a parameter of the one optimizer.

    The gradient of a center is lambda n (c - mean) / m: what moves the embeddings more moves the centers more, and
    nothing takes the place of alpha.

    Args:
        num_classes: C.
        embedding_dim: D.
        generator: where the initial centers are drawn from.
    """

    def __init__(self, num_classes: int, embedding_dim: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.centers = nn.Parameter(initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        return (embeddings - self.centers[labels]).square().sum() / (2 * len(labels))


class PopularCenterLoss(nn.Module):
    """Centre loss as the most starred PyTorch port computes it (github.com/KaiyangZhou/pytorch-center-loss).

    The loss lacks Eq. 2's half and is read from a B x C matrix of distances. An SGD of its own, without momentum,
    follows the gradient of the centers, 2 n (c - mean) / m, after dividing by lambda what lambda multiplied. The two
    cancel, so we take the step here, as `CenterLoss` does; at lambda = 0 the port divides by zero, and an experiment
    that asks for it is refused. The port draws its initial centers from a normal distribution; here all variants
    start alike.

    Args:
        num_classes: C.
        embedding_dim: D.
        alpha: learning rate of the centers' own optimizer.
        generator: where the initial centers are drawn from.
    """

    centers: Tensor  # (C, D)

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        alpha: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("centers", initial_centers(num_classes, embedding_dim, generator))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); in training mode the centers step once."""
        centers = self.centers.clone()  # the step does not reach the graph
        squares = embeddings.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * embeddings @ centers.T
        own = squares * functional.one_hot(labels, len(centers))
        loss = own.clamp(1e-12, 1e12).sum() / len(labels)
        if self.training:
            with torch.no_grad():
                offsets = (embeddings - centers[labels]).to(centers.dtype)
                self.centers.index_add_(0, labels, offsets, alpha=2 * self.alpha / len(labels))
        return loss


class _CaffeLayer(torch.autograd.Function):
    """The layer's loss, with Eq. 4's delta in the place of the centers' gradient."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
        offsets = embeddings - centers[labels]
        ctx.save_for_backward(offsets, labels)
        ctx.num_classes = len(centers)
        return offsets.square().sum() / (2 * len(labels))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        offsets, labels = ctx.saved_tensors
        counts = labels.bincount(minlength=ctx.num_classes)
        pull = 1 / (1 + counts[labels]).to(offsets.dtype)
        delta = offsets.new_zeros(ctx.num_classes, offsets.shape[1])
        delta.index_add_(0, labels, offsets * pull.unsqueeze(1), alpha=-1)
        return grads[0] * offsets / len(labels), delta, None
