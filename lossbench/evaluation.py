"""Embed a split once and score it by its protocol, raw and on the unit sphere."""

from __future__ import annotations

import math

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
    return torch.cat([network(to_input(chunk)).float() for chunk in images.split(CHUNK)])


def in_space(embeddings: Tensor, space: str) -> Tensor:
    """The embeddings as they are (`euclidean`) or unit-normalized (`sphere`)."""
    return metrics.unit(embeddings) if space == "sphere" else embeddings


def score_split(embeddings: Tensor, labels: Tensor, protocol: str, plugins: tuple[str, ...] = ()) -> dict[str, float]:
    """Every figure that needs one split only: distances and retrieval; verification on unseen classes.

    Args:
        plugins: names of metric plugins to compute beside the built-in figures.

    Returns:
        `<space>.<figure>` to value; NaN where a figure is empty by definition.
    """
    scores = {}
    for space in SPACES:
        points = in_space(embeddings, space)
        figures = metrics.distance_statistics(points, labels) | metrics.retrieval_metrics(points, labels)
        if protocol != "closed-set":
            figures |= metrics.verification_metrics(*metrics.pair_scores(points, labels))
        for name in plugins:
            figures[name] = float(registry.find("metric", name).build(points, labels))
        scores |= {f"{space}.{name}": value for name, value in figures.items()}
    return scores


def score_against_gallery(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, labels: Tensor) -> dict[str, float]:
    """Nearest-class-mean and 5-NN accuracy of queries against the training split, in both spaces."""
    scores = {}
    for space in SPACES:
        known, asked = in_space(gallery, space), in_space(queries, space)
        scores[f"{space}.nearest_mean_accuracy"] = metrics.nearest_mean_accuracy(known, gallery_labels, asked, labels)
        scores[f"{space}.knn_accuracy"] = metrics.knn_accuracy(known, gallery_labels, asked, labels)
    return scores


def head_accuracy(losses: list[nn.Module], embeddings: Tensor, labels: Tensor) -> float:
    """Accuracy of the first loss that has a head (a `logits` method); NaN where none has."""
    for module in losses:
        if hasattr(module, "logits"):
            with torch.no_grad():
                return metrics.accuracy(module.logits(embeddings), labels)
    return math.nan


def has_collapsed(embeddings: Tensor) -> bool:
    """Total variance on the sphere, tr(S_t), below 1e-4."""
    points = metrics.unit(embeddings.double())
    return float((points - points.mean(0)).square().sum(1).mean()) < COLLAPSED_VARIANCE


def drawing_data(embeddings: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
    """What the report draws of a split: the embeddings, classes and distance histograms in both spaces."""
    arrays = {"embeddings": embeddings.numpy(), "labels": labels.numpy()}
    for space in SPACES:
        points = in_space(embeddings, space)
        for name, values in metrics.distance_histograms(points, labels).items():
            arrays[f"histogram.{space}.{name}"] = values
        for name, values in metrics.per_class_statistics(points, labels).items():
            arrays[f"classes.{space}.{name}"] = values
    return arrays
