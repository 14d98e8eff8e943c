"""Every pair of recipes on test MAP@R."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.sections.findings import holds, verdict_cell
from lossbench.report.sections.verdict import OPEN, range_text
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.power import StudiesNeeded
from lossbench.statistics.verdicts import Comparison, PairVerdict


def table(evidence: Evidence, task: str) -> Table:
    """Every pair of recipes on test MAP@R."""
    comparison, unit = evidence.primary[task], evidence.material.unit
    units = {"study": "studies", "seed": "seeds"}[unit]
    columns = [
        Column("a", numeric=False),
        Column("b", numeric=False),
        Column("a − b", "MAP@R"),
        Column("95 % interval", "unadjusted"),
        Column("p", "t test"),
        Column("p", "adjusted"),
        Column("p", "joint sign flip"),
        Column("verdict on a", numeric=False),
        Column("studies" if unit == "study" else "seeds", "paired"),
        Column("found", "with 80 % power"),
        Column("to differ", f"{units} needed"),
        Column("to be equal", f"{units} needed"),
        Column("note", numeric=False),
    ]
    pairs = _best_first(comparison) if comparison else []
    notes = (holds(evidence.material, task),)
    return make_table(
        "effects",
        f"All pairs of recipes on test MAP@R, {task}",
        columns,
        [_row(pair) for pair in pairs],
        notes=notes,
        filterable=True,
    )


def _row(pair: PairVerdict) -> Row:
    effect = pair.effect
    verdict, mark = verdict_cell(pair)
    needed, equal = pair.studies_for_difference, pair.studies_for_equivalence
    return Row(
        (
            Cell(pair.a),
            Cell(pair.b),
            Cell(formats.signed(effect.mean), effect.mean, "strong"),
            Cell(formats.interval(effect.low, effect.high), effect.low),
            Cell(formats.p_value(effect.p), effect.p),
            Cell(formats.p_value(pair.p_adjusted), pair.p_adjusted),
            Cell(formats.p_value(pair.p_sign_flip), pair.p_sign_flip),
            Cell(verdict, mark=mark),
            Cell(str(effect.n), float(effect.n)),
            Cell(formats.score(pair.smallest_found), pair.smallest_found),
            _needed_cell(needed if pair.verdict in OPEN else None),
            _needed_cell(equal if pair.verdict in OPEN else None),
            Cell(pair.note),
        )
    )


def _needed_cell(needed: StudiesNeeded | None) -> Cell:
    """The looks between which an answer is to be expected; it sorts by the later one."""
    if needed is None or needed.least is None:
        return Cell(formats.NONE, math.nan)
    return Cell(range_text(needed), float(needed.most or math.inf))


def _best_first(comparison: Comparison) -> list[PairVerdict]:
    """Pairs turned so that the higher mean comes first, in the order of the ranking."""
    ranked = [standing.recipe for standing in comparison.ranking]
    return [comparison.pair(a, b) for index, a in enumerate(ranked) for b in ranked[index + 1 :]]
