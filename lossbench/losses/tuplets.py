"""Losses that set each positive against all negatives of its anchor, in O(B^2) time and memory.

pytorch-metric-learning forms a matrix of positive pairs by negative pairs, O(B^3) and more. The sum over the negatives
of an anchor is the same for all its positives, so that one value a sample is enough. Values are the library's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning import losses
from torch import Tensor
from torch.nn import functional


def log_sum_negatives(scores: Tensor, labels: Tensor) -> Tensor:
    """log sum exp of scores (B, B) over the other classes of each row, (B,); minus infinity where there is none.

    >>> log_sum_negatives(torch.zeros(3, 3), torch.tensor([0, 0, 1])).exp().tolist()
    [1.0, 1.0, 2.0]
    """
    return scores.masked_fill(labels.unsqueeze(1) == labels, -math.inf).logsumexp(1)


def positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors and positives (P,), every ordered pair of two samples with one label."""
    same = labels.unsqueeze(1) == labels
    anchors, positives = same.fill_diagonal_(False).nonzero(as_tuple=True)
    return anchors, positives


def per_pair(values: Tensor, anchors: Tensor, positives: Tensor) -> dict[str, Any]:
    """The library's form of one value a positive pair."""
    return {"loss": {"losses": values, "indices": (anchors, positives), "reduction_type": "pos_pair"}}


class NTXentLoss(losses.NTXentLoss):  # type: ignore[misc]  # the library has no types
    """log(1 + sum_n exp((s_an - s_ap) / temperature)), averaged over positive pairs."""

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """One value a positive pair."""
        anchors, positives = positive_pairs(labels)
        if not len(anchors) or (labels == labels[0]).all():
            return self.zero_losses()  # type: ignore[no-any-return]
        scores = self.distance(embeddings) / self.temperature
        negatives = log_sum_negatives(scores, labels)
        return per_pair(functional.softplus(negatives[anchors] - scores[anchors, positives]), anchors, positives)


class TupletMarginLoss(losses.TupletMarginLoss):  # type: ignore[misc]
    """log(1 + sum_n exp(scale (cos theta_an - cos(theta_ap - margin)))), averaged over positive pairs."""

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """One value a positive pair."""
        anchors, positives = positive_pairs(labels)
        if not len(anchors) or (labels == labels[0]).all():
            return self.zero_losses()  # type: ignore[no-any-return]
        cosines = self.distance(embeddings)
        eased = torch.cos(torch.acos(cosines[anchors, positives]) - self.margin)
        negatives = log_sum_negatives(self.scale * cosines, labels)
        return per_pair(functional.softplus(negatives[anchors] - self.scale * eased), anchors, positives)


class LiftedStructureLoss(losses.LiftedStructureLoss):  # type: ignore[misc]
    """[log sum exp(neg_margin - d) over the negatives of both ends + d_ap - pos_margin]+^2 / 2, over positive pairs."""

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """One value a positive pair."""
        anchors, positives = positive_pairs(labels)
        if not len(anchors) or (labels == labels[0]).all():
            return self.zero_losses()  # type: ignore[no-any-return]
        distances = self.distance(embeddings)
        negatives = log_sum_negatives(self.neg_margin - distances, labels)
        both = torch.logaddexp(negatives[anchors], negatives[positives])
        values = torch.relu(both + distances[anchors, positives] - self.pos_margin).square() / 2
        return per_pair(values, anchors, positives)
