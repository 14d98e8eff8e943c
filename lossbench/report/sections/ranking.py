"""The ranking of a task: recipes and baselines by mean test MAP@R."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lossbench.report.evidence.comparisons import Evidence, summary
from lossbench.report.evidence.leaders import letters
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections.findings import holds, verdict_cell
from lossbench.report.sections.recipe_rows import by_mean, kind, mean_cell, name_cell, troubles_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.specification.experiment import UNSEEDED
from lossbench.statistics.looks import LEAST_RANKED
from lossbench.statistics.verdicts import Comparison, PairVerdict


def table(evidence: Evidence, task: str) -> Table:
    """Recipes and baselines by mean test MAP@R, with interval, tie group, effect, default score and troubles."""
    comparison, material = evidence.primary[task], evidence.material
    lettered = comparison is None or bool(comparison.letters)
    columns = [
        Column("recipe", numeric=False),
        Column("MAP@R", "mean, ↑"),
        Column("95 % interval", "unadjusted"),
        Column("group", "tie group", numeric=False) if lettered else Column("better / worse", "than so many"),
        Column(f"vs {material.reference}", "paired effect"),
        Column("95 % interval", "unadjusted"),
        Column("p", "adjusted"),
        Column("verdict", f"vs {material.reference}", numeric=False),
        Column("default", "MAP@R untuned"),
        Column("P@1", "mean, ↑"),
        Column("studies" if material.unit == "study" else "seeds", "complete"),
        Column("troubles", "of these runs", numeric=False),
    ]
    units = {"study": "studies", "seed": "seeds"}[material.unit]
    groups = _group_cells(evidence, task, comparison) if comparison else {}
    rows = [_row(evidence, task, name, comparison, groups) for name in by_mean(material, task)]
    bare = any(cell.text == formats.NONE for cell in groups.values())
    without = f"Without a letter: in trouble, or fewer than {LEAST_RANKED} {units}. " if bare else ""
    group = (
        f"Recipes that share a letter of the tie group were not shown to differ (over all pairs of recipes). {without}"
        if lettered
        else "Better / worse: than how many recipes a recipe was shown to be so (over all pairs of recipes); from "
        "the rest it could not be told. "
    )
    notes = [
        f"{group}Effects are paired within {units} against {material.reference}; intervals are unadjusted. Baselines "
        "are not trained and stand outside the family of tests.",
        *(["Default: the same recipe with its documented parameters, in the first two studies."] * material.tuned),
        holds(material, task),
    ]
    return make_table("ranking", f"Test MAP@R on the sphere, {task}", columns, rows, notes=notes)


def _row(evidence: Evidence, task: str, name: str, comparison: Comparison | None, groups: Mapping[str, Cell]) -> Row:
    material = evidence.material
    found = summary(material, task, name, PRIMARY)
    rows = material.rows(task, name)
    pair = _versus_reference(material, comparison, name)
    verdict, mark = verdict_cell(pair)
    if name == material.reference:
        verdict, mark = "reference", "muted"
    searched = material.tuned and name in material.recipes  # of what nobody tuned, the default is the recipe itself
    default = material.mean(task, name, PRIMARY, "default") if searched else math.nan
    return Row(
        (
            name_cell(material, name),
            Cell(formats.score(float(found.mean)), float(found.mean), "strong"),
            Cell(formats.interval(float(found.low), float(found.high)), float(found.low)),
            groups.get(name, Cell(formats.NONE)),
            *_effect_cells(pair),
            Cell(verdict, mark=mark),
            Cell(formats.score(default), default),
            mean_cell(material, task, name, "test.sphere.precision_at_1"),
            _complete_cell(material, task, name),
            troubles_cell(rows["status"]),
        ),
        kind(material, name),
    )


def _group_cells(evidence: Evidence, task: str, comparison: Comparison) -> dict[str, Cell]:
    """The letters of each recipe's tie groups; where there are none, how many recipes it is better and worse than."""
    if found := letters(evidence, task):
        return {name: Cell(own or formats.NONE) for name, own in found.items()}
    counts = comparison.better_worse
    return {name: Cell(f"{better} / {worse}", float(better - worse)) for name, (better, worse) in counts.items()}


def _complete_cell(material: Material, task: str, name: str) -> Cell:
    """How many studies have a score, and of how many that are planned where some have none."""
    values = material.values(task, name, PRIMARY)
    there = sum(value == value for value in values.values())
    planned = 1 if name in UNSEEDED else material.dropped(task).get(name, material.studies(task))
    return Cell(str(there) if there >= planned else f"{there} of {planned}", float(there))


def _effect_cells(pair: PairVerdict | None) -> tuple[Cell, Cell, Cell]:
    if pair is None:
        return Cell(formats.NONE), Cell(formats.NONE), Cell(formats.NONE)
    effect = pair.effect
    return (
        Cell(formats.signed(effect.mean), effect.mean),
        Cell(formats.interval(effect.low, effect.high), effect.low),
        Cell(formats.p_value(pair.p_adjusted), pair.p_adjusted),
    )


def _versus_reference(material: Material, comparison: Comparison | None, name: str) -> PairVerdict | None:
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or name == material.reference or not {name, material.reference} <= known:
        return None
    return comparison.pair(name, material.reference)
