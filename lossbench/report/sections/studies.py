"""Test MAP@R of every study."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections.recipe_rows import by_mean, kind, name_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

NOTES = (
    "A study is the whole work once: another deal of train and validation where the protocol leaves one, another "
    "search for every recipe, another choice, other seeds. Its score is the mean of its final runs.",
)


def table(evidence: Evidence, task: str) -> Table:
    """One row a recipe or baseline, a column a study; trouble of its final runs stands beside the score."""
    material = evidence.material
    names = by_mean(material, task)
    known = sorted({int(study) for name in names for study in material.rows(task, name)["study"]})
    columns = [Column("recipe", numeric=False), *[Column(f"{material.unit} {study}") for study in known]]
    rows = [
        Row((name_cell(material, name), *[_cell(material, task, name, study) for study in known]), kind(material, name))
        for name in names
    ]
    notes = NOTES if material.unit == "study" else ()
    return make_table("studies", f"Test MAP@R of every {material.unit}, {task}", columns, rows, notes=notes)


def _cell(material: Material, task: str, name: str, study: int) -> Cell:
    value = material.values(task, name, PRIMARY).get(study, math.nan)
    rows = material.rows(task, name)
    troubles = sorted({str(status) for status in rows.loc[rows["study"] == study, "status"]} - {"ok"})
    text = formats.score(value) + (f" ({', '.join(troubles)})" if troubles else "")
    return Cell(text, value, "down" if troubles else "")
