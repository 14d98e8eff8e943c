"""How a split is searched: each sample among all others, or, where the protocol has roles, queries in a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench import metrics
from lossbench.datasets.dataset import DISTRACTOR
from lossbench.datasets.roles import asks, stands
from lossbench.metrics.galleries import Questions, read_questions
from lossbench.metrics.jackknife import gallery_map_at_r_without


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who asks in a split of N samples, and who is asked.

    Attributes:
        asks, stands, strays: rows of the queries, of the gallery, and of the distractors among it, which match nothing.
        groups: (N,) int64, -1 where not known.
        classed: rows of all samples but distractors, of which there are classes.
    """

    asks: Tensor
    stands: Tensor
    strays: Tensor
    groups: Tensor
    classed: Tensor


def roles_from(roles: np.ndarray, groups: np.ndarray, device: str = "cpu") -> Roles:
    """Who asks and who is asked, from QUERY, GALLERY, BOTH or DISTRACTOR of each sample (N,), and its group (N,)."""
    stray = roles == DISTRACTOR
    rows = [torch.from_numpy(np.flatnonzero(which)).to(device) for which in (asks(roles), stands(roles), stray, ~stray)]
    return Roles(
        asks=rows[0], stands=rows[1], strays=rows[2], classed=rows[3], groups=torch.from_numpy(groups).to(device)
    )


def classed(points: Tensor, labels: Tensor, roles: Roles | None) -> tuple[Tensor, Tensor]:
    """The samples with their labels that are of a class: all but distractors."""
    return (points, labels) if roles is None else (points[roles.classed], labels[roles.classed])


def retrieval(points: Tensor, labels: Tensor, roles: Roles | None, **how: Any) -> dict[str, float]:
    """The retrieval figures of a split (N, D) with labels (N,); `how` goes to `retrieval_metrics`."""
    if roles is None:
        return metrics.retrieval_metrics(points, labels, **how)
    asked, gallery = _arrays(points, labels, roles)
    return metrics.retrieval_metrics(asked[0], asked[1], **gallery, **how)


def map_at_r_without_classes(points: Tensor, labels: Tensor, roles: Roles | None) -> Tensor:
    """MAP@R without each class in turn (C,), distractors staying."""
    if roles is None:
        return metrics.map_at_r_without(points, labels, labels)
    return gallery_map_at_r_without(_questions(points, labels, roles))[int(len(roles.strays) > 0) :]  # they come first


def nearest(points: Tensor, labels: Tensor, roles: Roles | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (Q,) of the queries that have a match, of the nearest sample to each, and the distance."""
    if roles is None:
        found, distance = metrics.nearest_neighbours(points, labels, 1)
        asked = torch.nonzero(labels.bincount()[labels] > 1).flatten()
        return asked, found[asked, 0], distance[asked, 0]
    questions = _questions(points, labels, roles)
    first = torch.empty_like(questions.rows)
    for block in questions.blocks(torch.ones_like(questions.relevant)):
        first[block.which] = block.found.gather(1, block.kept.int().argmax(1, keepdim=True))[:, 0]
    distance = torch.linalg.vector_norm(questions.points - questions.gallery.points[first], dim=1)
    by_row = questions.rows.argsort()
    return roles.asks[questions.rows][by_row], roles.stands[questions.order[first]][by_row], distance[by_row]


def _questions(points: Tensor, labels: Tensor, roles: Roles) -> Questions:
    queries, gallery = _arrays(points, labels, roles)
    return read_questions(*queries, **gallery)


def _arrays(points: Tensor, labels: Tensor, roles: Roles) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """Queries with their labels, and what `retrieval_metrics` wants to know of the gallery."""
    labels = labels.index_fill(0, roles.strays, -1)
    place = torch.full_like(labels, -1)
    place[roles.stands] = torch.arange(len(roles.stands), device=labels.device)
    return (points[roles.asks], labels[roles.asks]), {
        "gallery": points[roles.stands],
        "gallery_labels": labels[roles.stands],
        "groups": roles.groups[roles.asks],
        "gallery_groups": roles.groups[roles.stands],
        "places": place[roles.asks],
    }
