"""Neighbors in order of distance, block by block, where a tie counts against the query.

Distances come from a matrix product, |g|^2 - 2 q.g, whose rounding grows with the norms and not with the distance. A
row in which two keys lie closer than a bound on that rounding is ranked anew, by exact differences: what is nearer by
one part in a million stays nearer far from the origin, and of equal distances (the collapsed embedding's are all zero)
those of other classes come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lossbench.metrics.grouping import middle
from lossbench.metrics.inputs import at_once

_BLOCK_ELEMENTS = 1 << 22
_LEAST_ROWS = 128
_STRIPES = 8  # of a long row of keys
_EPS = torch.finfo(torch.float64).eps
_TINY = torch.finfo(torch.float64).tiny


class Gallery(NamedTuple):
    """What queries are compared with: sorted so that class c is `points[bounds[c] : bounds[c + 1]]`."""

    points: Tensor
    bounds: list[int]


def nearest_blocks(
    queries: Tensor,
    own: Tensor,
    gallery: Gallery,
    depth: Tensor,
    *,
    leave_one_out: bool,
    rows: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """For each block of queries the indices of their nearest gallery points, nearest first.

    Memory is O(N D + rows N): no matrix of all distances.

    Args:
        queries: (Q, D) float64; with `leave_one_out`, query i is gallery point i and not its own neighbor.
        own: (Q,) each query's class in the gallery, or -1.
        gallery: (N, D) points, sorted by class.
        depth: (Q,) how many neighbors a query needs; a block gets as many as its most demanding query.
        rows: queries in a block.

    Yields:
        The slice of the queries and the indices (rows, depth) into the gallery. At equal distance those of
        other classes come before those of the own class.
    """
    origin = middle(gallery.points)  # distances do not change with the origin, rounding does
    right, sizes = _with_sizes(gallery.points - origin)
    classes = torch.repeat_interleave(torch.tensor(gallery.bounds, device=own.device).diff())
    slack = 4 * right.shape[1] * _EPS  # rounding of a dot product of that length, twice, with room to spare
    rows = rows or max(_LEAST_ROWS, at_once(_BLOCK_ELEMENTS, right.device) // len(right))
    buffer = right.new_empty(min(rows, len(queries)), len(right))
    for start in range(0, len(queries), rows):
        block = slice(start, min(start + rows, len(queries)))
        left, asked_sizes = _with_sizes(queries[block] - origin)
        left[:, :-1] *= -2
        left[:, -1] = 1
        keys = torch.mm(left, right.T, out=buffer[: len(left)])
        if leave_one_out:
            keys.diagonal(start).fill_(torch.inf)
        wanted = int(depth[block].max())
        found = _smallest(keys, min(wanted + 1, len(right)))  # one more: it may be as near as the last
        smallest = keys.gather(1, found)
        doubt = slack * (asked_sizes + sizes.max()) + _TINY
        close = (smallest.diff(dim=1) <= doubt[:, None]).any(1)
        found = found[:, :wanted].clone()
        for row in close.nonzero().flatten().tolist():
            near = torch.nonzero(keys[row] <= smallest[row, wanted - 1] + 2 * doubt[row]).flatten()
            matches = classes[near] == own[start + row]
            found[row] = near[_exactly(queries[start + row], gallery.points[near], matches)][:wanted]
        yield block, found


def _exactly(query: Tensor, near: Tensor, match: Tensor) -> Tensor:
    """The order of points (M, D) by their exact distance from a query (D,); those that match last among equals."""
    exact = (near - query).square().sum(1)
    others_first = match.to(torch.uint8).argsort(stable=True)
    return others_first[exact[others_first].argsort(stable=True)]


def _smallest(keys: Tensor, depth: int) -> Tensor:
    """Columns (rows, depth) of the smallest keys (rows, N) of each row, smallest first.

    A long row is cut into stripes that lie one below the other. Its smallest keys stand in the `depth` places whose
    minimum over the stripes is smallest, or in what the stripes leave over; nothing else is sorted.
    """
    width = keys.shape[1] // _STRIPES
    if width < 64 * depth:  # sorting the few is slower than what it saves
        return keys.topk(depth, largest=False).indices
    starts = torch.arange(0, _STRIPES * width, width, device=keys.device)
    stripes = keys[:, : _STRIPES * width].view(len(keys), _STRIPES, width)
    places = stripes.amin(1).topk(depth, largest=False, sorted=False).indices
    over = torch.arange(_STRIPES * width, keys.shape[1], device=keys.device).expand(len(keys), -1)
    columns = torch.cat([(places[:, None] + starts[:, None]).flatten(1), over], 1)
    return columns.gather(1, keys.gather(1, columns).topk(depth, largest=False).indices)


def _with_sizes(points: Tensor) -> tuple[Tensor, Tensor]:
    """The points (N, D) with their squared norms as a last column, and those norms (N,)."""
    sizes = points.square().sum(1)
    return torch.cat([points, sizes[:, None]], 1), sizes
