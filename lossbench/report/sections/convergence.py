"""Trained to the end: a table of what twice the epochs change, and a line where the comparison may not stand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pandas as pd

from lossbench.report.evidence.comparisons import EQUIVALENCE, Evidence
from lossbench.report.evidence.leaders import own_interval, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.convergence import Change, Convergence, check_convergence
from lossbench.statistics.effects import paired_effect

LONGER = "longer"
RUN = ["study", "seed"]
MOST_NAMED = 2  # pairs on the first screen

Scores = dict[str, dict[int, float]]


def checked(evidence: Evidence, task: str) -> Convergence | None:
    """The check of the pairs that a task's answer rests on; None where no run with twice the epochs is there."""
    material, found = evidence.material, top(evidence, task)
    if found is None or not found.sound or not any(len(material.rows(task, name, LONGER)) for name in material.recipes):
        return None
    pairs = found.deciding or tuple(found.comparison.pair(found.leader, name) for name in found.sound[1:2])
    regions = {(pair.a, pair.b): _region(*own_interval(pair)) for pair in pairs}
    once, twice = _once_and_twice(material, task, {name for pair in regions for name in pair})
    return check_convergence(once, twice, regions)


def of_claim(material: Material, task: str, sides: Sequence[object]) -> Change | None:
    """Whether twice the epochs move what a claim compares; what is no recipe, as a number, stands still.

    None where not every recipe among the sides has runs with twice the epochs.
    """
    a, b = (side if side in material.recipes else "" for side in sides)
    names = {str(name) for name in (a, b) if name}
    if not names or not all(len(material.rows(task, name, LONGER)) for name in names):
        return None
    final = {name: material.values(task, name, PRIMARY) for name in names}
    once, twice = _once_and_twice(material, task, names)
    for scores in (final, once, twice):
        scores[""] = dict.fromkeys(itertools.chain.from_iterable(scores.values()), 0.0)
    studies = sorted(final[a].keys() & final[b].keys())
    own = paired_effect(*([final[side][study] for study in studies] for side in (a, b)))
    (change,) = check_convergence(once, twice, {(a, b): _region(own.low, own.high)}).changes
    return change


def _region(low: float, high: float) -> float:
    """How far what has this interval may move: half of it, or the region of equivalence where that is wider."""
    half = (high - low) / 2
    return max(half, EQUIVALENCE[PRIMARY]) if math.isfinite(half) else math.nan


def _once_and_twice(material: Material, task: str, names: set[str]) -> tuple[Scores, Scores]:
    """Recipe to study to score, at the epochs that ship and at twice."""
    once = {name: _once(material, task, name) for name in names}
    return once, {name: material.values(task, name, PRIMARY, LONGER) for name in names}


def warnings(evidence: Evidence, task: str) -> list[str]:
    """A line for the first screen where twice the epochs move an effect at the top, or cannot tell."""
    found = checked(evidence, task)
    if found is None or found.answer == "holds":
        return []
    if found.answer == "moves":
        named = "; ".join(
            f"{change.a} against {change.b} by {formats.signed(change.effect.mean)} "
            f"{formats.interval(change.effect.low, change.effect.high)}"
            for change in found.changes
            if change.answer == "moves"
        )
        return [f"not trained to the end: twice the epochs move {named}. The answer is about this many epochs only"]
    untold = [f"{change.a} against {change.b}" for change in found.changes if change.answer == "cannot tell"]
    of, what = "", "an effect at the top"
    if 0 < len(untold) <= MOST_NAMED:
        of, what = f" of {' and of '.join(untold)}", "this effect" if len(untold) == 1 else "these effects"
    return [
        f"whether training was long enough cannot be told{of}: twice the epochs may move {what} out of its interval"
    ]


def table(evidence: Evidence, task: str) -> Table | None:
    """One row a pair at the top: its effect, the change by twice the epochs, and what follows."""
    found = checked(evidence, task)
    comparison = evidence.primary[task]
    if found is None or comparison is None:
        return None
    columns = [
        Column("a", numeric=False),
        Column("b", numeric=False),
        Column("a − b", "MAP@R"),
        Column("may move by", "half of its own interval"),
        Column("twice the epochs", "change of a − b"),
        Column("90 % interval", "of two one-sided tests"),
        Column("studies", "paired"),
        Column("comparison", numeric=False),
    ]
    rows = []
    for change in found.changes:
        effect, before = change.effect, comparison.pair(change.a, change.b).effect.mean
        rows.append(
            Row(
                (
                    Cell(change.a),
                    Cell(change.b),
                    Cell(formats.signed(before), before),
                    Cell(formats.score(change.region), change.region),
                    Cell(formats.signed(effect.mean), effect.mean, "strong"),
                    Cell(formats.interval(effect.low, effect.high), effect.low),
                    Cell(str(effect.n), float(effect.n)),
                    Cell(change.answer, mark={"holds": "up", "moves": "down"}.get(change.answer, "muted")),
                )
            )
        )
    notes = (
        "The chosen points again with twice the epochs, on the same deals with the same seeds: the paired difference "
        "of differences. Holds: by two one-sided tests it is less than what would carry the effect out of its own "
        "interval. Moves: that is not shown, and it is no chance (Holm). That scores still rise alike is no fault: "
        f"{_gains(evidence, task)}.",
    )
    return make_table("convergence", f"Trained to the end, {task}", columns, rows, notes=notes)


def _once(material: Material, task: str, recipe: str) -> dict[int, float]:
    """Study to the mean of those final runs that are trained again; NaN where one failed."""
    rows, again = material.rows(task, recipe), material.rows(task, recipe, LONGER)
    if PRIMARY not in rows or not len(again):
        return {}
    rows = rows[pd.MultiIndex.from_frame(rows[RUN]).isin(pd.MultiIndex.from_frame(again[RUN]))]
    found: dict[int, list[float]] = {}
    for study, score in zip(rows["study"], rows[PRIMARY], strict=True):
        found.setdefault(int(study), []).append(float(score))
    return {study: math.fsum(own) / len(own) for study, own in found.items()}


def _gains(evidence: Evidence, task: str) -> str:
    """`softmax +0.004, triplet +0.006`: what twice the epochs add to each recipe."""
    material, said = evidence.material, []
    for recipe in material.recipes:
        once = _once(material, task, recipe)
        longer = material.values(task, recipe, PRIMARY, LONGER)
        gains = [value - once[study] for study, value in longer.items() if value == value and study in once]
        if gains:
            said.append(f"{recipe} {formats.signed(math.fsum(gains) / len(gains))}")
    return ", ".join(said)
