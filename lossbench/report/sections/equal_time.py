"""Equal time beside equal images: what validation had reached within the same seconds of training.

Derived from the validation curves and the training seconds recorded with them; test has no part in it. The
seconds are wall times of runs that may have shared the machine, so they support no claim.
"""

from __future__ import annotations

import numpy as np

from lossbench.report.evidence.comparisons import Evidence, bounds
from lossbench.report.evidence.material import VALIDATION, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.effects import MeanInterval, mean_interval

POINTS = 60


def reached(material: Material, task: str, recipe: str, seconds: np.ndarray) -> np.ndarray:
    """Highest validation MAP@R of each study within each of the given training times, (studies, times).

    Epoch 0, the untrained network, is there at time 0; NaN for a study without curves.
    """
    scores, times = material.curves(task, recipe, "val_map_at_r"), material.curves(task, recipe, "wall_s")
    if not scores.size or scores.shape != times.shape:
        return np.empty((0, len(seconds)))
    so_far = np.fmax.accumulate(scores, axis=1)
    found = np.full((len(scores), len(seconds)), np.nan)
    for run, (clock, score) in enumerate(zip(times, so_far, strict=True)):
        known = np.isfinite(clock)
        if known.any():
            found[run] = score[known][np.searchsorted(clock[known], seconds, side="right") - 1]
    return found


def total_seconds(material: Material, task: str, recipe: str) -> float:
    """Mean seconds of training of a whole final run."""
    times = material.curves(task, recipe, "wall_s")
    ends = np.nanmax(times, axis=1) if times.size and np.isfinite(times).any(axis=1).all() else np.empty(0)
    return float(ends.mean()) if ends.size else float("nan")


def equal_time(material: Material, task: str) -> float:
    """The time that is given to everyone: what the quickest recipe took for all its epochs."""
    totals = [total_seconds(material, task, recipe) for recipe in material.recipes]
    finite = [total for total in totals if np.isfinite(total) and total > 0]
    return min(finite) if finite else float("nan")


def progress(material: Material, task: str) -> dict[str, tuple[np.ndarray, MeanInterval]]:
    """For each recipe: seconds, and the mean validation MAP@R so far with its interval."""
    found = {}
    for recipe in material.recipes:
        total = total_seconds(material, task, recipe)
        if not (np.isfinite(total) and total > 0):
            continue
        seconds = np.linspace(0, total, POINTS)
        found[recipe] = (seconds, mean_interval(reached(material, task, recipe, seconds), bounds=bounds(VALIDATION)))
    return found


def table(evidence: Evidence, task: str) -> Table:
    """Validation MAP@R at equal images and at equal time, and the seconds to the reference's final score."""
    material = evidence.material
    limit, target = equal_time(material, task), _final_score(material, task, material.reference)
    columns = [
        Column("recipe", numeric=False),
        Column("equal images", "validation MAP@R"),
        Column("equal time", "validation MAP@R"),
        Column("training", "s a run"),
        Column(f"time to {material.reference}", "s to its final score"),
    ]
    rows = []
    for recipe in material.recipes:
        total = total_seconds(material, task, recipe)
        if not np.isfinite(total) or not np.isfinite(limit):
            continue
        end, early = (
            mean_interval(reached(material, task, recipe, np.array([time])), bounds=bounds(VALIDATION))
            for time in (np.inf, limit)
        )
        seconds = seconds_to(material, task, recipe, target)
        rows.append(
            Row(
                (
                    Cell(recipe),
                    _band_cell(end),
                    _band_cell(early),
                    Cell(formats.significant(total), total),
                    Cell(formats.significant(seconds) if np.isfinite(seconds) else "not reached", seconds),
                )
            )
        )
    note = (
        f"Equal time: {formats.significant(limit)} s of training, what the quickest recipe took for all its epochs. "
        "From validation curves; exploratory, and wall times of runs that shared the machine support no claim."
    )
    return make_table("equal-time", f"Equal images and equal time, {task}", columns, rows, notes=(note,))


def seconds_to(material: Material, task: str, recipe: str, target: float) -> float:
    """Training seconds until the mean validation curve first is at `target`; NaN where it never is."""
    scores, times = material.curves(task, recipe, "val_map_at_r"), material.curves(task, recipe, "wall_s")
    if not scores.size or not np.isfinite(target):
        return float("nan")
    mean, clock = mean_interval(np.fmax.accumulate(scores, axis=1)).mean, mean_interval(times).mean
    there = np.flatnonzero(mean >= target)
    return float(clock[there[0]]) if there.size else float("nan")


def _final_score(material: Material, task: str, recipe: str) -> float:
    scores = material.curves(task, recipe, "val_map_at_r")
    if not scores.size:
        return float("nan")
    return float(mean_interval(np.fmax.accumulate(scores, axis=1)).mean[-1])


def _band_cell(found: MeanInterval) -> Cell:
    mean = float(found.mean[0])
    return Cell(f"{formats.score(mean)} {formats.interval(float(found.low[0]), float(found.high[0]))}", mean, "strong")
