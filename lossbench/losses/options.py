"""Options of pair and triplet losses: mined tuples, and a memory of earlier batches."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as tuples
from torch import Tensor, nn


class MinedLoss(nn.Module):
    """A loss on the tuples that a miner picks from the batch."""

    def __init__(self, loss: Any, miner: Any) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        value: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return value


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
