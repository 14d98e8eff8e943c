"""Every pair of recipes on test MAP@R."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.sections.findings import holds, verdict_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
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
        Column("p", "sign flip"),
        Column("verdict on a", numeric=False),
        Column("studies" if unit == "study" else "seeds", "paired"),
        Column("found", "with 80 % power"),
        Column("needed", "studies" if unit == "study" else "seeds"),
        Column("note", numeric=False),
    ]
    pairs = _best_first(comparison) if comparison else []
    notes = (
        f"Found: the difference that as many {units} find with 80 % power, at the strictest level. Needed: {units} for "
        "an effect of the observed size, which is optimistic where the effect was picked for its size.",
        holds(evidence.material, task),
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
    flip = effect.p_sign_flip if effect.p_sign_flip is not None else math.nan
    needed = pair.seeds_needed
    return Row(
        (
            Cell(pair.a),
            Cell(pair.b),
            Cell(formats.signed(effect.mean), effect.mean, "strong"),
            Cell(formats.interval(effect.low, effect.high), effect.low),
            Cell(formats.p_value(effect.p), effect.p),
            Cell(formats.p_value(pair.p_holm), pair.p_holm),
            Cell(formats.p_value(flip), flip),
            Cell(verdict, mark=mark),
            Cell(str(effect.n), float(effect.n)),
            Cell(formats.score(pair.min_detectable_holm), pair.min_detectable_holm),
            Cell(formats.count(needed) if needed else formats.NONE, float(needed) if needed else math.nan),
            Cell(pair.note),
        )
    )


def _best_first(comparison: Comparison) -> list[PairVerdict]:
    """Pairs turned so that the higher mean comes first, in the order of the ranking."""
    ranked = [standing.recipe for standing in comparison.ranking]
    return [comparison.pair(a, b) for index, a in enumerate(ranked) for b in ranked[index + 1 :]]
