"""What failed runs said: every error with how many runs it ended."""

from __future__ import annotations

from collections import Counter

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.troubles import errors
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

LONGEST = 400  # characters of an error


def table(evidence: Evidence, task: str) -> Table | None:
    """One row a recipe, role and error, most frequent first; None where nothing failed."""
    material = evidence.material
    rows = material.table[(material.table["task"] == task) & (material.table["status"] == "failed")]
    found: Counter[tuple[str, str, str]] = Counter()
    for recipe, role, run in zip(rows["recipe"], rows["role"], rows["run_id"], strict=True):
        said = errors(material, [str(run)]) or ["no error was kept"]
        found[str(recipe), str(role), said[0][:LONGEST]] += 1
    columns = [
        Column("recipe", numeric=False),
        Column("role", numeric=False),
        Column("runs", "failed"),
        Column("error", numeric=False),
    ]
    listed = [
        Row((Cell(recipe), Cell(role), Cell(str(count), float(count)), Cell(text)))
        for (recipe, role, text), count in found.most_common()
    ]
    return make_table("errors", f"Errors of failed runs, {task}", columns, listed) if listed else None
