"""Test figures by fold."""

from __future__ import annotations

import math

import numpy as np

from lossbench.report.evidence.comparisons import FOLD_ACCURACY, QUALITY, Evidence
from lossbench.report.sections.recipe_rows import by_mean, kind, name_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table


def table(evidence: Evidence, task: str) -> Table | None:
    """Test figures by fold, each the mean of a study, with the mean and its standard error over folds."""
    material, count = evidence.material, evidence.material.folds(task)
    if count == 1:
        return None
    figure = next(figure for figure in (FOLD_ACCURACY, QUALITY[0]) if material.has(task, figure.column))
    columns = [Column("recipe", numeric=False), *[Column(f"fold {fold}") for fold in range(count)]]
    columns += [Column("mean", "over folds"), Column("standard error", "over folds")]
    rows = []
    for name in by_mean(material, task):
        runs = material.rows(task, name)
        means = [float(runs.loc[runs["fold"] == fold, figure.column].mean()) for fold in range(count)]
        mean, error = float(np.mean(means)), float(np.std(means, ddof=1)) / math.sqrt(count)
        cells = [Cell(formats.score(value), value) for value in (*means, mean, error)]
        rows.append(Row((name_cell(material, name), *cells), kind(material, name)))
    notes = (
        f"{count} folds, each a study with a search of its own. The standard error "
        "over folds says how much the choice of test classes matters.",
    )
    return make_table("folds", f"Test {figure.label} by fold, {task}", columns, rows, notes=notes)
