"""Every run of a task."""

from __future__ import annotations

import math

import pandas as pd

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections.recipe_rows import kind
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table


def table(evidence: Evidence, task: str) -> Table:
    """One row a run: role, study, seed, status, chosen epoch, scores, id."""
    material = evidence.material
    columns = [
        Column("recipe", numeric=False),
        Column("role", numeric=False),
        Column("trial"),
        Column("study"),
        Column("seed"),
        *([Column("fold")] if material.folds(task) > 1 else []),
        Column("status", numeric=False),
        Column("chosen epoch"),
        Column("MAP@R", "validation"),
        Column("MAP@R", "test"),
        Column("run", numeric=False),
    ]
    rows = material.table[material.table["task"] == task]
    return make_table(
        "runs", f"Every run, {task}", columns, [_row(material, row) for _, row in rows.iterrows()], filterable=True
    )


def _row(material: Material, row: object) -> Row:
    get = row.get  # type: ignore[attr-defined]  # a row of the table

    def number(column: str) -> float:
        value = get(column)
        return math.nan if pd.isna(value) else float(value)

    val, test, epoch, trial = number(VALIDATION), number(PRIMARY), number("best_epoch"), number("trial")
    return Row(
        (
            Cell(str(get("recipe"))),
            Cell(str(get("role"))),
            Cell(formats.count(trial), trial),
            Cell(str(get("study")), float(get("study"))),
            Cell(str(get("seed")), float(get("seed"))),
            *([Cell(formats.count(number("fold")), number("fold"))] if material.folds(str(get("task"))) > 1 else []),
            Cell(str(get("status")), mark="" if get("status") == "ok" else "down"),
            Cell(formats.count(epoch), epoch),
            Cell(formats.score(val), val),
            Cell(formats.score(test), test),
            Cell(str(get("run_id"))),
        ),
        kind(material, str(get("recipe"))),
    )
