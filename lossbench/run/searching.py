"""How a split is searched: each sample among all others, or, where the protocol has roles, queries in a gallery.

Of a large split a fixed sample asks the whole of it: the time of a search grows with queries times gallery, and more
queries hardly help a figure. Ten thousand leave MAP@R a standard error of at most 0.005, which recipes share, as the
same queries ask of each.
"""

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
from lossbench.specification.primary import most_queries


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


def sample_that_asks(queries: int, gallery: int) -> Tensor | None:
    """Rows (A,) of the queries that ask a gallery, ascending, where all would be too many; None: all ask."""
    most = most_queries(gallery)
    if queries <= most:
        return None
    return torch.randperm(queries, generator=torch.Generator().manual_seed(0))[:most].sort().values


def retrieval(points: Tensor, labels: Tensor, roles: Roles | None, **how: Any) -> dict[str, float]:
    """The retrieval figures of a split (N, D) with labels (N,); `how` goes to `retrieval_metrics`.

    Where a sample of the queries asks, `queries_sampled` is their number.
    """
    queries, arrays = _arrays(points, labels, roles)
    found = metrics.retrieval_metrics(queries[0], queries[1], **arrays, **how)
    asking = arrays["asking"]
    return found if asking is None else found | {"queries_sampled": float(len(asking))}


def map_at_r_without(points: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """MAP@R without each group of samples in turn (G,), `groups` (N,)."""
    asking = sample_that_asks(len(labels), len(labels))
    return metrics.map_at_r_without(points, labels, groups, asking=asking)


def map_at_r_without_classes(points: Tensor, labels: Tensor, roles: Roles | None) -> Tensor:
    """MAP@R without each class in turn (C,), distractors staying."""
    if roles is None:
        return map_at_r_without(points, labels, labels)
    return gallery_map_at_r_without(_questions(points, labels, roles))[int(len(roles.strays) > 0) :]  # they come first


def nearest(points: Tensor, labels: Tensor, roles: Roles | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (Q,) of the queries that have a match, of the nearest sample to each, and the distance."""
    if roles is None:
        asked = torch.nonzero(labels.bincount()[labels] > 1).flatten()
        if (some := sample_that_asks(len(labels), len(labels))) is not None:
            asked = some[torch.isin(some, asked)]
        found, distance = metrics.nearest_neighbours(points, labels, 1, asking=asked)
        return asked, found[:, 0], distance[:, 0]
    questions = _questions(points, labels, roles)
    first = torch.empty_like(questions.rows)
    for block in questions.blocks(torch.ones_like(questions.relevant)):
        first[block.which] = block.found.gather(1, block.kept.int().argmax(1, keepdim=True))[:, 0]
    distance = torch.linalg.vector_norm(questions.points - questions.gallery.points[first], dim=1)
    by_row = questions.rows.argsort()
    return roles.asks[questions.rows][by_row], roles.stands[questions.order[first]][by_row], distance[by_row]


def _questions(points: Tensor, labels: Tensor, roles: Roles) -> Questions:
    queries, arrays = _arrays(points, labels, roles)
    return read_questions(*queries, **arrays)


def _arrays(points: Tensor, labels: Tensor, roles: Roles | None) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
    """Queries with their labels, and what `retrieval_metrics` wants to know of the gallery and of who asks."""
    if roles is None:
        return (points, labels), {"asking": sample_that_asks(len(labels), len(labels))}
    labels = labels.index_fill(0, roles.strays, -1)
    place = torch.full_like(labels, -1)
    place[roles.stands] = torch.arange(len(roles.stands), device=labels.device)
    return (points[roles.asks], labels[roles.asks]), {
        "gallery": points[roles.stands],
        "gallery_labels": labels[roles.stands],
        "groups": roles.groups[roles.asks],
        "gallery_groups": roles.groups[roles.stands],
        "places": place[roles.asks],
        "asking": sample_that_asks(len(roles.asks), len(roles.stands)),
    }
