"""Retrieval, classification and verification figures of every recipe and baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lossbench.report.evidence.comparisons import QUALITY, Evidence, Figure, summary
from lossbench.report.sections.findings import holds
from lossbench.report.sections.recipe_rows import by_mean, kind, name_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

ARROWS = {1: "↑", -1: "↓", 0: ""}


def table(evidence: Evidence, task: str) -> Table:
    """Retrieval, classification and verification figures of every recipe and baseline."""
    title = f"Retrieval, classification and verification on test, {task}"
    note = "Means over studies. MAP@R on the sphere is the confirmatory figure; every other column is exploratory."
    return figures_table(evidence, task, "quality", title, QUALITY, note)


def figures_table(
    evidence: Evidence, task: str, name: str, caption: str, figures: Iterable[Figure], note: str
) -> Table:
    """One row a recipe or baseline, one column a figure that any run of the task has."""
    material = evidence.material
    figures = [figure for figure in figures if material.has(task, figure.column)]
    columns = [Column("recipe", numeric=False)]
    columns += [Column(figure.label, ARROWS[figure.direction]) for figure in figures]
    rows = [
        Row(
            (
                name_cell(material, recipe),
                *[_figure_cell(evidence, task, recipe, figure) for figure in figures],
            ),
            kind(material, recipe),
        )
        for recipe in by_mean(material, task)
    ]
    return make_table(name, caption, columns, rows, notes=(note, holds(material, task)))


def _figure_cell(evidence: Evidence, task: str, recipe: str, figure: Figure) -> Cell:
    found = summary(evidence.material, task, recipe, figure.column)
    mean = float(found.mean)
    comparison = evidence.comparison(task, figure)
    letters = comparison.letters.get(recipe, "") if comparison else ""
    text = formats.score(mean) if abs(mean) < 100 or math.isnan(mean) else formats.significant(mean)
    return Cell(f"{text} {letters}".rstrip(), mean)
