"""What tuning chose in each study: the values, how optimistic the trials were, and what it is worth on test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections.recipe_rows import troubles_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.effects import mean_interval

PAPER = "Wen et al. 2016 train with lambda 0.003 and alpha 0.5."


def table(evidence: Evidence, task: str) -> Table:
    """One row a recipe: the chosen values over studies, trial score against fresh candidates, and the trials' fate.

    The values alone where nothing was tuned.
    """
    material = evidence.material
    names = material.columns("param.")
    columns = [
        Column("recipe", numeric=False),
        *[Column(name.removeprefix("param."), "median, range") for name in names],
        Column("default", "chosen"),
        Column("trial", "its validation MAP@R"),
        Column("again", "fresh candidates"),
        Column("optimism", "trial − again"),
        Column("95 % interval", "unadjusted"),
        Column("trials", "all studies"),
        Column("troubles", "of these trials", numeric=False),
    ]
    rows = [row for recipe in material.recipes if (row := _row(material, task, recipe, names))]
    notes: tuple[str, ...] = (
        "Chosen anew in each study among the trials of highest validation MAP@R and the default (trial 0), by the mean "
        "of fresh validation seeds. Optimism: how much higher the chosen trial itself had scored, the score it was "
        "picked by.",
    )
    if any(loss.startswith("center") for recipe in material.recipes for loss in material.losses(recipe)):
        notes = (*notes, PAPER)
    if material.tuned:
        return make_table("tuned", f"Tuned values, {task}", columns, rows, notes=notes)
    given = 1 + len(names)
    fixed = [Row(row.cells[:given]) for row in rows]
    notes = ("Nothing was tuned.", *notes[1:])
    return make_table("tuned", f"Values of the parameters, {task}", columns[:given], fixed, notes=notes)


def chosen(material: Material, task: str, recipe: str) -> dict[int, int]:
    """Study to the trial whose point the final runs have."""
    rows = material.rows(task, recipe).dropna(subset=["trial"])
    return {int(study): int(trial) for study, trial in zip(rows["study"], rows["trial"], strict=True)}


def optimism(material: Material, task: str, recipe: str) -> dict[int, tuple[float, float]]:
    """Study to the chosen trial's own validation score and the mean of its fresh candidates."""
    trials, candidates = (material.rows(task, recipe, role) for role in ("trial", "candidate"))
    if VALIDATION not in trials:
        return {}
    found = {}
    for study, trial in chosen(material, task, recipe).items():
        own, again = (
            rows.loc[(rows["study"] == study) & (rows["trial"] == trial), VALIDATION].dropna()
            for rows in (trials, candidates)
        )
        if len(own) and len(again):
            found[study] = float(own.iloc[0]), float(again.mean())
    return found


def below_default(material: Material, task: str) -> list[str]:
    """`triplet (0.912 against 0.921, 2 studies)`: recipes whose tuned points score lower on test than their default."""
    found = []
    for recipe in material.recipes:
        final, default = (material.values(task, recipe, PRIMARY, role) for role in ("final", "default"))
        studies = [study for study in default if default[study] == default[study] and final.get(study, math.nan) > -1]
        if not studies:
            continue
        tuned, untuned = (math.fsum(of[study] for study in studies) / len(studies) for of in (final, default))
        if tuned < untuned:
            count = formats.counted(len(studies), "study")
            found.append(f"{recipe} ({formats.score(tuned)} against {formats.score(untuned)}, {count})")
    return found


def _row(material: Material, task: str, recipe: str, names: Sequence[str]) -> Row | None:
    finals, trials = material.whole(task, recipe), material.rows(task, recipe, "trial")
    if not len(finals):
        return None
    picked = chosen(material, task, recipe)
    scores = list(optimism(material, task, recipe).values())
    own, again = (float(np.mean(side)) for side in zip(*scores, strict=True)) if scores else (math.nan, math.nan)
    gap = mean_interval([trial - fresh for trial, fresh in scores]) if scores else None
    defaults = sum(trial == 0 for trial in picked.values())
    return Row(
        (
            Cell(recipe),
            *[_values_cell(finals[name]) for name in names],
            Cell(f"{defaults} of {len(picked)}", float(defaults)),
            Cell(formats.score(own), own),
            Cell(formats.score(again), again),
            Cell(formats.signed(own - again), own - again, "strong"),
            Cell(formats.interval(float(gap.low), float(gap.high)) if gap else formats.NONE),
            Cell(str(len(trials)), float(len(trials))),
            troubles_cell(trials["status"]),
        )
    )


def _values_cell(values: pd.Series) -> Cell:
    """`0.0031 [0.0012, 0.0076]`: median and range of numbers; of names, each with how often it was chosen."""
    known = values.dropna()
    if not len(known):
        return Cell(formats.NONE)
    if not pd.api.types.is_numeric_dtype(known):
        counted = known.astype(str).value_counts()
        text = ", ".join(str(name) if len(counted) == 1 else f"{name} ({count})" for name, count in counted.items())
        return Cell(text, text)
    middle, low, high = (float(number) for number in (known.median(), known.min(), known.max()))
    if low == high:
        return Cell(formats.parameter(middle), middle)
    return Cell(f"{formats.parameter(middle)} [{formats.parameter(low)}, {formats.parameter(high)}]", middle)
