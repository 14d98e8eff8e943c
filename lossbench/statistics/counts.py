"""A share of so many trials, with its interval."""

from __future__ import annotations

from scipy import special

from lossbench.statistics.effects import check_fraction


def binomial_interval(hits: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934): covers it at least as often as it says.

    >>> low, high = binomial_interval(2, 20)
    >>> round(low, 4), round(high, 4)
    (0.0123, 0.317)
    """
    check_fraction("confidence", confidence)
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"hits, trials: {hits}, {trials}; at least one trial, and no more hits than trials")
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high
