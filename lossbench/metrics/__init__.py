"""Figures of embeddings: arrays in, floats out.

Every function takes NumPy arrays or torch tensors, computes in float64 on the tensor's device and raises
ValueError with the place, the value and the rule. Names are resolved on first use (PEP 562), so that importing
this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.metrics.classification import accuracy, knn_accuracy, nearest_mean_accuracy
    from lossbench.metrics.distances import (
        center_statistics,
        distance_histograms,
        distance_statistics,
        per_class_statistics,
        repeated_class_pairs,
        scatter_statistics,
        unit,
    )
    from lossbench.metrics.fewshot import few_shot_accuracy
    from lossbench.metrics.jackknife import map_at_r_without
    from lossbench.metrics.retrieval import nearest_neighbours, retrieval_metrics
    from lossbench.metrics.verification import (
        accuracy_at,
        best_threshold,
        pair_scores,
        pair_verification,
        verification_metrics,
    )

_HOME = {
    "accuracy": "classification",
    "accuracy_at": "verification",
    "best_threshold": "verification",
    "center_statistics": "distances",
    "distance_histograms": "distances",
    "distance_statistics": "distances",
    "few_shot_accuracy": "fewshot",
    "knn_accuracy": "classification",
    "map_at_r_without": "jackknife",
    "nearest_mean_accuracy": "classification",
    "nearest_neighbours": "retrieval",
    "pair_scores": "verification",
    "pair_verification": "verification",
    "per_class_statistics": "distances",
    "repeated_class_pairs": "distances",
    "retrieval_metrics": "retrieval",
    "scatter_statistics": "distances",
    "unit": "distances",
    "verification_metrics": "verification",
}

__all__ = [
    "accuracy",
    "accuracy_at",
    "best_threshold",
    "center_statistics",
    "distance_histograms",
    "distance_statistics",
    "few_shot_accuracy",
    "knn_accuracy",
    "map_at_r_without",
    "nearest_mean_accuracy",
    "nearest_neighbours",
    "pair_scores",
    "pair_verification",
    "per_class_statistics",
    "repeated_class_pairs",
    "retrieval_metrics",
    "scatter_statistics",
    "unit",
    "verification_metrics",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines `name`, and torch with it, when the name is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
