"""Queries against a gallery: what is left out of a query's ranking, and what of it counts as a match.

For a query are left out: gallery samples of its own class *and* group (seen by its own camera, they are nearly itself),
and itself where it stands in the gallery too. What matches nobody stays. They are left out of the ranking once it is
found, deeper by as many, so that ties are settled as in every other ranking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.grouping import group
from lossbench.metrics.inputs import Array, read_labels, read_sample
from lossbench.metrics.ranking import Gallery, nearest_blocks


class Block(NamedTuple):
    """Some questions with what was found for each, nearest first.

    Attributes:
        which: the questions, a slice.
        found: (rows, depth) rows of `Questions.gallery`.
        kept: (rows, depth) bool, False where a sample is left out of the query's ranking.
        match: (rows, depth) bool, whether it is kept and of the query's class.
    """

    which: slice
    found: Tensor
    kept: Tensor
    match: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The queries that have a match, those that need the deepest search first, and the gallery sorted by class.

    Attributes:
        rows: (Q,) which of the given queries these are.
        points, groups, places: (Q, D), (Q,) and (Q,) of each as given; groups are dense, -1 where not known.
        own: (Q,) class of each among those of the gallery.
        relevant: (Q,) R, gallery samples of the own class that are not left out; at least 1.
        hidden: (Q,) gallery samples that are left out.
        gallery, order, classes, gallery_groups: the gallery, and of its samples (N,) the given row, class and group.
    """

    rows: Tensor
    points: Tensor
    groups: Tensor
    places: Tensor
    own: Tensor
    relevant: Tensor
    hidden: Tensor
    gallery: Gallery
    order: Tensor
    classes: Tensor
    gallery_groups: Tensor

    def blocks(self, depth: Tensor, *, rows: int | None = None) -> Iterator[Block]:
        """The nearest samples of every question, `depth` (Q,) of them beside what is left out.

        Args:
            rows: questions in a block.
        """
        deep = (depth + self.hidden).clamp(max=len(self.order))
        for which, found in nearest_blocks(self.points, self.own, self.gallery, deep, leave_one_out=False, rows=rows):
            same = self.classes[found] == self.own[which, None]
            seen = (self.gallery_groups[found] == self.groups[which, None]) & (self.groups[which, None] >= 0)
            kept = ~((same & seen) | (self.order[found] == self.places[which, None]))
            yield Block(which, found, kept, same & kept)


def read_questions(
    queries: Array,
    labels: Array,
    gallery: Array,
    gallery_labels: Array,
    *,
    groups: Array | None = None,
    gallery_groups: Array | None = None,
    places: Array | None = None,
) -> Questions:
    """The questions of queries (Q, D) to a gallery (N, D), as `retrieval_metrics` takes them.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, or no query with a match.
    """
    asked, own = read_sample(queries, labels, "queries")
    points, classes = read_sample(gallery, gallery_labels, "gallery")
    if asked.shape[1] != points.shape[1]:
        raise ValueError(f"gallery: {points.shape[1]} columns, but queries have {asked.shape[1]}")
    if (groups is None) != (gallery_groups is None):
        raise ValueError("groups and gallery_groups go together")
    camera, gallery_camera = _cameras(groups, gallery_groups, own, classes)
    place = torch.full_like(own, -1) if places is None else read_labels(places, len(own), own.device, "places")
    if len(place) and int(place.max()) >= len(classes):
        raise ValueError(f"places: {int(place.max())} is no row of a gallery of {len(classes)}")
    return _questions(asked, own, camera, place, points, classes, gallery_camera)


def _cameras(groups: Array | None, gallery_groups: Array | None, own: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Groups of queries and of the gallery as 0, 1, ...; -1 where it is not known."""
    if groups is None or gallery_groups is None:
        return torch.full_like(own, -1), torch.full_like(classes, -1)
    given = torch.cat(
        [
            read_labels(groups, len(own), own.device, "groups"),
            read_labels(gallery_groups, len(classes), own.device, "gallery_groups"),
        ]
    )
    dense = torch.where(given < 0, -1, torch.unique(given, return_inverse=True)[1])
    return dense[: len(own)], dense[len(own) :]


def _questions(
    asked: Tensor,
    labels: Tensor,
    groups: Tensor,
    places: Tensor,
    points: Tensor,
    gallery_labels: Tensor,
    cameras: Tensor,
) -> Questions:
    names, classes, sizes = group(gallery_labels)
    own = torch.searchsorted(names, labels).clamp(max=len(names) - 1)
    known = names[own] == labels
    several = int(max(groups.max(), cameras.max())) + 2  # one for those that are not known
    beside = (classes * several + cameras + 1).bincount(minlength=len(names) * several)
    hidden = torch.where(groups >= 0, beside[own * several + groups + 1], (places >= 0).long())
    relevant = torch.where(known, sizes[own] - hidden, 0)
    rows = torch.nonzero(relevant > 0).flatten()
    if not len(rows):
        raise ValueError(
            f"labels: none of the {len(labels)} queries has a match in the gallery that is not of its own group; "
            "one at least must have"
        )
    rows = rows[(relevant + hidden)[rows].argsort(descending=True, stable=True)]
    order = classes.argsort(stable=True)
    return Questions(
        rows=rows,
        points=asked[rows],
        groups=groups[rows],
        places=places[rows],
        own=own[rows],
        relevant=relevant[rows],
        hidden=hidden[rows],
        gallery=Gallery(points[order], [0, *sizes.cumsum(0).tolist()]),
        order=order,
        classes=classes[order],
        gallery_groups=cameras[order],
    )
