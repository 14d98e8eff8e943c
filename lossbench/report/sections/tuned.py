"""The values that tuning chose."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import VALIDATION, Material
from lossbench.report.sections.recipe_rows import troubles_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table


def table(evidence: Evidence, task: str) -> Table:
    """The values that tuning chose, with the validation score of the chosen trial and the fate of all trials."""
    material = evidence.material
    names = material.columns("param.")
    columns = [
        Column("recipe", numeric=False),
        Column("chosen trial"),
        Column("MAP@R", "validation"),
        *[Column(name.removeprefix("param."), numeric=name != "param.miner") for name in names],
        Column("trials"),
        Column("troubles", "of these trials", numeric=False),
    ]
    rows = [_row(material, task, recipe, names) for recipe in material.recipes]
    notes = ("Chosen on validation. Trial 0 is the recipe's documented default.",)
    return make_table("tuned", f"Tuned values, {task}", columns, [row for row in rows if row], notes=notes)


def _row(material: Material, task: str, recipe: str, names: list[str]) -> Row | None:
    finals, trials = material.rows(task, recipe), material.rows(task, recipe, "trial")
    if not len(finals):
        return None
    chosen = int(finals["trial"].iloc[0])
    of_chosen = trials[trials["trial"] == chosen]
    score = float(of_chosen[VALIDATION].iloc[0]) if VALIDATION in trials and len(of_chosen) else math.nan
    values = [finals[name].iloc[0] for name in names]
    return Row(
        (
            Cell(recipe),
            Cell(str(chosen), float(chosen)),
            Cell(formats.score(score), score),
            *[Cell(formats.parameter(value), value if isinstance(value, float) else str(value)) for value in values],
            Cell(str(len(trials)), float(len(trials))),
            troubles_cell(trials["status"]),
        )
    )
