"""Few-shot: tell apart a few unseen classes from a few labeled samples of each (nearest prototype)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from lossbench.metrics.grouping import group
from lossbench.metrics.inputs import Array, at_once, read_sample

_TIE = 1e-12  # of a squared distance: rounding of the difference form, with room to spare
_CHUNK_ELEMENTS = 1 << 22


def few_shot_accuracy(
    embeddings: Array,
    labels: Array,
    *,
    ways: int,
    shots: int,
    queries: int = 15,
    episodes: int = 600,
    seed: int = 0,
) -> dict[str, float]:
    """Mean accuracy over episodes: the nearest prototype, the mean of a class's shots, names the query.

    The episodes are fixed by the labels and the seed, so that every embedding of a split answers the same
    questions. A prototype of another class at the same distance, to within rounding, makes a miss. Classes with
    fewer than shots + queries samples are left out.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values.
        ways: classes in an episode, at least 2.
        shots: samples of each class that make its prototype, at least 1.
        queries: samples of each class that are asked for, at least 1.
        episodes: number of episodes, at least 2.
        seed: fixes the episodes.

    Returns:
        `accuracy`, `half_width_95` (1.96 standard errors over episodes) and `classes`, the number of classes that
        had enough samples.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, arguments out of range, fewer than `ways`
            classes with shots + queries samples.

    >>> import numpy as np
    >>> points = np.repeat(np.array([[0.0], [1.0], [2.0]]), 4, axis=0)
    >>> few_shot_accuracy(points, np.repeat([0, 1, 2], 4), ways=3, shots=1, queries=3)["accuracy"]
    1.0
    """
    for name, value, least in (
        ("ways", ways, 2),
        ("shots", shots, 1),
        ("queries", queries, 1),
        ("episodes", episodes, 2),
    ):
        if value < least:
            raise ValueError(f"{name}: {value} is below {least}")
    points, known = read_sample(embeddings, labels)
    drawn, classes = _episodes(tuple(known.tolist()), ways, shots + queries, episodes, seed)
    size = max(1, at_once(_CHUNK_ELEMENTS, points.device) // (ways * ways * queries * points.shape[1]))
    scores = torch.cat([_score(points[chunk.to(points.device)], shots) for chunk in torch.split(drawn, size)])
    half_width = 1.96 * float(scores.std()) / math.sqrt(episodes)
    return {"accuracy": float(scores.mean()), "half_width_95": half_width, "classes": float(classes)}


@lru_cache(maxsize=16)  # drawing takes longer than scoring, and every embedding of a split gets the same episodes
def _episodes(known: tuple[int, ...], ways: int, samples: int, episodes: int, seed: int) -> tuple[Tensor, int]:
    """Indices (episodes, ways, samples) without repetition in an episode, and the number of usable classes."""
    labels = torch.tensor(known)
    names, _, sizes = group(labels)
    members = [part for part in torch.split(labels.argsort(stable=True), sizes.tolist()) if len(part) >= samples]
    if len(members) < ways:
        raise ValueError(
            f"labels: {len(members)} of {len(names)} classes have the {samples} samples (shots + queries) that an"
            f" episode takes of each; {ways} ways need at least {ways} (the largest class has {int(sizes.max())})"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(episodes, ways, samples, dtype=torch.int64)
    for episode in drawn:
        for row, chosen in zip(episode, torch.randperm(len(members), generator=generator)[:ways], strict=True):
            pool = members[int(chosen)]
            row.copy_(pool[torch.randperm(len(pool), generator=generator)[:samples]])
    return drawn, len(members)


def _score(points: Tensor, shots: int) -> Tensor:
    """Accuracy (E,) of episodes of points (E, ways, shots + queries, D), the shots first."""
    prototypes = points[:, :, :shots].mean(2)
    queries = points[:, :, shots:]
    # Differences, not the matrix-product form, which loses small distances to cancellation.
    distance = torch.cdist(queries.flatten(1, 2), prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    squared = distance.square_().view(*queries.shape[:3], -1)  # (E, ways, queries, ways)
    own = torch.eye(points.shape[1], dtype=torch.bool, device=points.device)[:, None]
    right = squared.where(own, 0.0).sum(-1) < (1 - _TIE) * squared.where(~own, torch.inf).amin(-1)
    return right.double().mean((1, 2))
