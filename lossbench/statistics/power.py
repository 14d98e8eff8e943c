"""What a number of studies finds: power of the paired t test, and how many studies a question takes.

Planned at the looks of `looks.schedule` and at the level that each look may spend. All of it rests on a standard
deviation that a few studies estimate badly: numbers of studies come as a range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special

from lossbench.statistics.effects import check_fraction
from lossbench.statistics.looks import schedule

STUDIES_LIMIT = 1_000_000
POWER = 0.8
SPREAD_CONFIDENCE = 0.8  # of the interval of the sd behind a range of studies


@dataclass(frozen=True, slots=True, kw_only=True)
class StudiesNeeded:
    """From `least` to `most` studies, the ends by the 80 % interval of the sd; None: more than a million."""

    least: int | None
    most: int | None


def paired_power(effect: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t test over n studies finds `effect`; NaN for n < 2."""
    check_fraction("alpha", alpha)
    if not math.isfinite(effect):
        raise ValueError(f"effect: {effect} must be finite")
    if not 0 < sd < math.inf:
        raise ValueError(f"sd: {sd} must be positive and finite")
    if n < 2:
        return math.nan
    return _power(n, min(abs(effect) / sd * math.sqrt(n), 1e100), alpha)


def smallest_found(n: int, sd: float, *, alpha: float = 0.05, power: float = POWER) -> float:
    """The smallest |difference| that a two-sided paired t test over n studies finds with probability `power`.

    In the unit of `sd`, the standard deviation of the differences. NaN for n < 2 and for an sd of zero or
    NaN: without spread nothing is known of it.
    """
    _check_power(alpha, power)
    if n < 2 or not sd > 0:
        return math.nan
    return _noncentrality_found(n, alpha, power) / math.sqrt(n) * sd


def studies_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = POWER) -> int | None:
    """The smallest number of studies with which one paired t test finds `effect` with probability `power`.

    None where no number up to a million does: always for an effect of zero. Planned from an observed effect,
    the number is optimistic wherever that effect was selected for being large.

    >>> [studies_needed(d, 1.0) for d in (0.2, 0.5, 0.8)]
    [199, 34, 15]
    """
    _check_power(alpha, power)
    if paired_power(effect, sd, STUDIES_LIMIT, alpha=alpha) < power:
        return None
    low, high = 1, STUDIES_LIMIT  # `low` studies are too few, `high` enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(effect, sd, middle, alpha=alpha) >= power else (middle, high)
    return high


def equivalence_power(region: float, sd: float, n: int, *, alpha: float = 0.05) -> float:
    """Probability that two one-sided t tests over n studies show |difference| < `region` where it is zero.

    The mean and the sd of normal differences are independent, so it is an integral over the estimated sd s of
    P(|mean| < region - t s / sqrt(n)). NaN for n < 2.
    """
    check_fraction("alpha", alpha)
    if not (0 < sd < math.inf and 0 < region < math.inf):
        raise ValueError(f"region, sd: {region}, {sd} must be positive and finite")
    if n < 2:
        return math.nan
    quantile = -float(special.stdtrit(n - 1, alpha))
    width = region * math.sqrt(n) / sd  # in standard errors
    nodes, weights = _quadrature()
    # Over u = P(s < s'), from 0 to where the interval is wider than the region
    most = float(special.chdtr(n - 1, (n - 1) * (width / quantile) ** 2))
    levels = most * (nodes + 1) / 2
    spread = np.sqrt(special.chdtri(n - 1, 1 - levels) / (n - 1))
    inside = 2 * special.ndtr(np.maximum(width - quantile * spread, 0.0)) - 1
    return float(most / 2 * (weights @ inside))


@lru_cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre on [-1, 1]: twenty times as dear as an integral by them."""
    return np.polynomial.legendre.leggauss(400)


def studies_for_difference(
    effect: float, sd: float, n: int, *, tests: float, alpha: float = 0.05, power: float = POWER
) -> StudiesNeeded:
    """At which look a difference as large as the observed `effect` is found, at the strictest level of `tests` tests.

    `sd` was estimated from n studies; what earlier looks could have found is left out.
    """
    return _looks_needed(
        lambda spread, m, level: paired_power(effect, spread, m, alpha=level / tests), sd, n, alpha, power
    )


def studies_for_equivalence(
    region: float, sd: float, n: int, *, alpha: float = 0.05, power: float = POWER
) -> StudiesNeeded:
    """At which look two equal recipes, with `sd` estimated from n studies, are shown to be equivalent."""
    return _looks_needed(
        lambda spread, m, level: equivalence_power(region, spread, m, alpha=level), sd, n, alpha, power
    )


def spread_interval(sd: float, n: int, confidence: float = SPREAD_CONFIDENCE) -> tuple[float, float]:
    """The chi-square interval of a standard deviation that was estimated from n normal values; NaN below two.

    >>> low, high = spread_interval(1.0, 7)
    >>> round(low, 2), round(high, 2)
    (0.75, 1.65)
    """
    check_fraction("confidence", confidence)
    if n < 2:
        return math.nan, math.nan
    high, low = (float(special.chdtri(n - 1, tail)) for tail in ((1 + confidence) / 2, (1 - confidence) / 2))
    return sd * math.sqrt((n - 1) / low), sd * math.sqrt((n - 1) / high)


def _looks_needed(
    chance: Callable[[float, int, float], float], sd: float, n: int, alpha: float, power: float
) -> StudiesNeeded:
    """The first look at which `chance(sd, studies, level)` reaches `power`, at either end of the interval of the sd."""
    _check_power(alpha, power)
    least, most = (_first_look(chance, spread, alpha, power) for spread in spread_interval(sd, n))
    return StudiesNeeded(least=least, most=most)


def _first_look(chance: Callable[[float, int, float], float], sd: float, alpha: float, power: float) -> int | None:
    if not sd > 0:
        return None
    for look in schedule():
        if look.studies > STUDIES_LIMIT:
            return None
        if chance(sd, look.studies, alpha * look.share) >= power:
            return look.studies
    return None


def _check_power(alpha: float, power: float) -> None:
    check_fraction("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"power: {power} must lie between alpha, {alpha}, and 1")


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
def _noncentrality_found(n: int, alpha: float, power: float) -> float:
    enough = 1.0
    while _power(n, enough, alpha) < power:
        enough *= 2
    return float(optimize.brentq(lambda value: _power(n, value, alpha) - power, 0.0, enough, xtol=1e-10))
