"""The tuning tax: what default parameters give, what tuning adds, and how many trials that takes."""

from __future__ import annotations

import math

import numpy as np

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.aggregates import expected_best, trials_to_reach
from lossbench.statistics.effects import FloatArray, paired_effect


def trial_scores(material: Material, task: str, recipe: str) -> list[FloatArray]:
    """Validation MAP@R of every finished trial of each study in their order; NaN for failed ones."""
    rows = material.rows(task, recipe, "trial").sort_values(["study", "trial"])
    if VALIDATION not in rows:
        return []
    return [own[VALIDATION].to_numpy(dtype=float) for _, own in rows.groupby("study")]


def curve(material: Material, task: str, recipe: str) -> FloatArray:
    """Expected highest validation MAP@R of k trials, k = 1..n, the mean over studies; n is that of the shortest."""
    found = [expected_best(scores) for scores in trial_scores(material, task, recipe)]
    least = min((own.size for own in found), default=0)
    return np.mean([own[:least] for own in found], axis=0) if least else np.empty(0)


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
    ]
    rows = [row for recipe in material.recipes if (row := _row(material, task, recipe, target))]
    notes = (
        "Expected highest validation score of k trials drawn without replacement from a search (after Dodge et al. "
        "2019), the mean over studies. Trials to pass: the smallest k whose expectation is at the highest trial of "
        f"{material.reference}. Default: in the first two studies. Exploratory.",
    )
    return make_table("tuning-tax", f"Tuning tax, {task}", columns, rows, notes=notes)


def _target(material: Material, task: str) -> float:
    """The highest trial of the reference, the mean over studies."""
    found = trial_scores(material, task, material.reference)
    tops = [float(np.nanmax(scores)) for scores in found if np.isfinite(scores).any()]
    return math.fsum(tops) / len(tops) if tops else math.nan


def _row(material: Material, task: str, recipe: str, target: float) -> Row | None:
    trials = curve(material, task, recipe)
    default, final = (material.values(task, recipe, PRIMARY, role) for role in ("default", "final"))
    if not trials.size or not final:
        return None
    studies = sorted(set(default) & set(final))
    effect = paired_effect([final[study] for study in studies], [default[study] for study in studies])
    reached = trials_to_reach(trials, target) if math.isfinite(target) else None
    means = [math.fsum(side[study] for study in studies) / max(len(studies), 1) for side in (default, final)]
    same = effect.identical
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
        )
    )
