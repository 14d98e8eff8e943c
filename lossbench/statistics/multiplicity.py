"""Many tests at once: p values adjusted so that all false findings together happen in at most alpha of all cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lossbench.statistics.effects import FloatArray


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p values (n,), in the given order (Holm 1979); NaNs stay and do not count.

    For any family of tests. All pairs of recipes have the stronger `shaffer`.

    >>> [round(float(p), 3) for p in holm([0.01, 0.04, float("nan"), 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    p = _checked(p_values)
    if p.ndim != 1:
        raise ValueError(f"p_values: shape {p.shape} must have one axis")
    return np.minimum(holm_products(p, int(np.count_nonzero(~np.isnan(p)))), 1.0)


def holm_products(p: FloatArray, tests: int) -> FloatArray:
    """Holm's p values (n,) among so many tests, not cut at 1; NaNs stay, whether they are of these tests or not."""
    adjusted = np.full(p.shape, math.nan)
    present = np.flatnonzero(~np.isnan(p))
    adjusted[present] = step_down(p[present], range(tests, tests - present.size, -1))
    return adjusted


def shaffer(p_values: npt.ArrayLike, recipes: int) -> FloatArray:
    """Shaffer's step-down adjusted p values (..., pairs) of all pairs of k recipes (Shaffer 1986, procedure S1).

    Holm divides by the number of tests left. But equality is transitive: with one of three recipes apart, at most
    one pair of the three can be equal. S1 divides by the largest number of pairs that can all be equal given how
    many were rejected, whatever the dependence of the tests. NaN: not tested, but counted, as if its p were 1.

    ValueError unless the last axis has recipes (recipes - 1) / 2 entries.

    >>> shaffer([0.01, 0.04, 0.03], 3).round(3).tolist()
    [0.03, 0.04, 0.03]
    """
    p = _checked(p_values)
    counts = steps(recipes)
    if p.ndim < 1 or p.shape[-1] != len(counts):
        raise ValueError(f"p_values: shape {p.shape}; {recipes} recipes have {len(counts)} pairs on the last axis")
    adjusted = np.minimum(step_down(np.where(np.isnan(p), 1.0, p), counts), 1.0)
    return np.where(np.isnan(p), math.nan, adjusted)


def step_down(p: FloatArray, counts: Sequence[int]) -> FloatArray:
    """The j-th smallest p (..., n) times `counts[j]`, at least the one before, in the given order; not cut at 1."""
    order = np.argsort(p, axis=-1, kind="stable")
    stepped = np.take_along_axis(p, order, axis=-1) * np.asarray(counts, dtype=np.float64)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(stepped, axis=-1), axis=-1)
    return adjusted


@lru_cache(maxsize=128)
def steps(recipes: int) -> tuple[int, ...]:
    """S1's divisors: how many of all pairs of k recipes can still be equal after 0, 1, 2, ... rejections.

    >>> steps(4)
    (6, 3, 3, 3, 2, 1)
    """
    pairs = recipes * (recipes - 1) // 2
    possible = sorted(possible_numbers(recipes))
    largest = [max(number for number in possible if number <= pairs - rejected) for rejected in range(pairs)]
    return tuple(largest)


@lru_cache(maxsize=128)
def possible_numbers(recipes: int) -> frozenset[int]:
    """Every number of pairs of k recipes that can be equal at once: a set of j equal ones, and whatever the others do.

    >>> sorted(possible_numbers(4))
    [0, 1, 2, 3, 6]
    """
    if recipes < 2:
        return frozenset({0})
    return frozenset(
        equal * (equal - 1) // 2 + others
        for equal in range(1, recipes + 1)
        for others in possible_numbers(recipes - equal)
    )


def _checked(p_values: npt.ArrayLike) -> FloatArray:
    p = np.asarray(p_values, dtype=np.float64)
    if np.any((p < 0) | (p > 1)):
        raise ValueError(f"p_values: {p[(p < 0) | (p > 1)][0]} is outside [0, 1]")
    return p
