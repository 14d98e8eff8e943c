"""Would an effect hold on other test classes? Its interval when test classes are a sample too, and not only studies.

A study's score without each group of test classes comes from the run that computed it (`metrics`: the group is deleted
from queries and gallery together). A bootstrap with replacement would put a picture's twin at distance zero; deleting
does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from lossbench.statistics.effects import FloatArray, check_fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassInterval:
    """Mean over studies with the interval for other studies on other test classes; NaN: there is none.

    `class_variance` is the part of the mean's variance that more studies would not lessen, at least zero.
    """

    mean: float
    low: float
    high: float
    confidence: float
    class_variance: float
    studies: int
    groups: int


def class_interval(
    effects: npt.ArrayLike,
    without: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> ClassInterval:
    """Interval of the mean of `effects` (studies,) by the delete-a-group jackknife over `without` (studies, groups).

    For a pair both are differences a - b, so that each class is paired with itself; for one recipe they are scores.
    Study s without group g gives the pseudo-value E_s - (G - 1) (W_sg - mean of W_s). These are a crossed sample of
    studies and groups, and the mean's variance is

        (MS_studies + MS_groups - MS_rest) / (S G),

    the mean squares of a two-way analysis of variance: the noise of a class within a study is in the first two and must
    count once. Never below the variance between studies alone. t with Satterthwaite's degrees of freedom. Groups of
    unlike size are a ratio estimate's clusters (Wolter 2007, ch. 4): each is deleted once and weighs alike. Studies
    with a NaN are left out; fewer than two studies or groups give no interval.

    ValueError for shapes that do not fit. `bounds` are those of `effects`.
    """
    check_fraction("confidence", confidence)
    values, table = np.asarray(effects, dtype=np.float64), np.asarray(without, dtype=np.float64)
    if values.ndim != 1 or table.ndim != 2 or table.shape[0] != values.size:
        raise ValueError(
            f"effects, without: shapes {values.shape}, {table.shape} must be (studies,), (studies, groups)"
        )
    complete = ~np.isnan(values) & ~np.isnan(table).any(axis=1)
    values, table = values[complete], table[complete]
    studies, groups = table.shape
    mean = math.fsum(values) / studies if studies else math.nan
    low = high = class_variance = math.nan
    if studies >= 2 and groups >= 2:
        class_variance, variance, freedom = _variances(values, table)
        half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(variance) if variance > 0 else 0.0
        lowest, highest = bounds or (-math.inf, math.inf)
        low, high = max(mean - half, lowest), min(mean + half, highest)
    return ClassInterval(
        mean=mean, low=low, high=high, confidence=confidence,
        class_variance=class_variance, studies=studies, groups=groups,
    )  # fmt: skip


def _variances(effects: FloatArray, without: FloatArray) -> tuple[float, float, float]:
    """Variance of the mean due to classes, in all, and its degrees of freedom."""
    studies, groups = without.shape
    deviations = -(groups - 1) * (without - without.mean(axis=1, keepdims=True))  # of pseudo-values from their study's
    of_groups = deviations.mean(axis=0)
    between_studies = groups * effects.var(ddof=1)
    between_groups = studies * np.square(of_groups).sum() / (groups - 1)
    rest = np.square(deviations - of_groups).sum() / ((studies - 1) * (groups - 1))
    size = studies * groups
    total = between_studies + between_groups - rest
    if total <= between_studies:
        return 0.0, float(between_studies) / size, studies - 1.0
    parts = (between_studies, studies - 1), (between_groups, groups - 1), (rest, (studies - 1) * (groups - 1))
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts)
    return float(between_groups - rest) / size, float(total) / size, float(freedom)
