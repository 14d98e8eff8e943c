"""Adapters around single losses of pytorch-metric-learning: what they need that a batch of a run does not give."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity, SNRDistance
from pytorch_metric_learning.regularizers import SparseCentersRegularizer
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


class UnitLoss(nn.Module):
    """A loss that sees unit-normalized embeddings, for those that normalize a part of their inputs only.

    A row of length zero has no direction and gets no gradient: normalized here and once more in the loss, it would get
    one of 1e24, at whose square Adam stops for ever.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: Tensor, labels: Tensor, *reference: Any) -> Tensor:
        """Loss of a batch (B, D) with labels (B,)."""
        directed = (embeddings != 0).any(1, keepdim=True)
        points = functional.normalize(torch.where(directed, embeddings, embeddings.detach()))
        value: Tensor = self.loss(points, labels, *reference)
        return value


class SafeSNR(SNRDistance):  # type: ignore[misc]
    """Variance of the difference over that of the anchor; the difference's alone where the anchor has none."""

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        """Distances (B, M) of embeddings (B, D) and (M, D)."""
        noise = torch.var(query_emb.unsqueeze(1) - ref_emb, dim=2)
        signal = torch.var(query_emb, dim=1, keepdim=True)
        return noise / torch.where(has_signal(query_emb), signal, torch.ones_like(signal))


def has_signal(embeddings: Tensor) -> Tensor:
    """Rows (B, 1) whose entries differ by more than rounding."""
    spread, largest = embeddings.amax(1) - embeddings.amin(1), embeddings.abs().amax(1)
    return (spread > 8 * torch.finfo(embeddings.dtype).eps * largest).unsqueeze(1)


class SNRContrastiveLoss(losses.SignalToNoiseRatioContrastiveLoss):  # type: ignore[misc]
    """The library's loss without the pairs whose anchor is constant or zero.

    Their distance divides by a variance of zero: one such row makes the library's loss infinite and all gradients NaN.
    """

    def __init__(self, *, pos_margin: float, neg_margin: float) -> None:
        super().__init__(pos_margin=pos_margin, neg_margin=neg_margin, distance=SafeSNR())

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: Any, ref_emb: Tensor, ref_labels: Tensor
    ) -> dict[str, Any]:
        """One value a pair."""
        anchors, positives, others, negatives = tuples.convert_to_pairs(indices_tuple, labels, ref_labels)
        usable = has_signal(embeddings).squeeze(1)
        near, far = usable[anchors], usable[others]
        kept = (anchors[near], positives[near], others[far], negatives[far])
        return super().compute_loss(embeddings, labels, kept, ref_emb, ref_labels)  # type: ignore[no-any-return]


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
        edges: Tensor = (data.detach().to(self.hist_.dtype) - self.min_val) / self.delta
        return edges.clamp(0, self.num_bins)


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


class P2SGradLoss(losses.P2SGradLoss):  # type: ignore[misc]
    """Mean over samples and classes of (cos theta_ij - [j = y_i])^2, with logits, from proxies of any length.

    The library rescales the proxies to length one outside of the graph on every call, so that the gradient it takes is
    not that of its value, and divides by the length of embeddings, zero included.
    """

    def logits(self, embeddings: Tensor) -> Tensor:
        """Cosines (B, C)."""
        return functional.normalize(embeddings) @ functional.normalize(self.weight, dim=0)

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """One value a batch."""
        cosines = self.logits(embeddings)
        wanted = functional.one_hot(labels, self.num_classes).to(cosines.dtype)
        value = functional.mse_loss(cosines, wanted)
        return {"loss": {"losses": value, "indices": None, "reduction_type": "already_reduced"}}


class ProxyNCALoss(losses.ProxyNCALoss):  # type: ignore[misc]
    """The library's loss, whose `get_logits` are distances, with logits that are largest for the nearest proxy."""

    def logits(self, embeddings: Tensor) -> Tensor:
        """Minus the scaled distances (B, C)."""
        scores: Tensor = -self.softmax_scale * self.distance(embeddings, self.proxies)
        return scores


class WithinClassRegularizer(SparseCentersRegularizer):  # type: ignore[misc]
    """SoftTriple's mean distance between the centers of one class, without the similarities of different classes.

    The library computes them all, which costs the square of all centers.
    """

    def __init__(self, num_classes: int, centers_per_class: int) -> None:
        self.shape = num_classes, centers_per_class
        super().__init__(num_classes, centers_per_class)

    def set_class_masks(self, num_classes: int, centers_per_class: int) -> None:
        """Nothing: no mask over all centers is needed."""

    def compute_loss(self, weights: Tensor) -> dict[str, Any]:
        """sqrt(2 - 2 cos) of every pair of centers (C K, D) of one class, to be divided by twice their number."""
        centers = functional.normalize(weights).view(*self.shape, -1)
        first, second = torch.triu_indices(self.shape[1], self.shape[1], 1, device=weights.device)
        cosines = (centers @ centers.transpose(1, 2))[:, first, second].flatten()
        # The library's floor under the root.
        small = torch.finfo(weights.dtype).tiny
        distances = torch.sqrt(2.0 + small - torch.clamp(2.0 * cosines, max=2.0))
        places = torch.arange(len(distances), device=weights.device)
        return {
            "loss": {
                "losses": distances, "indices": places, "reduction_type": "element", "divisor": 2 * len(distances),
            }
        }  # fmt: skip


class NCALoss(losses.NCALoss):  # type: ignore[misc]
    """The library's loss, which is NaN for a batch without positive pairs; here such a batch costs nothing."""

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *rest: Any) -> dict[str, Any]:
        """One value a sample that has a positive."""
        if len(torch.unique(labels)) == len(labels):
            return self.zero_losses()  # type: ignore[no-any-return]
        return super().compute_loss(embeddings, labels, *rest)  # type: ignore[no-any-return]


class SmoothAPLoss(losses.SmoothAPLoss):  # type: ignore[misc]
    """One minus the average precision with sigmoids for steps, the mean over queries that have a positive.

    With s_k the cosine of query and sample k, the rank of j among a set is 1 + sum over its k != j of
    sigmoid((s_k - s_j) / temperature); the precision at j is its rank among the query's class over its rank among all,
    averaged over the class, the query itself included as in the authors' code. The library wants a batch sorted by
    class and takes the number of samples of a class for the number of classes, so that it groups samples of
    different classes wherever the two differ; this computes from the labels.
    """

    def compute_loss(self, embeddings: Tensor, labels: Tensor, *_: Any) -> dict[str, Any]:
        """One value a query; O(B^3)."""
        same = labels.unsqueeze(1) == labels
        queries = (same.sum(1) > 1).nonzero().flatten()
        if not len(queries):
            return self.zero_losses()  # type: ignore[no-any-return]
        scores, own = self.distance(embeddings)[queries], same[queries]
        ahead = torch.sigmoid((scores.unsqueeze(1) - scores.unsqueeze(2)) / self.temperature)  # (Q, j, k)
        ahead = ahead * (1 - torch.eye(len(labels), dtype=ahead.dtype, device=ahead.device))
        precision = (1 + (ahead * own.unsqueeze(1)).sum(2)) / (1 + ahead.sum(2))
        values = 1 - (precision * own).sum(1) / own.sum(1)
        return {"ap_loss": {"losses": values, "indices": queries, "reduction_type": "element"}}
