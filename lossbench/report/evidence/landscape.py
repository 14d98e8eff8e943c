"""The surface of validation MAP@R over lambda and alpha, from the trials of all studies, centered by study.

A Gaussian process over all searched parameters (Matern 5/2, one length a parameter, noise) carries the scores of the
trials to the whole area. The other parameters stay at the values of the highest trial. It is a picture: how forgiving
lambda and alpha are is measured on a grid (`experiments/sweeps.toml`).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lossbench.report.evidence import pooled
from lossbench.report.evidence.material import VALIDATION, Material
from lossbench.statistics.effects import FloatArray

GRID = 21  # points along each axis
LEAST_TRIALS = 20  # of all studies together
AXES = ("lambda", "alpha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The surface of one recipe.

    Attributes:
        ticks: of lambda and alpha, (2, GRID).
        mean: (GRID, GRID) posterior mean of validation MAP@R, alpha along the first axis.
        trials: how many trials it rests on.
    """

    recipe: str
    ticks: FloatArray
    mean: FloatArray
    trials: int


def landscape(material: Material, task: str, recipe: str) -> Landscape | None:
    """The surface of a recipe; None where it does not search lambda and alpha, or has too few trials."""
    ranges = _ranges(material, recipe)
    columns = [f"param.{name}" for name in ranges]
    trials = pooled.trials(material, task, recipe, columns)
    if not set(AXES) <= set(ranges) or len(trials) < LEAST_TRIALS:
        return None
    points = np.stack([_unit(trials[f"param.{name}"].to_numpy(float), *ranges[name]) for name in ranges], axis=1)
    scores = trials[VALIDATION].to_numpy(dtype=float)
    places = [list(ranges).index(name) for name in AXES]
    steps = np.linspace(0, 1, GRID)
    return Landscape(
        recipe=recipe,
        ticks=np.stack([_value(steps, *ranges[name]) for name in AXES]),
        mean=_posterior(points.tobytes(), scores.tobytes(), len(scores), tuple(places)),
        trials=len(trials),
    )


def note(found: Landscape) -> str:
    """What is drawn, and what the surface rests on."""
    return (
        f"White: trials of all studies, each less its study's mean; orange: what each study chose. Shade: a Gaussian "
        f"process through {found.trials} trials, other parameters as in the highest. Exploratory."
    )


@lru_cache(maxsize=64)
def _posterior(points_bytes: bytes, scores_bytes: bytes, count: int, places: tuple[int, ...]) -> FloatArray:
    """Posterior mean over the grid (GRID, GRID)."""
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
    mean: FloatArray = process.predict(grid) * scale + clipped.mean()
    return mean.reshape(GRID, GRID)


def _ranges(material: Material, recipe: str) -> dict[str, tuple[float, float, bool]]:
    """Searched parameters with low, high and whether the scale is logarithmic."""
    return {
        name: (float(found["low"]), float(found["high"]), bool(found["log"]))
        for name, found in material.searched(recipe).items()
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
