"""Where the variance of each effect comes from, and what it would cost to halve its interval."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import top
from lossbench.report.evidence.material import Material
from lossbench.report.evidence.variance import Shares, shares
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.effects import t_interval
from lossbench.statistics.verdicts import PairVerdict

SEARCH = ("trial", "candidate")


def found(evidence: Evidence, task: str) -> list[Shares]:
    """The parts of each effect against the reference, highest mean first."""
    comparison, material = evidence.primary[task], evidence.material
    ranked = [standing.recipe for standing in comparison.ranking] if comparison else []
    if material.reference not in ranked:
        return []
    parts = [shares(material, task, name, material.reference) for name in ranked if name != material.reference]
    return [part for part in parts if part is not None and part.total > 0]


def table(evidence: Evidence, task: str) -> Table | None:
    """One row an effect: its standard error, the shares of its sources, and what halves its interval."""
    material = evidence.material
    parts = found(evidence, task)
    if not parts:
        return None
    study_s, final_s = _seconds(material, task)
    units = "studies" if material.unit == "study" else "seeds"
    columns = [
        Column("effect", f"vs {material.reference}", numeric=False),
        Column("standard error", "of MAP@R"),
        Column(material.unit, "share"),
        Column("seed", "share"),
        Column("test classes", "share"),
        Column(f"more {units}", "to halve the interval"),
        Column("cost", "CPU s"),
        Column("more final runs", "a study, to halve it"),
        Column("cost", "CPU s "),
    ]
    rows = [_row(part, study_s, final_s) for part in parts]
    notes = (
        f"Shares of the variance of the printed effect. {material.unit.capitalize()}: search and deal of the data "
        "change together in it. Seed: of the final runs within a study. Test classes: groups of them left out in turn; "
        "no part of the intervals over studies. Halving needs four times the studies; more final runs help only where "
        "most of the variance is theirs. The test set is given.",
    )
    return make_table("variance", f"Where the variance of effects comes from, {task}", columns, rows, notes=notes)


def class_interval(evidence: Evidence, task: str) -> tuple[PairVerdict, float, float] | None:
    """The effect of the leader over the next recipe, with a 95 % interval for other test classes too.

    None where no jackknife was kept, or it adds nothing.
    """
    leading = top(evidence, task)
    if leading is None or len(leading.sound) < 2:
        return None
    pair = leading.comparison.pair(leading.sound[0], leading.sound[1])
    part = shares(evidence.material, task, pair.a, pair.b)
    if part is None or not part.classes > 0 or pair.effect.n < 2:
        return None
    n = pair.effect.n
    sd = math.sqrt((part.total) * n)  # of one study's effect, if it also drew its test classes
    low, high = t_interval(pair.effect.mean, sd, n, 0.95)
    return pair, low, high


def _row(part: Shares, study_s: float, final_s: float) -> Row:
    more = part.studies_to_halve - part.studies
    runs = part.seeds_to_halve
    extra = (runs - part.seeds) * part.studies if runs else 0
    return Row(
        (
            Cell(part.a),
            Cell(formats.score(math.sqrt(part.total), 4), math.sqrt(part.total)),
            *[_share(value, part.total) for value in (part.study, part.seed, part.classes)],
            Cell(f"+{more}", float(more)),
            Cell(formats.count(more * study_s), more * study_s),
            Cell(
                f"+{runs - part.seeds}" if runs else "no number is enough",
                float(runs - part.seeds) if runs else math.inf,
            ),
            Cell(formats.count(extra * final_s) if runs else formats.NONE, extra * final_s if runs else math.nan),
        )
    )


def _share(value: float, total: float) -> Cell:
    share = value / total if total > 0 else math.nan
    return Cell(formats.share(share), share)


def _seconds(material: Material, task: str) -> tuple[float, float]:
    """Mean seconds of a whole study of the task, and of one final run of every recipe."""
    rows = material.table[material.table["task"] == task]
    if "cost.run_wall_s" not in rows:
        return math.nan, math.nan
    column = "cost.run_cpu_s" if "cost.run_cpu_s" in rows else "cost.run_wall_s"
    counted = rows[rows["role"].isin(["trial", "candidate", "final", "baseline"])]
    studies = max(1, counted["study"].nunique())
    finals = rows[rows["role"] == "final"].groupby("recipe")[column].mean().sum()
    return float(counted[column].sum()) / studies, float(finals)
