"""Every run of a task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections.recipe_rows import kind
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

SHOWN = ("recipe", "role", "trial", "study", "seed", "fold", "status", "best_epoch", VALIDATION, PRIMARY, "run_id")


def table(evidence: Evidence, task: str) -> Table:
    """One row a run: role, study, seed, status, chosen epoch, scores, id."""
    material = evidence.material
    folds = material.folds(task) > 1
    columns = [
        Column("recipe", numeric=False),
        Column("role", numeric=False),
        Column("trial"),
        Column("study"),
        Column("seed"),
        *([Column("fold")] if folds else []),
        Column("status", numeric=False),
        Column("chosen epoch"),
        Column("MAP@R", "validation"),
        Column("MAP@R", "test"),
        Column("run", numeric=False),
    ]
    shown = [name for name in SHOWN if name in material.table]
    found = material.table.loc[material.table["task"] == task, shown].astype({"fold": float} if "fold" in shown else {})
    rows = [_row(material, row, folds=folds) for row in found.to_dict("records")]
    return make_table("runs", f"Every run, {task}", columns, rows, filterable=True)


def _row(material: Material, row: Mapping[Any, Any], *, folds: bool) -> Row:
    def number(column: str) -> float:
        return float(row.get(column, math.nan))

    val, test, epoch, trial = number(VALIDATION), number(PRIMARY), number("best_epoch"), number("trial")
    return Row(
        (
            Cell(str(row["recipe"])),
            Cell(str(row["role"])),
            Cell(formats.count(trial), trial),
            Cell(str(row["study"]), float(row["study"])),
            Cell(str(row["seed"]), float(row["seed"])),
            *([Cell(formats.count(number("fold")), number("fold"))] if folds else []),
            Cell(str(row["status"]), mark="" if row["status"] == "ok" else "down"),
            Cell(formats.count(epoch), epoch),
            Cell(formats.score(val), val),
            Cell(formats.score(test), test),
            Cell(str(row["run_id"])),
        ),
        kind(material, str(row["recipe"])),
    )
