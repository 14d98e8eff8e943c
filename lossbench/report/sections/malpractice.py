"""Under bad practice: what a careless comparison of the same runs would have claimed.

The only reader of the sealed audit files, which hold the test score of every epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table

Score = Callable[[Material, str, str], tuple[float, float]]  # and what the practice adds


def proper(material: Material, task: str, recipe: str) -> tuple[float, float]:
    """As the protocol has it: the mean over studies at the epoch that validation chose."""
    mean = material.mean(task, recipe, PRIMARY)
    return mean, 0.0


def epoch_by_test(material: Material, task: str, recipe: str) -> tuple[float, float]:
    """As if test had chosen the epoch: what that adds to the runs whose test was scored after every epoch."""
    rows, added = material.rows(task, recipe), []
    for run, own in zip(rows["run_id"], rows.get(PRIMARY, []), strict=False):
        scores = [score for score in material.store.audit(str(run)).get("test_map_at_r", []) if score is not None]
        if scores:
            added.append(max(scores) - float(own))
    return _beyond(proper(material, task, recipe)[0], float(np.mean(added)) if added else math.nan)


def top_study(material: Material, task: str, recipe: str) -> tuple[float, float]:
    """As if only the luckiest study had been made."""
    scores = [score for score in material.values(task, recipe, PRIMARY).values() if score == score]
    mean = material.mean(task, recipe, PRIMARY)
    return _beyond(mean, max(scores, default=math.nan) - mean)


def untuned_reference(material: Material, task: str, recipe: str) -> tuple[float, float]:
    """As if everybody but the reference had been tuned: its default in the studies that have it."""
    final, default = (material.values(task, recipe, PRIMARY, role) for role in ("final", "default"))
    lost = [default[study] - final[study] for study in default if default[study] == default[study] and study in final]
    mean = material.mean(task, recipe, PRIMARY)
    return _beyond(mean, float(np.mean(lost)) if lost else math.nan) if recipe == material.reference else (mean, 0.0)


def _beyond(mean: float, added: float) -> tuple[float, float]:
    return mean + added, added


PRACTICES: tuple[tuple[str, str, Score], ...] = (
    ("proper", "this report", proper),
    ("test picks the epoch", "mean", epoch_by_test),
    ("luckiest study only", "one study", top_study),
    ("reference untuned", "mean", untuned_reference),
)


def table(evidence: Evidence, task: str) -> Table:
    """Score and rank of every recipe under each practice, with what the practice adds."""
    material = evidence.material
    recipes = [recipe for recipe in material.recipes if len(material.rows(task, recipe))]
    scores = {name: {recipe: score(material, task, recipe) for recipe in recipes} for name, _, score in PRACTICES}
    columns = [Column("recipe", numeric=False)]
    columns += [Column(name, f"{note}, rank") for name, note, _ in PRACTICES]
    order = sorted(recipes, key=lambda recipe: -np.nan_to_num(scores["proper"][recipe][0], nan=-1.0))
    ranks = {name: _ranks(found) for name, found in scores.items()}
    rows = [Row((Cell(recipe), *[_cell(scores, ranks, name, recipe) for name, _, _ in PRACTICES])) for recipe in order]
    notes = (
        "The same runs, scored as careless comparisons do, without any test. Ranks are orders of means or of single "
        "runs: none of the columns to the right supports a claim.",
    )
    return make_table("malpractice", f"Under bad practice, {task}", columns, rows, notes=notes)


def _cell(
    scores: dict[str, dict[str, tuple[float, float]]], ranks: dict[str, dict[str, int]], name: str, recipe: str
) -> Cell:
    value, extra = scores[name][recipe]
    if math.isnan(value):
        return Cell(formats.NONE, value)
    moved = ranks[name][recipe] != ranks["proper"][recipe]
    added = "" if name == "proper" else f" ({formats.signed(extra)})"
    return Cell(f"{formats.score(value)}{added}, {ranks[name][recipe]}", value, "down" if moved else "")


def _ranks(scores: dict[str, tuple[float, float]]) -> dict[str, int]:
    return {recipe: 1 + sum(other > value for other, _ in scores.values()) for recipe, (value, _) in scores.items()}
