"""Embed a split once and score it by its protocol, raw and on the unit sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossbench import metrics
from lossbench.metrics.pairs import MAX_PAIRS
from lossbench.plugins import registry
from lossbench.run import parallel
from lossbench.run.model import to_input
from lossbench.run.rows import Samples
from lossbench.run.searching import Roles, classed, retrieval, sample_that_asks

SPACES = ("euclidean", "sphere")
FEW_SHOT = ((5, 1), (5, 5), (20, 1), (20, 5))  # ways and shots
FEW_SHOT_QUERIES = 15
COLLAPSED_VARIANCE = 1e-4
CHUNK = 512
LOGITS = 2**26  # at once: a million samples of a thousand classes would have 4 GB of them


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRows:
    """Pairs to verify: `first` and `second` (P,) are rows of a split, `same` (P,) whether they are of one class."""

    first: Tensor
    second: Tensor
    same: Tensor


@torch.no_grad()
def embed(network: nn.Module, images: Samples) -> Tensor:
    """Embeddings (N, D) float32 of images (N, C, H, W) or vectors (N, F) in evaluation mode; each rank embeds some."""
    network.eval()
    own = parallel.share(len(images))
    starts = range(own.start, own.stop, CHUNK) or [own.start]  # of nothing, one block of nothing
    chunks = (images[start : min(start + CHUNK, own.stop)] for start in starts)
    return parallel.gather(torch.cat([network(to_input(chunk)).float() for chunk in chunks]), len(images))


def in_space(embeddings: Tensor, space: str) -> Tensor:
    """The embeddings as they are (`euclidean`) or unit-normalized (`sphere`)."""
    return metrics.unit(embeddings) if space == "sphere" else embeddings


def score_split(
    embeddings: Tensor,
    labels: Tensor,
    *,
    roles: Roles | None = None,
    verify: bool = False,
    draw: bool = False,
    plugins: tuple[str, ...] = (),
    max_pairs: int = MAX_PAIRS,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Every figure that needs one split only, in both spaces.

    Args:
        roles: who asks and who is asked, where the protocol has a gallery; all else is measured without distractors.
        verify: whether to verify all pairs too, as the classes are unseen.
        draw: whether to return what the report draws, too.
        plugins: names of metric plugins to compute beside the built-in figures.
        max_pairs: number of pairs above which a fixed sample of so many is measured.

    Returns:
        `<space>.<figure>` to value, NaN where a figure is empty by definition; and with
        `draw` the arrays `histogram.<space>.<part>` and `classes.<space>.<column>`.
    """
    scores: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    everything = embeddings, labels
    embeddings, labels = classed(embeddings, labels, roles)
    for space in SPACES:
        points = in_space(embeddings, space)
        pairs = metrics.repeated_class_pairs(points, labels, max_pairs=max_pairs)
        figures = metrics.distance_statistics(points, labels, pairs=pairs)
        figures |= retrieval(in_space(everything[0], space), everything[1], roles)
        if verify:
            if figures["singleton_classes"]:  # their samples take part in impostor pairs here
                figures |= metrics.verification_metrics(*metrics.pair_scores(points, labels, max_pairs=max_pairs))
            else:
                figures |= metrics.pair_verification(pairs)
        for name in plugins:
            figures[name] = float(registry.find("metric", name).build(points, labels))
        scores |= {f"{space}.{name}": value for name, value in figures.items()}
        if draw:
            histogram = metrics.distance_histograms(pairs)
            arrays |= {f"histogram.{space}.{name}": values for name, values in histogram.items()}
            classes = metrics.per_class_statistics(points, labels)
            arrays |= {f"classes.{space}.{name}": values for name, values in classes.items()}
    return scores, arrays


def score_retrieval(embeddings: Tensor, labels: Tensor, roles: Roles | None = None) -> dict[str, float]:
    """The retrieval figures of one split in both spaces."""
    return {
        f"{space}.{name}": value
        for space in SPACES
        for name, value in retrieval(in_space(embeddings, space), labels, roles).items()
    }


def score_against_gallery(gallery: Tensor, gallery_labels: Tensor, queries: Tensor, labels: Tensor) -> dict[str, float]:
    """Nearest-class-mean and 5-NN accuracy of queries against the training split, in both spaces.

    Of many queries those answer that ask for the retrieval figures of their split.
    """
    scores = {}
    if (some := sample_that_asks(len(queries), len(queries))) is not None:
        queries, labels = queries[some], labels[some]
    for space in SPACES:
        known, asked = in_space(gallery, space), in_space(queries, space)
        scores[f"{space}.nearest_mean_accuracy"] = metrics.nearest_mean_accuracy(known, gallery_labels, asked, labels)
        scores[f"{space}.knn_accuracy"] = metrics.knn_accuracy(known, gallery_labels, asked, labels)
    return scores


def score_pairs(embeddings: Tensor, pairs: PairRows, chosen_on: Tensor, chosen_pairs: PairRows) -> dict[str, float]:
    """Verification of given pairs in both spaces; `fold_accuracy` at the threshold that other pairs chose.

    Args:
        embeddings: (N, D) of the samples that `pairs` names.
        chosen_on: (M, D) of the samples that `chosen_pairs` names, whose best threshold is applied to `pairs`.
    """
    scores: dict[str, float] = {}
    for space in SPACES:
        found, others = (
            _likeness(in_space(points, space), rows)
            for points, rows in ((embeddings, pairs), (chosen_on, chosen_pairs))
        )
        figures = metrics.verification_metrics(found, pairs.same)
        threshold = metrics.best_threshold(others, chosen_pairs.same)
        figures["fold_accuracy"] = metrics.accuracy_at(found, pairs.same, threshold)
        scores |= {f"{space}.{name}": value for name, value in figures.items()}
    return scores


def _likeness(points: Tensor, rows: PairRows) -> Tensor:
    """Minus the distance of each pair (P,), float64."""
    points = points.double()
    distance: Tensor = (points[rows.first] - points[rows.second]).norm(dim=1)
    return -distance


def score_few_shot(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """`few_shot_5way_1shot` and so on in both spaces; NaN where too few classes have enough samples."""
    counts = labels.bincount()
    scores = {}
    points = {space: in_space(embeddings, space) for space in SPACES}
    for ways, shots in FEW_SHOT:
        enough = int((counts >= shots + FEW_SHOT_QUERIES).sum()) >= ways
        for space in SPACES:
            scores[f"{space}.few_shot_{ways}way_{shots}shot"] = (
                metrics.few_shot_accuracy(points[space], labels, ways=ways, shots=shots, queries=FEW_SHOT_QUERIES)[
                    "accuracy"
                ]
                if enough
                else math.nan
            )
    return scores


def head_of(module: nn.Module) -> Any:
    """The head of a loss: its `logits`, or `get_logits` as pytorch-metric-learning calls it, of embeddings (N, D)."""
    return getattr(module, "logits", None) or getattr(module, "get_logits", None)


def head_accuracy(losses: list[nn.Module], embeddings: Tensor, labels: Tensor) -> float:
    """Accuracy of the first loss that has a head (`head_of`); NaN where none has."""
    for module in losses:
        if (logits := head_of(module)) is not None:
            rows = max(1, LOGITS // (int(labels.max()) + 1))
            blocks = zip(torch.split(embeddings, rows), torch.split(labels, rows), strict=True)
            with torch.no_grad():
                right = sum(round(metrics.accuracy(logits(points), own) * len(own)) for points, own in blocks)
            return right / len(labels)
    return math.nan


def has_collapsed(embeddings: Tensor) -> bool:
    """Total variance on the sphere, tr(S_t), below 1e-4."""
    points = metrics.unit(embeddings.double())
    return float((points - points.mean(0)).square().sum(1).mean()) < COLLAPSED_VARIANCE
