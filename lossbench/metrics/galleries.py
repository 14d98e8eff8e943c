"""Queries against a gallery: what is left out of a query's ranking, and what of it counts as a match.

For a query are left out: gallery samples of its own class *and* group (seen by its own camera, they are nearly itself),
and itself where it stands in the gallery too. What matches nobody stays. They are left out of the ranking once it is
found, deeper by as many, so that ties are settled as in every other ranking.

All matches have ranks, the last ones deep in the gallery. They are counted, not sorted: a rank is one more than the
matches before it and the impostors that are not farther. Squared distances come from a matrix product; a query with an
impostor so close to a match that rounding could matter is counted anew, by exact differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.grouping import group, middle
from lossbench.metrics.inputs import Array, at_once, read_labels, read_rows, read_sample
from lossbench.metrics.ranking import Gallery, nearest_blocks

_BLOCK_ELEMENTS = 1 << 20
_LEAST_ROWS = 16


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
            kept = ~(same & self._left_out(which, found))
            yield Block(which, found, kept, same & kept)

    def matches(self, which: slice) -> tuple[Tensor, Tensor]:
        """Gallery rows (rows, M) of the own class of some questions, the last repeated, and whether each is a match."""
        bounds = torch.tensor(self.gallery.bounds, device=self.own.device)
        first, end = bounds[self.own[which], None], bounds[self.own[which] + 1, None]
        columns = first + torch.arange(int((end - first).max()), device=first.device)
        inside = columns < end
        columns = torch.minimum(columns, end - 1)
        return columns, inside & ~self._left_out(which, columns)

    def _left_out(self, which: slice, found: Tensor) -> Tensor:
        """Which samples (rows, depth) of the own class are left out: those of the own group, and the query itself."""
        groups = self.groups[which, None]
        return ((self.gallery_groups[found] == groups) & (groups >= 0)) | (
            self.order[found] == self.places[which, None]
        )


def match_ranks(asked: Questions, *, rows: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """The ranks of all matches of each question, what is left out having none.

    Memory is O(N D + rows N).

    Args:
        rows: questions in a block.

    Yields:
        The slice of the questions, and their ranks (rows, most matches of any) from 1, ascending; float64, infinite
        where a question has fewer matches. Of an impostor and a match at one distance the impostor is first.
    """
    origin = middle(asked.gallery.points)  # distances do not change with the origin, rounding does
    points = asked.gallery.points - origin
    sizes = points.square().sum(1)
    slack = 4 * (points.shape[1] + 1) * torch.finfo(torch.float64).eps  # as in `ranking`
    rows = rows or max(_LEAST_ROWS, at_once(_BLOCK_ELEMENTS, points.device) // len(points))
    for start in range(0, len(asked.own), rows):
        which = slice(start, min(start + rows, len(asked.own)))
        away = asked.points[which] - origin
        doubt = slack * (away.square().sum(1) + sizes.max()) + torch.finfo(torch.float64).tiny
        columns, match = asked.matches(which)
        ranks, sure = _ranks(torch.addmm(sizes, away, points.T, alpha=-2), columns, match, doubt[:, None])
        for row in torch.nonzero(~sure).flatten().tolist():
            exact = (asked.gallery.points - asked.points[start + row]).square().sum(1)[None]
            ranks[row] = _ranks(exact, columns[row, None], match[row, None], exact.new_zeros(1, 1))[0][0]
        yield which, ranks


def _ranks(keys: Tensor, columns: Tensor, match: Tensor, doubt: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks (rows, M) of the matches, and whether no impostor lies within `doubt` (rows, 1) of one (rows,).

    Args:
        keys: (rows, N) squared distances, up to one number a row.
        columns, match: (rows, M) where the own class lies, and what of it is a match.
    """
    matches = keys.gather(1, columns).masked_fill_(~match, torch.inf).sort(1).values
    others = keys.scatter_(1, columns, torch.inf)
    nearer = torch.searchsorted(matches - doubt, others)  # how many matches are nearer than an impostor
    sure = (nearer == torch.searchsorted(matches + doubt, others)).all(1)
    counts = nearer.new_zeros(len(keys), matches.shape[1] + 1)  # whole numbers: sums in any order are the same
    counts.scatter_add_(1, nearer, counts.new_ones(()).expand(nearer.shape))
    ranks = counts[:, :-1].cumsum(1) + torch.arange(1, matches.shape[1] + 1, device=keys.device)
    return ranks.double().masked_fill_(matches.isinf(), torch.inf), sure


def read_questions(
    queries: Array,
    labels: Array,
    gallery: Array,
    gallery_labels: Array,
    *,
    groups: Array | None = None,
    gallery_groups: Array | None = None,
    places: Array | None = None,
    asking: Array | None = None,
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
    who = read_rows(asking, len(own), own.device)
    return _questions(asked, own, camera, place, who, points, classes, gallery_camera)


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
    asking: Tensor,
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
    rows = asking[relevant[asking] > 0]
    if not len(rows):
        raise ValueError(
            f"labels: none of the {len(asking)} queries has a match in the gallery that is not of its own group; "
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
