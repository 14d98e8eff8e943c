"""Embed a split once and score it by its protocol, raw and on the unit sphere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossbench import metrics, registry
from lossbench.training import to_input

SPACES = ("euclidean", "sphere")
COLLAPSED_VARIANCE = 1e-4
CHUNK = 512


@torch.no_grad()
def embed(network: nn.Module, images: Tensor) -> Tensor:
    """Embeddings (N, D) float32 of uint8 images (N, C, H, W), in evaluation mode."""
    network.eval()
    return torch.cat([network(to_input(chunk)).float() for chunk in torch.split(images, CHUNK)])


def in_space(embeddings: Tensor, space: str) -> Tensor:
    """The embeddings as they are (`euclidean`) or unit-normalized (`sphere`)."""
    return metrics.unit(embeddings) if space == "sphere" else embeddings


def score_split(
    embeddings: Tensor, labels: Tensor, *, verify: bool = False, plugins: tuple[str, ...] = ()
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Every figure that needs one split only, in both spaces, and what the report draws of it.

    Args:
        verify: whether to verify all pairs too, as the classes are unseen.
        plugins: names of metric plugins to compute beside the built-in figures.

    Returns:
        `<space>.<figure>` to value, NaN where a figure is empty by definition; and the arrays
        `histogram.<space>.<part>` and `classes.<space>.<column>`.
    """
    scores: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    for space in SPACES:
        points = in_space(embeddings, space)
        pairs = metrics.repeated_class_pairs(points, labels)
        figures = metrics.distance_statistics(points, labels, pairs=pairs) | metrics.retrieval_metrics(points, labels)
        if verify:
            if figures["singleton_classes"]:  # their samples take part in impostor pairs here
                figures |= metrics.verification_metrics(*metrics.pair_scores(points, labels))
            else:
                figures |= metrics.pair_verification(pairs)
        for name in plugins:
            figures[name] = float(registry.find("metric", name).build(points, labels))
        scores |= {f"{space}.{name}": value for name, value in figures.items()}
        drawn = {
            "histogram": metrics.distance_histograms(pairs),
            "classes": metrics.per_class_statistics(points, labels),
        }
        arrays |= {f"{kind}.{space}.{name}": values for kind, found in drawn.items() for name, values in found.items()}
    return scores, arrays


def score_against_gallery(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, labels: Tensor) -> dict[str, float]:
    """Nearest-class-mean and 5-NN accuracy of queries against the training split, in both spaces."""
    scores = {}
    for space in SPACES:
        known, asked = in_space(gallery, space), in_space(queries, space)
        scores[f"{space}.nearest_mean_accuracy"] = metrics.nearest_mean_accuracy(known, gallery_labels, asked, labels)
        scores[f"{space}.knn_accuracy"] = metrics.knn_accuracy(known, gallery_labels, asked, labels)
    return scores


def head_accuracy(losses: list[nn.Module], embeddings: Tensor, labels: Tensor) -> float:
    """Accuracy of the first loss that has a head; NaN where none has.

    A head is a method `logits`, or `get_logits` as pytorch-metric-learning calls it, of embeddings (N, D).
    """
    for module in losses:
        logits: Any = getattr(module, "logits", None) or getattr(module, "get_logits", None)
        if logits is not None:
            with torch.no_grad():
                return metrics.accuracy(logits(embeddings), labels)
    return math.nan


def has_collapsed(embeddings: Tensor) -> bool:
    """Total variance on the sphere, tr(S_t), below 1e-4."""
    points = metrics.unit(embeddings.double())
    return float((points - points.mean(0)).square().sum(1).mean()) < COLLAPSED_VARIANCE
