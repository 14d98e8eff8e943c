"""The joint sign-flip test of all pairs: an assumption-light check that stands beside the t tests.

Under equality a study's differences are as likely to have come out the other way round. Flipping the signs of whole
studies, of all pairs together, keeps how the pairs depend on each other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lossbench.statistics.effects import FloatArray

LEAST_STUDIES = 6  # 2 of 64 flips is the first p below 5 %
EXACT_STUDIES = 14  # 8,192 flips; above that a seeded sample
SAMPLED_FLIPS = 9_999


def joint_sign_flip(differences: npt.ArrayLike, *, seed: int = 0) -> FloatArray:
    """p of each pair (pairs,), adjusted for all, from differences (pairs, studies); NaN marks a missing one.

    The share of flips for which the largest |mean difference| of any pair is at least the pair's own: raw means,
    not divided by their spread. Valid where the differences of all pairs are jointly symmetric around zero when
    all recipes are equal; with some unequal it errs on the safe side. Exact up to fourteen studies; above, a seeded
    sample of 9,999 flips with the observed one counted in, which keeps the level (Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585). NaN for pairs with fewer than six differences.
    """
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"differences: shape {table.shape} must be (pairs, studies)")
    present = ~np.isnan(table)
    counted = present.sum(axis=1)
    tested = counted >= LEAST_STUDIES
    p = np.full(table.shape[0], np.nan)
    if not tested.any():
        return p
    shares = np.where(present, table, 0.0)[tested] / counted[tested, None]
    observed = np.abs(shares.sum(axis=1))
    rounding = 4 * table.shape[1] * np.finfo(np.float64).eps * np.abs(shares).sum(axis=1).max()
    signs = _signs(table.shape[1], seed)
    largest = np.concatenate([np.abs(block @ shares.T).max(axis=1) for block in np.array_split(signs, 16)])
    hits = np.count_nonzero(largest[:, None] >= observed - rounding, axis=0)
    exact = table.shape[1] <= EXACT_STUDIES
    p[tested] = hits / signs.shape[0] if exact else (1 + hits) / (1 + signs.shape[0])
    return p


def _signs(studies: int, seed: int) -> FloatArray:
    """Flips (flips, studies) of 1 and -1; the last study keeps its sign, since flipping all changes no size."""
    if studies <= EXACT_STUDIES:
        numbers = np.arange(2 ** (studies - 1))[:, None] >> np.arange(studies)
        bits = numbers & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, size=(SAMPLED_FLIPS, studies))
    signs: FloatArray = 1.0 - 2.0 * bits.astype(np.float64)
    return signs
