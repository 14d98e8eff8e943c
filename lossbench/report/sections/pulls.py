"""How hard the centers are pulled, beside what came of it: the measured pull of every loss that keeps centers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lossbench.report.evidence.comparisons import QUALITY, Evidence, distance_figures
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections.findings import Finding, words
from lossbench.report.sections.verdict import effect_text, listed
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

RATIO = next(figure.column for figure in distance_figures("sphere") if figure.column.endswith("intra_inter_ratio"))
NOTES = (
    "Pull: the share k of the way to the mean of its samples in a batch by which one training step moves a center, "
    "c <- c - k (c - mean), measured on the first batch with the trained network; means over studies.",
    "With momentum: the same once momentum has gathered, which takes about ten steps at 0.9.",
)


def pull(material: Material, task: str, recipe: str, kind: str = "pull") -> float:
    """Mean over studies of a recipe's measured pull; NaN where it keeps no centers."""
    found = [material.mean(task, recipe, f"train.{loss}.{kind}") for loss in material.losses(recipe)]
    return next((value for value in found if math.isfinite(value)), math.nan)


def pulled(material: Material, task: str) -> list[str]:
    """Recipes whose centers move by a measured pull, where at least two have other losses for it."""
    found = [recipe for recipe in material.recipes if math.isfinite(pull(material, task, recipe))]
    return found if len({material.losses(recipe) for recipe in found}) > 1 else []


def table(evidence: Evidence, task: str) -> Table | None:
    """One row a recipe with centers; None where their losses are the same."""
    material = evidence.material
    columns = [
        Column("recipe", numeric=False),
        Column("pull", "first step"),
        Column("pull", "with momentum"),
        Column("center to class mean", "train, raw"),
        Column("MAP@R"),
        Column("head accuracy"),
        Column("intra/inter", "sphere"),
    ]
    rows = [Row(tuple(_cells(material, task, recipe))) for recipe in pulled(material, task)]
    return make_table("pulls", f"Pull of the centers, {task}", columns, rows, notes=NOTES) if rows else None


def findings(evidence: Evidence, task: str) -> Iterator[Finding]:
    """The range of the pulls, and whether the tests tell the recipe with the strongest from the others."""
    material, comparison = evidence.material, evidence.comparison(task, QUALITY[0])
    names = sorted(pulled(material, task), key=lambda recipe: -pull(material, task, recipe, "pull_sustained"))
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or not set(names) <= known or len(names) < 2:
        return
    said = [f"{formats.significant(pull(material, task, name, 'pull_sustained'), 2)} of {name}" for name in names]
    pairs = [comparison.pair(name, names[0]) for name in names[1:]]
    yield Finding(
        about=task,
        question="Does it matter how hard the centers are pulled?",
        text=f"In the long run a step moves a center by these shares of the way to its batch mean: {listed(said)}. "
        f"In MAP@R {'; '.join(f'{words(pair)} ({effect_text(pair)})' for pair in pairs)}.",
        confirmatory=False,
        section="effects",
    )


def _cells(material: Material, task: str, recipe: str) -> Iterator[Cell]:
    yield Cell(recipe)
    for kind in ("pull", "pull_sustained", "center_distance_mean"):
        value = pull(material, task, recipe, kind)
        yield Cell(formats.significant(value), value)
    for column in (PRIMARY, "test.head_accuracy", RATIO):
        value = material.mean(task, recipe, column)
        yield Cell(formats.score(value), value)
