"""The surface of validation MAP@R over lambda and alpha, from the trials of a study, and how forgiving it is.

Trials crowd where the sampler found high scores, so a share of trials says nothing of the range. A Gaussian process
over all searched parameters (Matern 5/2, one length a parameter, noise) carries the scores to the whole area; its
posterior says how far eight or twenty trials can be trusted. The other parameters stay at their chosen values.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lossbench.report.evidence.material import VALIDATION, Material
from lossbench.report.writing import formats
from lossbench.statistics.effects import FloatArray

GRID = 21  # points along each axis
DRAWS = 500
JITTER = 1e-8  # variance added to every point, so that rounding leaves the covariance definite
LEAST_TRIALS = 6
AXES = ("lambda", "alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The surface of one recipe.

    Attributes:
        ticks: of lambda and alpha, (2, GRID).
        mean: (GRID, GRID) posterior mean of validation MAP@R, alpha along the first axis.
        tolerance: one standard error of the final runs' mean on validation.
        share, low, high: of the area within `tolerance` of the surface's highest point: posterior mean, 95 % interval.
        trials: how many trials it rests on.
    """

    recipe: str
    ticks: FloatArray
    mean: FloatArray
    tolerance: float
    share: float
    low: float
    high: float
    trials: int


def landscape(material: Material, task: str, recipe: str) -> Landscape | None:
    """The surface of a recipe; None where it does not search lambda and alpha, or has too few trials."""
    ranges = _ranges(material, recipe)
    trials = material.rows(task, recipe, "trial").sort_values("trial")
    columns = [f"param.{name}" for name in ranges]
    if not set(AXES) <= set(ranges) or not {*columns, VALIDATION} <= set(trials.columns):
        return None
    trials = trials.dropna(subset=[*columns, VALIDATION])
    finals = np.array(list(material.values(task, recipe, VALIDATION).values()), dtype=float)
    finals = finals[np.isfinite(finals)]
    if len(trials) < LEAST_TRIALS or finals.size < 2:
        return None
    points = np.stack([_unit(trials[f"param.{name}"].to_numpy(float), *ranges[name]) for name in ranges], axis=1)
    scores = trials[VALIDATION].to_numpy(dtype=float)
    tolerance = float(finals.std(ddof=1) / math.sqrt(finals.size))
    places = [list(ranges).index(name) for name in AXES]
    mean, shares = _posterior(points.tobytes(), scores.tobytes(), len(scores), tuple(places), tolerance)
    steps = np.linspace(0, 1, GRID)
    return Landscape(
        recipe=recipe,
        ticks=np.stack([_value(steps, *ranges[name]) for name in AXES]),
        mean=mean,
        tolerance=tolerance,
        share=float(shares.mean()),
        low=float(np.quantile(shares, 0.025)),
        high=float(np.quantile(shares, 0.975)),
        trials=len(trials),
    )


def note(found: Landscape) -> str:
    """How forgiving the recipe is, and what the surface rests on."""
    return (
        f"Points: trials; ring: chosen. Shade: a Gaussian process through {found.trials} trials, other parameters as "
        f"chosen. {formats.share(found.share)} [{formats.share(found.low)}, {formats.share(found.high)}] of the "
        f"searched area lies within one standard error of the final runs ({formats.score(found.tolerance, 4)}) of its "
        "highest point. Exploratory."
    )


@lru_cache(maxsize=64)
def _posterior(
    points_bytes: bytes, scores_bytes: bytes, count: int, places: tuple[int, int], tolerance: float
) -> tuple[FloatArray, FloatArray]:
    """Mean over the grid (GRID, GRID) and the forgiving share of each posterior draw (DRAWS,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    points = np.frombuffer(points_bytes).reshape(count, -1)
    scores = np.frombuffer(scores_bytes)
    # A collapsed trial lies far below: what happens down there must not bend the surface near its top.
    middle = float(np.median(scores))
    floor = middle - 3 * max(float(scores.max()) - middle, 1e-6)
    clipped = np.maximum(scores, floor)
    scale = float(clipped.std()) or 1.0
    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(
        np.full(points.shape[1], 0.5), (0.1, 10.0), nu=2.5
    ) + WhiteKernel(0.05, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(points, (clipped - clipped.mean()) / scale)
    grid = np.tile(points[int(scores.argmax())], (GRID * GRID, 1))
    across, up = np.meshgrid(np.linspace(0, 1, GRID), np.linspace(0, 1, GRID))
    grid[:, places[0]], grid[:, places[1]] = across.ravel(), up.ravel()
    process.kernel_ = process.kernel_.k1  # the surface itself, without the noise of a single trial
    mean, covariance = process.predict(grid, return_cov=True)
    covariance += JITTER * np.eye(len(mean))
    draws = np.random.default_rng(0).multivariate_normal(
        mean, covariance, size=DRAWS, method="cholesky", check_valid="ignore"
    )
    shares = (draws >= draws.max(axis=1, keepdims=True) - tolerance / scale).mean(axis=1)
    return (mean * scale + clipped.mean()).reshape(GRID, GRID), shares


def _ranges(material: Material, recipe: str) -> dict[str, tuple[float, float, bool]]:
    """Searched parameters with low, high and whether the scale is logarithmic."""
    searched: Mapping[str, Any] = next(
        (entry["searched"] for entry in material.plan["recipes"] if entry["name"] == recipe), {}
    )
    return {
        name: (float(found["low"]), float(found["high"]), bool(found["log"]))
        for name, found in searched.items()
        if "low" in found and found["low"] < found["high"]
    }


def _unit(values: FloatArray, low: float, high: float, log: bool) -> FloatArray:
    if log:
        values, low, high = np.log(values), math.log(low), math.log(high)
    return (values - low) / (high - low)


def _value(unit: FloatArray, low: float, high: float, log: bool) -> FloatArray:
    if log:
        return np.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    return low + unit * (high - low)
