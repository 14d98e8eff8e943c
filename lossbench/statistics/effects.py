"""One pair of recipes: its effect over seeds, the tests of it, and what these seeds could have shown.

Seeds are the pairs: recipes that share a seed share initial weights and, under the same sampler, batches.

Without spread the t statistic says nothing. Where all differences are equal (to rounding), the exact
sign-flip test, whose p is then 2^(1-n), takes its place, and the interval is the set of values that test does
not reject: the point itself once 2^(1-n) < 1 - confidence (n >= 6 at 95 %), otherwise none (NaN).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

FloatArray = npt.NDArray[np.float64]

SIGN_FLIP_MIN_SEEDS = 8  # definitions: the exact test stands beside the t test from eight seeds on
EXACT_FLIPS_MAX_SEEDS = 20  # half a million sums; above that a seeded sample of flips
SAMPLED_FLIPS = 99_999
LARGEST_SCORE = 1e150  # squares of differences stay finite,
_SMALLEST_DIFFERENCE = 1e-150  # or do not vanish
SEEDS_LIMIT = 1_000_000
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A paired difference a - b over seeds, in the unit of the metric; NaN is "cannot be estimated".

    `low` and `high` bound the paired t interval, not adjusted for other pairs. `p` is the two-sided paired t
    test's, `p_sign_flip` the sign-flip test's (None below eight pairs). `standardized` is mean / sd.
    `min_detectable` is the smallest difference that this many seeds with this sd find with power 0.8 at level
    1 - confidence; the sd is itself an estimate. Constant differences: see the module's rule; identical
    scores have p = 1 and, as a description at any n, the interval [0, 0].
    """

    n: int
    incomplete: int
    mean: float
    sd: float
    low: float
    high: float
    confidence: float
    p: float
    p_sign_flip: float | None
    standardized: float
    min_detectable: float

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


def paired_effect(a: npt.ArrayLike, b: npt.ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Effect:
    """The paired difference a - b of scores (n,) aligned by seed, with its t interval and tests.

    Pairs with a NaN are left out and counted as `incomplete`. With fewer than two pairs there is no interval
    and p is NaN. `seed` draws the flips of the sign-flip test above twenty pairs and nothing else. ValueError
    for infinite scores: no mean can hold them; a caller maps them to NaN or to a worst value first.

    >>> effect = paired_effect([0.52, 0.55, 0.53], [0.50, 0.52, 0.52])
    >>> round(effect.mean, 3), round(effect.p, 3), effect.p_sign_flip
    (0.02, 0.074, None)
    """
    first, second = _scores("a", a), _scores("b", b)
    check_fraction("confidence", confidence)
    if first.shape != second.shape:
        raise ValueError(f"a and b: {first.size} and {second.size} scores; they must be aligned by seed")
    complete = ~(np.isnan(first) | np.isnan(second))
    first, second = first[complete], second[complete]
    n = first.size
    mean, sd, differences = _difference_moments(first, second)
    low, high = t_interval(mean, sd, n, confidence)
    if mean == 0 and sd == 0:
        low = high = 0.0
    return Effect(
        n=n,
        incomplete=int(complete.size - n),
        mean=mean,
        sd=sd,
        low=low,
        high=high,
        confidence=confidence,
        p=_paired_p(mean, sd, n),
        p_sign_flip=_flip_p(differences, seed) if n >= SIGN_FLIP_MIN_SEEDS else None,
        standardized=mean / sd if sd > 0 else (0.0 if mean == 0 and sd == 0 else math.nan),
        min_detectable=minimum_detectable_effect(n, sd, alpha=1 - confidence),
    )


def t_interval(mean: float, sd: float, n: int, confidence: float) -> tuple[float, float]:
    """The t interval of a mean of n differences, without spread by the module's rule; NaN: there is none."""
    if n < 2:
        return math.nan, math.nan
    if sd == 0:
        return (mean, mean) if 2.0 ** (1 - n) < 1 - confidence else (math.nan, math.nan)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return mean - half, mean + half


def sign_flip_p(differences: npt.ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test of zero mean: the share of all 2^n flips with as large an |sum|.

    Exact up to twenty differences, valid where their distribution is symmetric around zero under the
    hypothesis (Fisher 1935). Above twenty, a seeded sample of 99,999 flips with the observed one counted in,
    (1 + hits) / (1 + flips), which keeps the level (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585).
    NaN differences are left out; without any the p is NaN.
    """
    values = _scores("differences", differences)
    values = values[~np.isnan(values)]
    return _flip_p(values, seed) if values.size else math.nan


def mean_interval(values: npt.ArrayLike, *, axis: int = 0, confidence: float = 0.95) -> MeanInterval:
    """Means over `axis` (the seeds) with t intervals, for bands and tables; any number of other axes.

    NaNs are left out. No value: all NaN; one: no interval; equal values: an interval of no width. Where a
    value is infinite, mean and interval are NaN: there is nothing to draw.
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
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, sd=sd, n=n, confidence=confidence)


def paired_power(effect: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t test over n seeds finds `effect`; NaN for n < 2."""
    check_fraction("alpha", alpha)
    if not math.isfinite(effect):
        raise ValueError(f"effect: {effect} must be finite")
    if not 0 < sd < math.inf:
        raise ValueError(f"sd: {sd} must be positive and finite")
    if n < 2:
        return math.nan
    return _power(n, min(abs(effect) / sd * math.sqrt(n), 1e100), alpha)


def minimum_detectable_effect(n: int, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest |difference| that a two-sided paired t test over n seeds finds with probability `power`.

    In the unit of `sd`, the standard deviation of the differences. NaN for n < 2 and for an sd of zero or
    NaN: without spread nothing is known of it.
    """
    check_fraction("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"power: {power} must lie between alpha, {alpha}, and 1")
    if n < 2 or not sd > 0:
        return math.nan
    return _detectable_noncentrality(n, alpha, power) / math.sqrt(n) * sd


def seeds_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """The smallest number of seeds with which a paired t test finds `effect` with probability `power`.

    None where no number up to a million does: always for an effect of zero. Planned from an observed effect,
    the number is optimistic wherever that effect was selected for being large.

    >>> [seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8)]
    [199, 34, 15]
    """
    if not alpha < power < 1:
        raise ValueError(f"power: {power} must lie between alpha, {alpha}, and 1")
    if paired_power(effect, sd, SEEDS_LIMIT, alpha=alpha) < power:
        return None
    low, high = 1, SEEDS_LIMIT  # `low` seeds are too few, `high` enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(effect, sd, middle, alpha=alpha) >= power else (middle, high)
    return high


def check_fraction(place: str, value: float) -> None:
    """ValueError unless `value` lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{place}: {value} must lie between 0 and 1")


def _power(n: int, noncentrality: float, alpha: float) -> float:
    critical = -special.stdtrit(n - 1, alpha / 2)
    upper = 1.0 - special.nctdtr(n - 1, noncentrality, critical)
    if math.isnan(upper):  # Boost's gaps, at noncentralities where the normal part no longer matters
        upper = special.chdtr(n - 1, (n - 1) * (noncentrality / critical) ** 2)
    lower = special.nctdtr(n - 1, noncentrality, -critical)
    if math.isnan(lower):  # the same gaps, where this tail is below 1e-15
        lower = 0.0
    return float(min(max(upper + lower, 0.0), 1.0))


@lru_cache(maxsize=1024)
def _detectable_noncentrality(n: int, alpha: float, power: float) -> float:
    enough = 1.0
    while _power(n, enough, alpha) < power:
        enough *= 2
    return float(optimize.brentq(lambda value: _power(n, value, alpha) - power, 0.0, enough, xtol=1e-10))


def _difference_moments(first: FloatArray, second: FloatArray) -> tuple[float, float, FloatArray]:
    """Mean, sd and the differences; differences equal to within the rounding of the scores are made equal."""
    differences = first - second
    n = differences.size
    if n == 0:
        return math.nan, math.nan, differences
    rounding = max(4 * _EPS * max(np.abs(first).max(), np.abs(second).max()), _SMALLEST_DIFFERENCE)
    if np.abs(differences).max() <= rounding:
        differences = np.zeros(n)
    elif np.ptp(differences) <= rounding:
        differences = np.full(n, np.median(differences))
    if n == 1 or differences.min() == differences.max():
        return float(differences[0]), math.nan if n == 1 else 0.0, differences
    mean = math.fsum(differences) / n  # fsum: the order of the seeds must not change a bit
    return mean, math.sqrt(math.fsum(np.square(differences - mean)) / (n - 1)), differences


def _flip_p(values: FloatArray, seed: int) -> float:
    magnitudes = np.sort(np.abs(values))  # the order must not change the rounding of the sums
    threshold = abs(math.fsum(values)) - 4 * values.size * _EPS * math.fsum(magnitudes)
    if values.size <= EXACT_FLIPS_MAX_SEEDS:
        sums = magnitudes[:1]  # flipping all signs keeps |sum|, so the first sign can stay
        for magnitude in magnitudes[1:]:
            sums = np.concatenate([sums + magnitude, sums - magnitude])
        return float(np.mean(np.abs(sums) >= threshold))
    sampled = (signs.astype(np.float64) @ magnitudes for signs in _flips(values.size, seed))
    hits = sum(int(np.count_nonzero(np.abs(each) >= threshold)) for each in sampled)
    return (1 + hits) / (1 + SAMPLED_FLIPS)


@lru_cache(maxsize=1)  # a report tests hundreds of pairs of as many seeds; drawing is nine tenths of a test
def _flips(n: int, seed: int) -> list[npt.NDArray[np.int8]]:
    """The sampled signs in blocks (at most 1,000, n), which stay in the processor's cache as float64 too."""
    generator = np.random.default_rng(seed)
    sizes = [min(10_000, SAMPLED_FLIPS - start) for start in range(0, SAMPLED_FLIPS, 10_000)]
    drawn = (generator.choice((-1, 1), size=(size, n)).astype(np.int8) for size in sizes)
    return [block for signs in drawn for block in np.array_split(signs, 10)]


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
