"""Adapters around single losses of pytorch-metric-learning: what they need that a batch of a run does not give."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity
from torch import Tensor, nn
from torch.nn import functional


class SafeCosine(CosineSimilarity):  # type: ignore[misc]  # the library has no types
    """Cosine similarity held one part in a million inside [-1, 1], where the arc cosine still has a gradient.

    Two equal embeddings, as a sampler with replacement makes them, have cosine 1: there the gradient of the angle
    is infinite and one step later every weight is NaN.
    """

    margin_to_one = 1e-6

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """Cosines (B, M) of unit embeddings (B, D) and (M, D)."""
        cosines: Tensor = super().compute_mat(query_emb, ref_emb)
        return cosines.clamp(-1 + self.margin_to_one, 1 - self.margin_to_one)


class UnitLoss(nn.Module):
    """A loss that sees unit-normalized embeddings, for those that normalize a part of their inputs only."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor, *reference: Any) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        value: Tensor = self.loss(functional.normalize(embeddings), labels, *reference)
        return value


class DynamicSoftMarginLoss(losses.DynamicSoftMarginLoss):  # type: ignore[misc]
    """The library's loss with a histogram that is a buffer, has no gradient and holds the last bin's upper edge.

    In the library the histogram keeps the graph of every earlier step, so that the second step of a training fails, and
    differences of distances in its last bin lie outside it.
    """

    hist_: Tensor  # (num_bins + 1,)

    def __init__(self, *, num_bins: int, momentum: float) -> None:
        super().__init__(num_bins=num_bins, momentum=momentum)
        del self.hist_
        self.register_buffer("hist_", torch.zeros(num_bins + 1))

    def update_histogram(self, data: Tensor) -> None:
        """Mix the histogram of differences (T,) in, each shared between the two nearest edges; in training only."""
        if not self.training:
            return
        edges = self._edges(data)
        low = edges.floor().long().clamp(max=self.num_bins - 1)
        above = edges - low
        found = torch.zeros_like(self.hist_).scatter_add_(0, low, 1 - above).scatter_add_(0, low + 1, above)
        momentum = self.momentum if self.hist_.sum() else 1.0
        self.hist_ = torch.lerp(self.hist_, found / found.sum(), momentum)

    def weigh_loss(self, data: Tensor) -> Tensor:
        """Differences (T,) times the share of recent ones that were no larger."""
        weighted: Tensor = self.hist_.cumsum(0)[self._edges(data).floor().long()] * data
        return weighted

    def _edges(self, data: Tensor) -> Tensor:
        """Where differences in [-2, 2] lie between the edges 0 to num_bins."""
        edges: Tensor = ((data.detach() - self.min_val) / self.delta).clamp(0, self.num_bins)
        return edges


class HistogramLoss(losses.HistogramLoss):  # type: ignore[misc]
    """The library's loss over all pairs of the batch; the library finds them by way of all triplets.

    Pairs of which neither end has a positive are left out by the library and counted here, as in the paper.
    """

    def __init__(self, *, n_bins: int) -> None:
        super().__init__(n_bins=n_bins, distance=SafeCosine())  # a cosine of 1 lies beyond the library's last bin

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """The probability that a negative pair is more similar than a positive one."""
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        same = labels[first] == labels[second]
        if not same.any() or same.all():
            return self.zero_losses()  # type: ignore[no-any-return]
        cosines = self.distance(embeddings)[first, second]
        positive = self.compute_density(cosines[same]).cumsum(0)
        value = (self.compute_density(cosines[~same]) * positive).sum()
        return {"loss": {"losses": value, "indices": None, "reduction_type": "already_reduced"}}


class ProxyNCALoss(losses.ProxyNCALoss):  # type: ignore[misc]
    """The library's loss, whose `get_logits` are distances, with logits that are largest for the nearest proxy."""

    def logits(self, embeddings: Tensor) -> Tensor:
        """Minus the scaled distances (B, C)."""
        scores: Tensor = -self.softmax_scale * self.distance(embeddings, self.proxies)
        return scores


class EqualClassesLoss(nn.Module):
    """A loss that needs a batch sorted by class with equally many samples of each.

    Classes with one sample in the batch are left out; of the others the first samples are taken, as many as the
    smallest of them has. A batch without two samples of one class costs nothing.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        kept = equal_classes(labels)
        if not len(kept):
            return embeddings.sum() * 0.0
        value: Tensor = self.loss(embeddings[kept], labels[kept])
        return value


def equal_classes(labels: Tensor) -> Tensor:
    """Indices that sort labels (B,) by class and keep equally many of each class that has at least two.

    >>> equal_classes(torch.tensor([3, 1, 3, 1, 1, 2])).tolist()
    [1, 3, 0, 2]
    """
    order = labels.argsort(stable=True)
    _, counts = torch.unique_consecutive(labels[order], return_counts=True)
    size = counts[counts > 1].min() if (counts > 1).any() else counts.new_zeros(())
    place = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return order[(place < size) & (counts > 1).repeat_interleave(counts)]
