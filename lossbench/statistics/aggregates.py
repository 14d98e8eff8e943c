"""One figure for several data sets, and the best of k trials.

Scores over data sets come as an array (tasks, seeds) for one recipe, or (tasks, recipes) where ranks are
taken; NaN marks a missing run. Seeds are resampled within tasks, never tasks: an interval speaks of these
data sets, not of others. Means over tasks assume one scale (MAP@R is a share everywhere); ranks do not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from lossbench.statistics.effects import LARGEST_SCORE, FloatArray, check_fraction

BOOTSTRAP_RESAMPLES = 5_000
RANKED_TASKS = 10  # data sets from which on average ranks may be told apart (Demsar 2006: ten, and five recipes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A figure over tasks with its stratified BCa bootstrap interval (NaN: none).

    There is no interval where a task has fewer than two runs or where every resample gives the same figure.
    On normal scores the 95 % interval of the interquartile mean covers about 93 % with eight seeds a task and
    90 % with five (simulated): small samples understate their spread.
    `runs` counts the runs, or pairs of runs, that entered; `incomplete` those that were missing.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    tasks: int
    runs: int
    incomplete: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Friedman:
    """Friedman's test that all recipes rank alike; `tasks` counts the complete ones."""

    statistic: float
    p: float
    tasks: int
    recipes: int


def average_ranks(scores: npt.ArrayLike, *, higher_is_better: bool = True) -> FloatArray:
    """Average rank of each recipe (recipes,) from scores (tasks, recipes); 1 is best, ties share their ranks.

    Tasks with a NaN are left out, since a rank among fewer recipes is another figure; NaN without any task.
    Infinite scores rank as they are.

    >>> average_ranks([[0.5, 0.4, 0.4], [0.9, 0.8, 0.7]]).tolist()
    [1.0, 2.25, 2.75]
    """
    table = _complete_tasks(scores)
    if not table.shape[0]:
        return np.full(table.shape[1], math.nan)
    ranks: FloatArray = stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)
    return ranks


def friedman(scores: npt.ArrayLike) -> Friedman:
    """Friedman's chi-square test on scores (tasks, recipes), corrected for ties (Demsar 2006, JMLR 7).

    At least three recipes. The chi-square approximation wants about ten tasks; with fewer it is rough. NaN
    with fewer than two complete tasks. All recipes tied on every task: statistic 0, p 1.
    """
    table = _complete_tasks(scores)
    tasks, recipes = table.shape
    if recipes < 3:
        raise ValueError(f"scores: {recipes} recipes; Friedman's test needs at least 3")
    statistic, p = math.nan, math.nan
    if tasks >= 2 and np.all(table == table[:, :1]):
        statistic, p = 0.0, 1.0
    elif tasks >= 2:
        # Ranks instead of scores, so that infinite scores rank as they are
        result = stats.friedmanchisquare(*stats.rankdata(table, axis=1).T)
        statistic, p = float(result.statistic), float(result.pvalue)
    return Friedman(statistic=statistic, p=p, tasks=tasks, recipes=recipes)


def critical_difference(recipes: int, tasks: int, *, alpha: float = 0.05) -> float:
    """The difference of average ranks beyond which two of all recipes differ (Nemenyi; Demsar 2006).

    q sqrt(recipes (recipes + 1) / (6 tasks)), q the studentized range's quantile over sqrt(2). Below ten tasks the
    approximation is too rough for letters or bars (`ranks_tell`).

    >>> round(critical_difference(4, 14), 2)
    1.25
    """
    check_fraction("alpha", alpha)
    if recipes < 2 or tasks < 1:
        raise ValueError(f"recipes, tasks: {recipes}, {tasks}; at least 2 recipes and 1 task are needed")
    return _nemenyi_quantile(recipes, alpha) * math.sqrt(recipes * (recipes + 1) / (6 * tasks))


def ranks_tell(tasks: int) -> bool:
    """Whether so many data sets allow critical-difference letters and bars: from ten on."""
    return tasks >= RANKED_TASKS


def rank_groups(ranks: npt.ArrayLike, difference: float) -> tuple[tuple[int, ...], ...]:
    """The bars of a critical-difference diagram: the largest sets of recipes within `difference`.

    Recipes are indices into `ranks`, best first; those that differ from all others have no bar.

    >>> rank_groups([2.5, 1.0, 1.8, 4.0], 1.0)
    ((1, 2), (2, 0))
    """
    values = np.asarray(ranks, dtype=np.float64)
    if values.ndim != 1 or np.isnan(values).any() or not difference >= 0:
        raise ValueError(f"ranks, difference: {values}, {difference}; one axis without NaN, and 0 or more")
    order = np.argsort(values, kind="stable")
    groups: list[tuple[int, ...]] = []
    end = 0
    for start in range(order.size):
        last = int(np.searchsorted(values[order], values[order[start]] + difference * (1 + 1e-12), "right"))
        if last > end and last - start > 1:
            groups.append(tuple(int(index) for index in order[start:last]))
        end = max(end, last)
    return tuple(groups)


def interquartile_mean(
    scores: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = 0
) -> Aggregate:
    """Mean of the middle half of all runs in scores (tasks, seeds) (Agarwal et al. 2021, arXiv:2108.13264).

    As there, all runs of all tasks are pooled and floor(runs / 4) are cut at either end.
    """
    rows = _runs("scores", scores)
    present = [row[~np.isnan(row)] for row in rows]

    def statistic(*samples: FloatArray, axis: int = -1) -> FloatArray:
        pooled = np.sort(np.concatenate(samples, axis=axis), axis=axis)
        cut = pooled.shape[axis] // 4
        middle: FloatArray = np.take(pooled, range(cut, pooled.shape[axis] - cut), axis=axis).mean(axis=axis)
        return middle

    return _aggregate(present, statistic, rows.size, confidence, resamples, seed)


def probability_of_improvement(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    higher_is_better: bool = True,
    confidence: float = 0.95,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> Aggregate:
    """Chance that a run of `a` beats a run of `b` on a random task, ties counting half (arXiv:2108.13264).

    Both are (tasks, seeds), aligned. The mean over tasks of the Mann-Whitney U over its maximum: each run of
    `a` meets each of `b`. Where we leave the paper: a seed's two runs are resampled together, because they
    share their initial weights and batches. Seeds missing in either are left out of both.
    """
    first, second = _runs("a", a), _runs("b", b)
    if first.shape != second.shape:
        raise ValueError(f"a and b: shapes {first.shape} and {second.shape} must be equal")
    complete = ~(np.isnan(first) | np.isnan(second))
    sign = 1.0 if higher_is_better else -1.0
    # wins[i, j]: how run i of a fares against run j of b, a win counting 1, a tie 0.5
    wins = [
        (1 + sign * np.sign(one[mask][:, None] - other[mask][None, :])) / 2
        for one, other, mask in zip(first, second, complete, strict=True)
    ]

    def statistic(*samples: FloatArray, axis: int = -1) -> FloatArray:
        indices = [np.moveaxis(sample, axis, -1).astype(np.intp) for sample in samples]
        shares = [
            table[i[..., :, None], i[..., None, :]].mean(axis=(-2, -1)) for table, i in zip(kept, indices, strict=True)
        ]
        mean: FloatArray = np.mean(shares, axis=0)
        return mean

    kept = [table for table in wins if table.size]
    positions = [np.arange(table.shape[0], dtype=np.float64) for table in wins]
    return _aggregate(positions, statistic, first.size, confidence, resamples, seed)


def performance_profile(
    scores: npt.ArrayLike, thresholds: npt.ArrayLike, *, higher_is_better: bool = True
) -> FloatArray:
    """Share of runs better than each threshold (thresholds,), tasks weighing alike (arXiv:2108.13264).

    `scores` is (tasks, seeds); missing runs and tasks without a run are left out.
    """
    rows = _runs("scores", scores)
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.ndim != 1 or np.isnan(limits).any():
        raise ValueError(f"thresholds: {limits} must have one axis and no NaN")
    present = [row[~np.isnan(row)] for row in rows]
    shares = [
        np.mean(row > limits[:, None] if higher_is_better else row < limits[:, None], axis=1)
        for row in present
        if row.size
    ]
    return np.mean(shares, axis=0) if shares else np.full(limits.shape, math.nan)


def expected_best(
    values: npt.ArrayLike, *, higher_is_better: bool = True, failed_value: float | None = None
) -> FloatArray:
    """Expected best of k trials, k = 1..n, drawn without replacement from the n trials of a study (n,).

    Dodge et al. 2019 (arXiv:1909.03004) draw with replacement, which is biased towards worse values (Tang et
    al. 2020, arXiv:2004.13705). We average over all subsets of k trials, which is unbiased for trials drawn
    independently, at the price of more variance (arXiv:2110.00613): it starts at the mean and ends at the
    best. A sampler that learns makes its trials dependent; the curve then describes the trials tried, in
    random order.

    Trials that are not finite (diverged, failed) count as `failed_value`, by default the worst finite value
    of the study, which flatters a study where most trials failed. NaN where no trial is finite and no
    `failed_value` is given.

    >>> expected_best([0.25, 0.5, 0.75]).round(3).tolist()
    [0.5, 0.667, 0.75]
    """
    trials = np.asarray(values, dtype=np.float64)
    if trials.ndim != 1:
        raise ValueError(f"values: shape {trials.shape} must have one axis")
    if failed_value is not None and not abs(failed_value) <= LARGEST_SCORE:
        raise ValueError(f"failed_value: {failed_value} must be finite, or None")
    sign = 1.0 if higher_is_better else -1.0
    finite = np.abs(trials) <= LARGEST_SCORE
    if failed_value is None and not finite.any():
        return np.full(trials.shape, math.nan)
    failed = sign * failed_value if failed_value is not None else float((sign * trials[finite]).min())
    best_first = np.sort(np.where(finite, sign * np.where(finite, trials, 0.0), failed))[::-1]
    n = trials.size
    k = np.arange(1, n + 1, dtype=np.float64)[:, None]
    # The j-th best of n is the best of k with probability C(n - j, k - 1) / C(n, k), by recursion over j
    steps = np.maximum(n - np.arange(1, n) - k + 1, 0.0) / (n - np.arange(1, n))
    weights = np.concatenate([k / n, k / n * np.cumprod(steps, axis=1)], axis=1)
    # As a distance from the best, so that the curve ends at it exactly
    curve = best_first[0] - weights @ (best_first[0] - best_first)
    return sign * np.maximum.accumulate(curve)


def trials_to_reach(curve: npt.ArrayLike, threshold: float, *, higher_is_better: bool = True) -> int | None:
    """The smallest number of trials, from 1, at which a curve over trials is at least as good as `threshold`.

    None where it never is; NaNs in the curve do not reach anything.

    >>> trials_to_reach([0.4, 0.5, 0.55], 0.5)
    2
    """
    if math.isnan(threshold):
        raise ValueError(f"threshold: {threshold} must be a number")
    points = np.asarray(curve, dtype=np.float64)
    if points.ndim != 1:
        raise ValueError(f"curve: shape {points.shape} must have one axis")
    reached = np.flatnonzero(points >= threshold if higher_is_better else points <= threshold)
    return int(reached[0]) + 1 if reached.size else None


@lru_cache(maxsize=256)
def _nemenyi_quantile(recipes: int, alpha: float) -> float:
    return float(stats.studentized_range.ppf(1 - alpha, recipes, math.inf)) / math.sqrt(2)


def _aggregate(
    rows: Sequence[FloatArray],
    statistic: Callable[..., FloatArray],
    planned: int,
    confidence: float,
    resamples: int,
    seed: int,
) -> Aggregate:
    """The statistic of all rows that have runs, with its interval; each row is resampled by itself."""
    check_fraction("confidence", confidence)
    if resamples < 100:
        raise ValueError(f"resamples: {resamples}; at least 100 are needed")
    samples = [row for row in rows if row.size]
    runs = sum(row.size for row in samples)
    low = high = estimate = math.nan
    if samples:
        estimate = float(statistic(*samples))
    if samples and min(row.size for row in samples) >= 2:
        low, high = _bca_interval(samples, statistic, confidence, resamples, seed)
    return Aggregate(
        estimate=estimate,
        low=low,
        high=high,
        confidence=confidence,
        tasks=len(samples),
        runs=runs,
        incomplete=planned - runs,
    )


def _bca_interval(
    samples: Sequence[FloatArray],
    statistic: Callable[..., FloatArray],
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Without spread SciPy warns and returns NaN, which is our answer too
        warnings.simplefilter("ignore", category=stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            tuple(samples),
            statistic,
            vectorized=True,
            method="BCa",
            confidence_level=confidence,
            n_resamples=resamples,
            batch=1_000,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def _complete_tasks(scores: npt.ArrayLike) -> FloatArray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 1:
        raise ValueError(f"scores: shape {table.shape} must be (tasks, recipes)")
    complete: FloatArray = table[~np.isnan(table).any(axis=1)]
    return complete


def _runs(place: str, scores: npt.ArrayLike) -> FloatArray:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"{place}: shape {table.shape} must be (tasks, seeds)")
    too_large = np.abs(table) > LARGEST_SCORE
    if too_large.any():
        task, run = np.argwhere(too_large)[0]
        raise ValueError(f"{place}[{task}, {run}]: {table[task, run]} must be finite, or NaN where it is missing")
    return table
