"""Contrastive loss with a linear hinge, from pytorch-metric-learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

from lossbench.losses.options import with_options
from lossbench.losses.tuples import CountingReducer, take_counts, unit_distance

MINERS: dict[str, Callable[[], Any]] = {
    "all": lambda: None,
    "batch-hard": lambda: miners.BatchHardMiner(distance=unit_distance()),
}


class ContrastiveLoss(nn.Module):
    """[d - pos_margin]+ over positive and [neg_margin - d]+ over negative pairs, each averaged over its
    non-zero terms; d is the Euclidean distance on the unit sphere.

    Hadsell et al. 2006 (doi:10.1109/CVPR.2006.100) and DeepID2 square the hinge; the library does not.

    Args:
        pos_margin: distance up to which positives are left alone.
        neg_margin: distance beyond which negatives are left alone.
        miner: `all` pairs, or the hardest positive and negative of each anchor (`batch-hard`).
        memory: compare the batch with this many embeddings of the latest batches; 0: with itself.
        embedding_dim: D; needed with a memory.
    """

    def __init__(
        self,
        *,
        pos_margin: float = 0.0,
        neg_margin: float = 1.0,
        miner: str = "all",
        memory: int = 0,
        embedding_dim: int = 0,
    ) -> None:
        super().__init__()
        loss = losses.ContrastiveLoss(
            pos_margin=pos_margin, neg_margin=neg_margin, distance=unit_distance(), reducer=CountingReducer()
        )
        self.loss = with_options(loss, embedding_dim, memory=memory, miner=MINERS[miner]())

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); zero where no pair is active."""
        return self.loss(embeddings, labels)  # type: ignore[no-any-return]

    def take_tuple_counts(self) -> tuple[int, int]:
        """(pairs formed, pairs with a non-zero loss) since the last call."""
        return take_counts(self.loss)
