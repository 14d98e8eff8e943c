"""Test MAP@R of every study."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY
from lossbench.report.sections.recipe_rows import by_mean, kind, name_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table


def table(evidence: Evidence, task: str) -> Table:
    """Test MAP@R of every recipe and baseline, a column a study: the mean of its final runs."""
    material = evidence.material
    rows = material.table[(material.table["task"] == task) & material.table["role"].isin(["final", "baseline"])]
    known = sorted(rows["study"].unique())
    columns = [Column("recipe", numeric=False), *[Column(f"study {study}") for study in known]]
    shown = []
    for name in by_mean(material, task):
        found = material.values(task, name, PRIMARY)
        rows = material.rows(task, name).sort_values("status", key=lambda statuses: statuses != "ok")
        troubles = dict(zip(rows["study"], rows["status"], strict=True))  # of several runs, one in trouble is named
        cells = [_study_cell(found.get(study, math.nan), str(troubles.get(study, ""))) for study in known]
        shown.append(Row((name_cell(material, name), *cells), kind(material, name)))
    return make_table("studies", f"Test MAP@R of every study, {task}", columns, shown)


def _study_cell(value: float, status: str) -> Cell:
    trouble = status not in ("", "ok")
    text = formats.score(value) + (f" ({status})" if trouble else "")
    return Cell(text, value, "down" if trouble else "")
