"""Neighbors in order of distance, block by block, where a tie counts against the query.

The order is that of exact differences, float64 sums of (g - q)^2: what is nearer by one part in a million stays nearer
far from the origin, and of equal distances (the collapsed embedding's are all zero) those of other classes come first.
Matrix products only say which few differences must be taken. They give keys |g|^2 - 2 q.g, which are the squared
distances but for the query's own square, with an error that is bounded as follows (u is the unit roundoff of the
precision, norms are those of the points less a common origin).

**The bound.** A key is a dot product of D + 1 terms, (-2 q, 1) with (g, |g|^2). Rounding the factors of a term to the
precision changes it by a factor of at most (1 + u)^2; adding up n products in any order, with or without fused
multiply-adds, changes each by at most a factor of 1 + gamma(n), gamma(n) = n u / (1 - n u) (Higham 2002, *Accuracy and
Stability of Numerical Algorithms*, 3.1 and Lemma 3.3). So the computed key is off by at most

    gamma(D + 3) (2 sum_i |q_i g_i| + |g|^2)  <=  gamma(D + 3) (|q|^2 + 2 |g|^2)  <=  e = gamma(D + 4) (|q|^2 + 2 S),

S the largest |g|^2; the last step leaves room for the float64 rounding of the norms themselves. Underflow adds at most
four of the smallest normal numbers a term, as points are scaled by a power of two to norms of at most 1.

**Candidates.** Let t be the k-th smallest computed key. The k nearest points have true keys of at most t + e, thus
computed ones of at most t + 2 e. Where the (k + m)-th smallest computed key is larger than t + 2 e, the k + m smallest
hold the k nearest, and their exact differences order them. In single precision that leaves few queries, which are
searched again in double precision. On every candidate the bound is compared with what came out: a product that rounds
more than it says (TF32) costs time and no neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lossbench.metrics.grouping import middle
from lossbench.metrics.inputs import at_once

_BLOCK_ELEMENTS = 1 << 20
_LEAST_ROWS = 256
_STRIPES = 8  # of a long row of keys
_SPARE = 8  # candidates beyond those wanted
_STEPS = 2.0**32 - 1
_FEW = 64  # where fewer than one key in so many is wanted, single precision is faster
_SORTED = 8  # where more than one in so many is wanted, all are sorted
_FEWEST_SORTED = 64  # of fewer, the smallest are picked out as fast
_SORTED_ROWS = 16  # sorted at once, within the cache
_VANISHING = 1e-100  # squares of coordinates below this lose digits, and all of them below 1e-162
_LIFT = 2.0**500  # a power of two: it rounds nothing


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
    asked: Tensor | None = None,
    rows: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """For each block of queries the indices of their nearest gallery points, nearest first.

    Memory is O(N D + rows N): no matrix of all distances.

    Args:
        queries: (Q, D) float64; with `leave_one_out`, query i is gallery point i and not its own neighbor.
        own: (Q,) each query's class in the gallery, or -1.
        gallery: (N, D) points, sorted by class.
        depth: (A,) how many neighbors each of those asked needs; a block gets as many as its most demanding query.
        asked: (A,) which queries are asked, in this order; None: all as they are.
        rows: queries in a block.

    Yields:
        The slice of those asked and the indices (rows, depth) into the gallery. At equal distance those of
        other classes come before those of the own class.
    """
    search = _Search(queries, own, gallery, leave_one_out=leave_one_out)
    rows = rows or max(_LEAST_ROWS, at_once(_BLOCK_ELEMENTS, queries.device) // len(gallery.points))
    asked = torch.arange(len(queries), device=own.device) if asked is None else asked
    for start in range(0, len(asked), rows):
        block = slice(start, min(start + rows, len(asked)))
        yield block, search.nearest(asked[block], int(depth[block].max()))


class _Search:
    """The neighbors of any queries in one gallery, by products in single precision where they will do.

    Who is nobody's neighbor is decided in `_keys` alone: an infinite key is never before a finite one.
    """

    def __init__(self, queries: Tensor, own: Tensor, gallery: Gallery, *, leave_one_out: bool) -> None:
        self.queries, self.own, self.points, self.leave_one_out = queries, own, gallery.points, leave_one_out
        if max(_reach(queries), _reach(gallery.points)) < _VANISHING:
            self.queries, self.points = queries * _LIFT, gallery.points * _LIFT
        self.classes = torch.repeat_interleave(torch.tensor(gallery.bounds, device=own.device).diff())
        self.origin = middle(self.points)  # distances do not change with the origin, rounding does
        self.sizes = _chunked_squares(self.points, self.origin)
        self.asked_sizes = self.sizes if leave_one_out else _chunked_squares(self.queries, self.origin)
        largest = float(torch.maximum(self.sizes.max(), self.asked_sizes.max()))
        self.scale = 2.0 ** -math.frexp(math.sqrt(largest))[1]
        self._buffers: dict[torch.dtype, Tensor] = {}

    def nearest(self, asked: Tensor, wanted: int) -> Tensor:
        """Indices (rows, wanted) of the nearest points of the queries `asked` (rows,), nearest first."""
        if wanted * _FEW > len(self.points):  # exact differences to so many cost more than the product saves
            return self._by_double(asked, wanted)
        found, sure = self._by_single(asked, wanted)
        (again,) = torch.nonzero(~sure, as_tuple=True)
        if len(again):
            found[again] = self._by_double(asked[again], wanted)
        return found

    def _by_single(self, asked: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
        """The neighbors of each query, and whether they are proven to be its nearest (rows,)."""
        keys = self._keys(asked, self._single)
        found = _smallest(keys, min(wanted + _SPARE, len(self.points)))
        rough = keys.gather(1, found).double()
        exact = self._exact(asked, found).masked_fill_(rough.isinf(), torch.inf)
        error = self._error(asked, torch.float32)[:, None]
        sizes = self.asked_sizes[asked, None] * self.scale**2
        sure = ((rough + sizes - exact * self.scale**2).abs() <= error).logical_or_(rough.isinf()).all(1)
        if found.shape[1] < len(self.points):
            sure &= rough[:, -1] > rough[:, wanted - 1] + 2 * error[:, 0]
        return found.gather(1, self._ranks(asked, found, exact)[:, :wanted]), sure

    def _by_double(self, asked: Tensor, wanted: int) -> Tensor:
        """The neighbors of each query; exact differences are taken where keys lie as close as their errors."""
        keys = self._keys(asked, self._double)
        error = self._error(asked, torch.float64)
        found = asked.new_empty(len(asked), wanted)
        rows = _SORTED_ROWS if wanted > max(_FEWEST_SORTED, len(self.points) // _SORTED) else len(asked)
        for first in range(0, len(asked), rows):
            some = slice(first, first + rows)
            if rows == _SORTED_ROWS:
                order, apart = _in_order(keys[some])
                error[some] += apart
            else:
                order = _smallest(keys, min(wanted + 1, keys.shape[1]))  # one more: it may be as near as the last
            near = keys[some].gather(1, order[:, : wanted + 1])
            found[some] = order[:, :wanted]
            (close,) = torch.nonzero((near.diff(dim=1) <= 2 * error[some, None]).any(1), as_tuple=True)
            for row in close.tolist():
                place = first + row
                found[place] = self._settled(asked[place], keys[place], order[row], 2 * error[place], wanted)
        return found

    def _settled(self, asked: Tensor, keys: Tensor, order: Tensor, room: Tensor, wanted: int) -> Tensor:
        """The `wanted` first columns of one query, where keys within `room` of the next are put in exact order."""
        if len(order) < len(keys):  # others may be as near as the last of them
            near = torch.nonzero(keys <= keys[order[wanted - 1]] + room).flatten()
            order = near[keys[near].argsort()]
        close = keys[order].diff() <= room
        after = torch.nonzero(~close[wanted - 1 :]).flatten()  # beyond the first gap nothing is wanted
        close = close[: wanted - 1 + int(after[0])] if len(after) else close
        linked = torch.zeros(len(close) + 1, dtype=torch.bool, device=close.device)
        linked[1:] = close
        linked[:-1] |= close
        places = torch.nonzero(linked).flatten()
        exact = self._exact(asked[None], order[None, places])
        order = order.clone()
        order[places] = order[places][self._ranks(asked[None], order[None, places], exact)[0]]
        return order[:wanted]

    def _ranks(self, asked: Tensor, found: Tensor, exact: Tensor) -> Tensor:
        """The order of points `found` (rows, M) by exact distance; those of the own class last among equals."""
        match = self.classes[found] == self.own[asked, None]
        others_first = match.to(torch.uint8).argsort(dim=1, stable=True)
        return others_first.gather(1, exact.gather(1, others_first).argsort(dim=1, stable=True))

    def _exact(self, asked: Tensor, found: Tensor) -> Tensor:
        """Squared distances (rows, M) of the queries to the points `found` (rows, M), from their differences."""
        exact = self.queries.new_empty(found.shape)
        part = max(1, at_once(_BLOCK_ELEMENTS, found.device) // (2 * found.shape[1] * self.points.shape[1]))
        for first in range(0, len(found), part):
            some = slice(first, first + part)
            away = self.points[found[some]].sub_(self.queries[asked[some], None])
            exact[some] = away.square_().sum(2)
        return exact

    def _keys(self, asked: Tensor, right: Tensor) -> Tensor:
        """Keys (rows, N) in the precision of `right`; infinite where a point is no neighbor of the query."""
        if right.dtype not in self._buffers or len(self._buffers[right.dtype]) < len(asked):
            self._buffers[right.dtype] = right.new_empty(len(asked), len(right))
        left = self.queries.new_ones(len(asked), right.shape[1])
        left[:, :-1] = (self.queries[asked] - self.origin).mul_(-2 * self.scale)
        keys = torch.mm(left.to(right.dtype), right.T, out=self._buffers[right.dtype][: len(asked)])
        if self.leave_one_out:
            keys[torch.arange(len(asked), device=asked.device), asked] = torch.inf
        return keys

    def _error(self, asked: Tensor, precision: torch.dtype) -> Tensor:
        """The bound on the error of a query's keys (rows,), as derived above."""
        kind, terms = torch.finfo(precision), self.points.shape[1] + 4
        gamma = terms * kind.eps / 2 / (1 - terms * kind.eps / 2)
        return gamma * self.scale**2 * (self.asked_sizes[asked] + 2 * self.sizes.max()) + 4 * terms * kind.tiny

    @cached_property
    def _single(self) -> Tensor:
        return self._right(torch.float32)

    @cached_property
    def _double(self) -> Tensor:
        return self._right(torch.float64)

    def _right(self, precision: torch.dtype) -> Tensor:
        """Points (N, D + 1) less the origin, scaled, with their squared norms as a last column."""
        right = self.points.new_empty(len(self.points), self.points.shape[1] + 1, dtype=precision)
        for part in _parts(self.points):
            right[part, :-1] = (self.points[part] - self.origin).mul_(self.scale)
        right[:, -1] = self.sizes * self.scale**2
        return right


def _parts(points: Tensor) -> Iterator[slice]:
    """Slices of the rows of points (N, D), as many at once as fit."""
    rows = max(1, at_once(_BLOCK_ELEMENTS, points.device) // points.shape[1])
    return (slice(first, first + rows) for first in range(0, len(points), rows))


def _reach(points: Tensor) -> float:
    """The largest coordinate of the points (N, D), whatever its sign."""
    return max(abs(float(end)) for end in points.aminmax())


def _chunked_squares(points: Tensor, origin: Tensor) -> Tensor:
    """Squared norms (N,) of the points (N, D) less an origin (D,)."""
    return torch.cat([(points[part] - origin).square_().sum(1) for part in _parts(points)])


def _smallest(keys: Tensor, depth: int) -> Tensor:
    """Columns (rows, depth) of the smallest keys (rows, N) of each row, smallest first.

    A long row is cut into stripes that lie one below the other. Its smallest keys stand in the `depth` places whose
    minimum over the stripes is smallest, or in what the stripes leave over; nothing else is sorted.
    """
    width = keys.shape[1] // _STRIPES
    if width < 2 * depth:  # sorting the few is slower than what it saves
        return keys.topk(depth, largest=False).indices
    starts = torch.arange(0, _STRIPES * width, width, device=keys.device)
    stripes = keys[:, : _STRIPES * width].view(len(keys), _STRIPES, width)
    places = stripes.amin(1).topk(depth, largest=False, sorted=False).indices
    over = torch.arange(_STRIPES * width, keys.shape[1], device=keys.device).expand(len(keys), -1)
    columns = torch.cat([(places[:, None] + starts[:, None]).flatten(1), over], 1)
    return columns.gather(1, keys.gather(1, columns).topk(depth, largest=False).indices)


def _in_order(keys: Tensor) -> tuple[Tensor, Tensor]:
    """All columns (rows, N) by ascending key, and by how much at most (rows,) a key may be larger than one after it.

    On a CPU a radix sort of the keys as 32-bit fractions of their range, six times as fast as sorting the keys: whoever
    asks for half of a long row asks for its order, and what the fractions do not tell apart is settled anyway.
    """
    if keys.device.type != "cpu":
        return keys.argsort(dim=1), keys.new_zeros(len(keys))
    low = keys.amin(1, keepdim=True)
    span = keys.masked_fill(keys.isinf(), -torch.inf).amax(1, keepdim=True) - low
    step = span.clamp(min=torch.finfo(keys.dtype).tiny * _STEPS) / (_STEPS - 1)  # the last one is infinity's
    codes = ((keys - low) / step).clamp_(max=_STEPS).long()
    by_lower = _radix_order(codes)
    by_upper = _radix_order((codes >> 16).gather(1, by_lower))
    return by_lower.gather(1, by_upper), 2 * step[:, 0]


def _radix_order(codes: Tensor) -> Tensor:
    """Columns (rows, N) by ascending lower 16 bits of the codes (rows, N), equal ones as they stand."""
    return torch.from_numpy(np.argsort(codes.numpy().astype(np.uint16), axis=1, kind="stable"))
