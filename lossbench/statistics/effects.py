"""One pair of recipes: its effect over studies and the test of it; means with their intervals.

Studies are the pairs: recipes meet within a study, on its deal of the data, under the same final seeds. Nothing here
asks what an index stands for: rounds of a cost probe are paired in the same way.

Without spread the t statistic says nothing. Where all differences are equal (to rounding), the exact
sign-flip test, whose p is then 2^(1-n), takes its place, and the interval is the set of values that test does
not reject: the point itself once 2^(1-n) < 1 - confidence (n >= 6 at 95 %), otherwise none (NaN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]

LARGEST_SCORE = 1e150  # squares of differences stay finite,
_SMALLEST_DIFFERENCE = 1e-150  # or do not vanish
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A paired difference a - b over n studies, in the unit of the metric; NaN is "cannot be estimated".

    `low` and `high` bound the paired t interval at `confidence`, within the bounds of the metric; nothing in them is
    adjusted for other pairs or other looks. `p` is the two-sided paired t test's. `standardized` is mean / sd.
    Constant differences: see the module's rule; identical scores have p = 1 and, as a description at any n, the
    interval [0, 0].
    """

    n: int
    incomplete: int
    mean: float
    sd: float
    low: float
    high: float
    confidence: float
    p: float
    standardized: float

    @property
    def identical(self) -> bool:
        """True where at least two pairs exist and every pair is equal (to rounding)."""
        return self.mean == 0 and self.sd == 0

    @property
    def constant(self) -> bool:
        """True where every pair differs by the same amount, not zero: `p` is then the sign-flip test's."""
        return self.mean != 0 and self.sd == 0

    @property
    def interval_name(self) -> str:
        """What a table has to call `low` and `high`."""
        return f"unadjusted {100 * self.confidence:g} % interval"

    def reversed(self) -> Effect:
        """The same comparison as b - a."""
        return replace(
            self,
            mean=0.0 - self.mean,  # not -mean: minus zero would print as -0
            low=0.0 - self.high,
            high=0.0 - self.low,
            standardized=0.0 - self.standardized,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """Means and t intervals along one axis; `n` counts the values that are not missing."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    sd: FloatArray
    n: npt.NDArray[np.int64]
    confidence: float


def paired_effect(
    a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95, bounds: tuple[float, float] | None = None
) -> Effect:
    """The paired difference a - b of scores (n,) aligned by study, with its t interval and test.

    Pairs with a NaN are left out and counted as `incomplete`. With fewer than two pairs there is no interval
    and p is NaN. `bounds` are the lowest and highest score that the metric can take: the interval then stays
    within what a difference can be. ValueError for infinite scores: no mean can hold them; a caller maps them to
    NaN or to a worst value first.

    >>> effect = paired_effect([0.52, 0.55, 0.53], [0.50, 0.52, 0.52])
    >>> round(effect.mean, 3), round(effect.p, 3)
    (0.02, 0.074)
    """
    first, second = _scores("a", a), _scores("b", b)
    check_fraction("confidence", confidence)
    if first.shape != second.shape:
        raise ValueError(f"a and b: {first.size} and {second.size} scores; they must be aligned by study")
    complete = ~(np.isnan(first) | np.isnan(second))
    first, second = first[complete], second[complete]
    n = first.size
    mean, sd = _difference_moments(first, second)
    low, high = t_interval(mean, sd, n, confidence)
    if mean == 0 and sd == 0:
        low = high = 0.0
    if bounds is not None:
        width = bounds[1] - bounds[0]
        low, high = (min(max(bound, -width), width) if bound == bound else bound for bound in (low, high))
    return Effect(
        n=n,
        incomplete=int(complete.size - n),
        mean=mean,
        sd=sd,
        low=low,
        high=high,
        confidence=confidence,
        p=_paired_p(mean, sd, n),
        standardized=mean / sd if sd > 0 else (0.0 if mean == 0 and sd == 0 else math.nan),
    )


def t_interval(mean: float, sd: float, n: int, confidence: float) -> tuple[float, float]:
    """The t interval of a mean of n differences, without spread by the module's rule; NaN: there is none."""
    if n < 2:
        return math.nan, math.nan
    if sd == 0:
        return (mean, mean) if 2.0 ** (1 - n) < 1 - confidence else (math.nan, math.nan)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return mean - half, mean + half


def mean_interval(
    values: npt.ArrayLike, *, axis: int = 0, confidence: float = 0.95, bounds: tuple[float, float] | None = None
) -> MeanInterval:
    """Means over `axis` (the studies) with t intervals, for bands and tables; any number of other axes.

    NaNs are left out. No value: all NaN; one: no interval; equal values: an interval of no width. Where a
    value is infinite, mean and interval are NaN: there is nothing to draw. Intervals stay within `bounds`, the
    lowest and highest value that the metric can take.
    """
    check_fraction("confidence", confidence)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis: {axis} is not an axis of values with shape {array.shape}")
    present = np.isfinite(array) & (np.abs(array) <= LARGEST_SCORE)
    n = np.count_nonzero(present, axis=axis)
    too_large = np.any(~present & ~np.isnan(array), axis=axis)
    filled = np.where(present, array, 0.0)
    mean = np.where((n > 0) & ~too_large, filled.sum(axis=axis) / np.maximum(n, 1), np.nan)
    highest = np.where(present, array, -np.inf).max(axis=axis, initial=-np.inf)
    lowest = np.where(present, array, np.inf).min(axis=axis, initial=np.inf)
    # Equal values have no spread, whatever the rounding of their mean
    mean = np.where((highest == lowest) & ~too_large, highest, mean)
    residuals = np.where(present, filled - np.expand_dims(np.nan_to_num(mean), axis), 0.0)
    variance = np.square(residuals).sum(axis=axis) / np.maximum(n - 1, 1)
    sd = np.where((n > 1) & ~too_large, np.sqrt(variance), np.nan)
    quantile = special.stdtrit(np.maximum(n - 1, 1), (1 + confidence) / 2)
    half = quantile * sd / np.sqrt(np.maximum(n, 1))
    lowest, highest = (-np.inf, np.inf) if bounds is None else bounds
    low, high = np.maximum(mean - half, lowest), np.minimum(mean + half, highest)
    return MeanInterval(mean=mean, low=low, high=high, sd=sd, n=n, confidence=confidence)


def check_fraction(place: str, value: float) -> None:
    """ValueError unless `value` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{place}: {value} must lie between 0 and 1")


def _difference_moments(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Mean and sd of the differences; differences equal to within the rounding of the scores are made equal."""
    differences = first - second
    n = differences.size
    if n == 0:
        return math.nan, math.nan
    rounding = max(4 * _EPS * max(np.abs(first).max(), np.abs(second).max()), _SMALLEST_DIFFERENCE)
    if np.abs(differences).max() <= rounding:
        differences = np.zeros(n)
    elif np.ptp(differences) <= rounding:
        differences = np.full(n, np.median(differences))
    if n == 1 or differences.min() == differences.max():
        return float(differences[0]), math.nan if n == 1 else 0.0
    mean = math.fsum(differences) / n  # fsum: the order of the studies must not change a bit
    return mean, math.sqrt(math.fsum(np.square(differences - mean)) / (n - 1))


def _paired_p(mean: float, sd: float, n: int) -> float:
    if n < 2:
        return math.nan
    if sd == 0:
        return 1.0 if mean == 0 else 2.0 ** (1 - n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / (sd / math.sqrt(n))))


def _vector(place: str, values: npt.ArrayLike) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: must be a list of numbers: {error}") from None
    if array.ndim != 1:
        raise ValueError(f"{place}: shape {array.shape} must have one axis")
    return array


def _scores(place: str, values: npt.ArrayLike) -> FloatArray:
    array = _vector(place, values)
    wrong = np.flatnonzero(np.abs(array) > LARGEST_SCORE)
    if wrong.size:
        index = int(wrong[0])
        raise ValueError(f"{place}[{index}]: {array[index]} must be finite (at most {LARGEST_SCORE:g}) or NaN")
    return array
