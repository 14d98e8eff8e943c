"""Adapters around losses of pytorch-metric-learning: mined tuples, a memory of earlier batches, sorted batches."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils import loss_and_miner_utils as tuples
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


class MinedLoss(nn.Module):
    """A loss on the tuples that a miner picks from the batch."""

    def __init__(self, loss: Any, miner: Any) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        value: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return value


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


class CrossBatchMemory(nn.Module):
    """A pair or triplet loss between a batch and the `size` latest embeddings (Wang et al. 2020, arXiv:1912.06798).

    In training mode every call first puts the batch into the memory, the oldest rows making place, as the library's
    own class does; a sample is never compared with itself. Only the batch's side of a pair has a gradient. The paper
    adds the loss within the batch and waits a thousand steps before the memory is used; neither is done here. Unlike
    the library's, the whole state is in buffers, so that it is saved and put back with the model.

    Args:
        loss: takes (embeddings, labels, tuples, reference, reference labels).
        embedding_dim: D.
        size: rows of the memory.
        miner: picks tuples from batch and memory; all pairs where it is None.
    """

    memory: Tensor  # (size, D)
    memory_labels: Tensor  # (size,)
    seen: Tensor  # (): embeddings put in so far

    def __init__(self, loss: Any, embedding_dim: int, size: int, miner: Any = None) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner
        self.register_buffer("memory", torch.zeros(size, embedding_dim))
        self.register_buffer("memory_labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,) against the memory.

        Raises:
            ValueError: the batch does not fit into the memory.
        """
        size = len(self.memory)
        if len(labels) > size:
            raise ValueError(f"memory: {size} is smaller than the batch of {len(labels)}")
        rows = self._store(embeddings.detach(), labels) if self.training else None
        known = min(int(self.seen), size)
        reference, reference_labels = self.memory[:known].to(embeddings.dtype), self.memory_labels[:known]
        if self.miner is None:
            found = tuples.get_all_pairs_indices(labels, reference_labels)
        else:
            found = self.miner(embeddings, labels, reference, reference_labels)
        if rows is not None:
            found = without_self(found, rows)
        value: Tensor = self.loss(embeddings, labels, found, reference.clone(), reference_labels)
        return value

    def _store(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Put a batch in and return the rows (B,) where it lies."""
        rows = (self.seen + torch.arange(len(labels), device=labels.device)) % len(self.memory)
        self.memory[rows] = embeddings.to(self.memory.dtype)
        self.memory_labels[rows] = labels
        self.seen += len(labels)
        return rows


def without_self(found: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    """Tuples (anchor, positive, ...) but for those whose positive is the anchor itself, which lies in `rows`."""
    keep = rows[found[0]] != found[1]
    if len(found) == 3:
        return tuple(part[keep] for part in found)
    return found[0][keep], found[1][keep], found[2], found[3]


def with_options(loss: Any, embedding_dim: int, *, memory: int = 0, miner: Any = None) -> Any:
    """A library loss on mined tuples if there is a miner, against a memory of that many rows if there is one."""
    if memory:
        return CrossBatchMemory(loss, embedding_dim, memory, miner)
    return loss if miner is None else MinedLoss(loss, miner)
