"""What tables of recipes share: the order of their rows, and the cells that several of them have."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell


def by_mean(material: Material, task: str) -> list[str]:
    """Recipes and baselines that have any final run, highest mean test MAP@R first; those without a score last."""
    names = [name for name in (*material.recipes, *material.baselines) if len(material.rows(task, name))]
    means = {name: material.mean(task, name, PRIMARY) for name in names}
    return sorted(names, key=lambda name: (math.isnan(means[name]), -means[name] if means[name] == means[name] else 0))


def name_cell(material: Material, name: str) -> Cell:
    """A recipe's or a baseline's name."""
    return Cell(name, mark="muted" if name in material.baselines else "")


def kind(material: Material, name: str) -> str:
    """`baseline` or `recipe`: how a row is set."""
    return "baseline" if name in material.baselines else "recipe"


def mean_cell(material: Material, task: str, name: str, column: str) -> Cell:
    """A figure's mean over studies."""
    mean = material.mean(task, name, column)
    return Cell(formats.score(mean), mean)


def troubles_cell(statuses: Iterable[object]) -> Cell:
    """How many runs diverged, collapsed or failed, and of how many."""
    found = [str(value) for value in statuses]
    hits = {status: found.count(status) for status in ("diverged", "collapsed", "failed")}
    total = sum(hits.values())
    text = ", ".join(f"{count}/{len(found)} {status}" for status, count in hits.items() if count) or "none"
    return Cell(text, float(total), "down" if total else "muted")
