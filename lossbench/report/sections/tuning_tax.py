"""The tuning tax: what default parameters give, what tuning adds, and how many trials that takes."""

from __future__ import annotations

import math

import numpy as np

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.aggregates import expected_best, trials_to_reach
from lossbench.statistics.effects import FloatArray, mean_interval, paired_effect


def trial_scores(material: Material, task: str, recipe: str) -> FloatArray:
    """Validation MAP@R of every finished trial in their order; NaN for failed ones."""
    rows = material.rows(task, recipe, "trial").sort_values("trial")
    if VALIDATION not in rows:
        return np.full(len(rows), math.nan)
    return rows[VALIDATION].to_numpy(dtype=float)


def curve(material: Material, task: str, recipe: str) -> FloatArray:
    """Expected highest validation MAP@R of k trials, k = 1..n."""
    scores = trial_scores(material, task, recipe)
    return expected_best(scores) if scores.size else scores


def tax(evidence: Evidence, task: str) -> Table:
    """Default and tuned test scores, their paired difference, and the trials that pass the reference's default."""
    material = evidence.material
    target = _target(material, task)
    columns = [
        Column("recipe", numeric=False),
        Column("default", "test MAP@R"),
        Column("tuned", "test MAP@R"),
        Column("tuned − default", "paired effect"),
        Column("95 % interval", "unadjusted"),
        Column("p", "unadjusted"),
        Column("one trial", "expected, validation"),
        Column("all trials", "highest, validation"),
        Column("trials to pass", f"{material.reference} tuned"),
        Column("forgiving", "share of trials"),
    ]
    rows = [row for recipe in material.recipes if (row := _row(material, task, recipe, target))]
    notes = (
        "Expected highest validation score of k trials drawn without replacement from the study (after Dodge et al. "
        "2019). Trials to pass: the smallest k whose expectation is at the highest trial of "
        f"{material.reference}. Forgiving: the share of trials within one standard error (over final seeds, on "
        "validation) of the highest. Exploratory.",
    )
    return make_table("tuning-tax", f"Tuning tax, {task}", columns, rows, notes=notes)


def forgiving(material: Material, task: str, recipe: str) -> float:
    """Share of trials within one standard error of the highest; the error is that of the final runs' mean."""
    scores = trial_scores(material, task, recipe)
    finals = np.array(list(material.values(task, recipe, VALIDATION).values()), dtype=float)
    finals = finals[np.isfinite(finals)]
    if not np.isfinite(scores).any() or finals.size < 2:
        return math.nan
    error = float(mean_interval(finals).sd) / math.sqrt(finals.size)
    return float(np.mean(np.nan_to_num(scores, nan=-math.inf) >= np.nanmax(scores) - error))


def _target(material: Material, task: str) -> float:
    scores = trial_scores(material, task, material.reference)
    return float(np.nanmax(scores)) if np.isfinite(scores).any() else math.nan


def _row(material: Material, task: str, recipe: str, target: float) -> Row | None:
    trials = curve(material, task, recipe)
    default, final = (material.values(task, recipe, PRIMARY, role) for role in ("default", "final"))
    if not trials.size or not final:
        return None
    seeds = sorted(set(default) & set(final))
    effect = paired_effect([final[seed] for seed in seeds], [default[seed] for seed in seeds])
    reached = trials_to_reach(trials, target) if math.isfinite(target) else None
    means = [material.mean(task, recipe, PRIMARY, role) for role in ("default", "final")]
    same = effect.identical
    share = forgiving(material, task, recipe)
    return Row(
        (
            Cell(recipe),
            *[Cell(formats.score(mean), mean) for mean in means],
            Cell("same runs" if same else formats.signed(effect.mean), effect.mean, "strong"),
            Cell(formats.NONE if same else formats.interval(effect.low, effect.high), effect.low),
            Cell(formats.NONE if same else formats.p_value(effect.p), effect.p),
            Cell(formats.score(float(trials[0])), float(trials[0])),
            Cell(formats.score(float(trials[-1])), float(trials[-1])),
            Cell(str(reached) if reached else "not in this budget", float(reached) if reached else math.inf),
            Cell(formats.share(share), share),
        )
    )
