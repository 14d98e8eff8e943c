"""Triplet loss with an explicit miner, from pytorch-metric-learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

from lossbench.losses.options import with_options
from lossbench.losses.tuples import CountingReducer, take_counts, unit_distance

MINERS: dict[str, Callable[[float], Any]] = {
    "all": lambda margin: None,
    "semi-hard": lambda margin: miners.TripletMarginMiner(
        margin=margin, type_of_triplets="semihard", distance=unit_distance()
    ),
    "batch-hard": lambda margin: miners.BatchHardMiner(distance=unit_distance()),
}


class TripletLoss(nn.Module):
    """[d_ap - d_an + margin]+ averaged over its non-zero terms (FaceNet, arXiv:1503.03832).

    FaceNet uses squared distances; definitions here and in the library use d, the Euclidean distance on the
    unit sphere.

    Args:
        margin: by how much the negative shall be farther than the positive.
        miner: `all` triplets, `semi-hard` (negatives farther than the positive, but within the margin) or
            `batch-hard` (hardest positive and negative of each anchor).
        memory: positives and negatives come from this many embeddings of the latest batches; 0: from the batch.
        embedding_dim: D; needed with a memory.
    """

    def __init__(
        self, *, margin: float = 0.2, miner: str = "semi-hard", memory: int = 0, embedding_dim: int = 0
    ) -> None:
        super().__init__()
        loss = losses.TripletMarginLoss(margin=margin, distance=unit_distance(), reducer=CountingReducer())
        self.loss = with_options(loss, embedding_dim, memory=memory, miner=MINERS[miner](margin))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch (B, D) with labels (B,); zero where no triplet is active."""
        return self.loss(embeddings, labels)  # type: ignore[no-any-return]

    def take_tuple_counts(self) -> tuple[int, int]:
        """(triplets formed, triplets with a non-zero loss) since the last call."""
        return take_counts(self.loss)
