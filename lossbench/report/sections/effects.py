"""Every pair of recipes on test MAP@R."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.sections.findings import verdict_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.power import StudiesNeeded
from lossbench.statistics.verdicts import Comparison, PairVerdict


def table(evidence: Evidence, task: str) -> Table:
    """Every pair of recipes on test MAP@R."""
    comparison = evidence.primary[task]
    columns = [
        Column("a", numeric=False),
        Column("b", numeric=False),
        Column("a − b", "MAP@R"),
        Column("95 % interval", "unadjusted"),
        Column("p", "t test"),
        Column("p", "adjusted"),
        Column("p", "joint sign flip"),
        Column("verdict on a", numeric=False),
        Column("studies", "paired"),
        Column("detectable", "power 0.8"),
        Column("needed", "studies"),
        Column("note", numeric=False),
    ]
    pairs = _best_first(comparison) if comparison else []
    notes = (
        "Detectable: the smallest difference that this many studies find with power 0.8 at the strictest level. "
        "Needed: studies for an effect of the observed size, which is optimistic where it was picked for its size.",
    )
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
    needed = pair.studies_for_difference
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
            Cell(_needed(needed), float(needed.most or math.inf) if needed else math.nan),
            Cell(pair.note),
        )
    )


def _needed(needed: StudiesNeeded | None) -> str:
    """`12 to 24`: the looks between which an answer is to be expected."""
    if needed is None or needed.least is None:
        return formats.NONE
    if needed.least == needed.most:
        return formats.count(needed.least)
    return f"{formats.count(needed.least)} to {formats.count(needed.most) if needed.most else 'more'}"


def _best_first(comparison: Comparison) -> list[PairVerdict]:
    """Pairs turned so that the higher mean comes first, in the order of the ranking."""
    ranked = [standing.recipe for standing in comparison.ranking]
    return [comparison.pair(a, b) for index, a in enumerate(ranked) for b in ranked[index + 1 :]]
