"""Trained to the end: a table of what twice the epochs change, and a line where the comparison may not stand."""

from __future__ import annotations

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.convergence import Check, check
from lossbench.report.evidence.leaders import own_interval, top
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table


def checked(evidence: Evidence, task: str) -> Check | None:
    """The check of a task over the pairs that its answer rests on; None where there is nothing to check."""
    found = top(evidence, task)
    if found is None or not found.sound:
        return None
    pairs = found.deciding or tuple(found.comparison.pair(found.leader, name) for name in found.sound[1:2])
    alpha = found.comparison.alpha
    return check(evidence.material, task, [(pair, *own_interval(pair, alpha)[:2]) for pair in pairs])


def warnings(evidence: Evidence, task: str) -> list[str]:
    """A line for the first screen where twice the epochs move an effect at the top, or cannot tell."""
    found = checked(evidence, task)
    if found is None or found.standing == "holds":
        return []
    if found.standing == "moves":
        moved = [shift for shift in found.shifts if shift.standing == "moves"]
        named = "; ".join(
            f"{shift.a} against {shift.b}, {formats.signed(shift.effect)}, by {formats.signed(shift.shift)} "
            f"{formats.interval(shift.low, shift.high)}"
            for shift in moved
        )
        return [f"not trained to the end: twice the epochs move {named}. The answer is about this many epochs only"]
    return [
        "whether training was long enough cannot be told: twice the epochs may move an effect at the top out of its "
        "interval"
    ]


def table(evidence: Evidence, task: str) -> Table | None:
    """One row a pair at the top: its effect, the shift by twice the epochs, and what follows."""
    found = checked(evidence, task)
    if found is None:
        return None
    columns = [
        Column("a", numeric=False),
        Column("b", numeric=False),
        Column("a − b", "MAP@R"),
        Column("interval", "the pair's own level"),
        Column("twice the epochs", "shift of a − b"),
        Column("95 % interval", "of the shift"),
        Column("studies", "paired"),
        Column("comparison", numeric=False),
    ]
    rows = [
        Row(
            (
                Cell(shift.a),
                Cell(shift.b),
                Cell(formats.signed(shift.effect), shift.effect),
                Cell(formats.interval(shift.effect_low, shift.effect_high), shift.effect_low),
                Cell(formats.signed(shift.shift), shift.shift, "strong"),
                Cell(formats.interval(shift.low, shift.high), shift.low),
                Cell(str(shift.studies), float(shift.studies)),
                Cell(shift.standing, mark={"holds": "up", "moves": "down"}.get(shift.standing, "muted")),
            )
        )
        for shift in found.shifts
    ]
    gains = ", ".join(f"{recipe} {formats.signed(gain)}" for recipe, gain in found.gains.items())
    notes = (
        "The chosen points again with twice the epochs, on the same deals with the same seeds. Holds: the effect after "
        "the shift is shown to stay within its own interval (two one-sided tests at 5 %). Moves: the shift is shown "
        f"and leads out of it. What twice the epochs add to each recipe is no fault: {gains}.",
    )
    return make_table("convergence", f"Trained to the end, {task}", columns, rows, notes=notes)
