"""Where the variance of each effect comes from, and what it would cost to halve its interval."""

from __future__ import annotations

import math

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import top
from lossbench.report.evidence.material import Material
from lossbench.report.evidence.variance import Parts, parts
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.components import Prices, Search, cost_of_halving
from lossbench.statistics.verdicts import PairVerdict

SECONDS = ("cost.run_cpu_s", "cost.run_wall_s")


def found(evidence: Evidence, task: str) -> list[Parts]:
    """The parts of each effect against the reference, highest mean first."""
    comparison, material = evidence.primary[task], evidence.material
    ranked = [standing.recipe for standing in comparison.ranking] if comparison else []
    if material.reference not in ranked:
        return []
    own = [parts(material, task, name, material.reference) for name in ranked if name != material.reference]
    return [part for part in own if part is not None]


def table(evidence: Evidence, task: str) -> Table | None:
    """One row an effect: its standard error, the shares of its sources, and what halving its interval costs."""
    material, effects = evidence.material, found(evidence, task)
    if not effects:
        return None
    columns = [
        Column("effect", f"vs {material.reference}", numeric=False),
        Column("standard error", "of MAP@R"),
        *[Column(source, "share") for source in ("study", "seed", "test classes")],
        Column("half the interval", "CPU s, by more studies"),
        Column("half the interval", "CPU s, by more final runs"),
    ]
    rows = [_row(material, task, part) for part in effects]
    notes = ["More final runs cannot lessen what search and deal do, and more test classes are not for sale."]
    if not material.one_test(task):
        notes = ["Each study tests a fold of its own: that its people are others is part of study."]
    return make_table("variance", f"Where the variance of effects comes from, {task}", columns, rows, notes=notes)


def class_interval(evidence: Evidence, task: str) -> tuple[PairVerdict, float, float] | None:
    """The leader against the next recipe, with the 95 % interval for other test classes too, where it is wider."""
    leading = top(evidence, task)
    if leading is None or len(leading.sound) < 2:
        return None
    pair = leading.comparison.pair(leading.sound[0], leading.sound[1])
    part = parts(evidence.material, task, pair.a, pair.b)
    if part is None or part.classes is None or not part.classes.class_variance > 0:
        return None
    low, high = part.classes.low, part.classes.high
    return (pair, low, high) if high - low > pair.effect.high - pair.effect.low else None


def _row(material: Material, task: str, part: Parts) -> Row:
    error = math.sqrt(part.variance)
    cost, shares = _cost(material, task, part), part.shares
    classes = shares["test classes"]
    return Row(
        (
            Cell(part.a),
            Cell(formats.score(error, 4), error),
            *[Cell(formats.share(share), share) for share in (shares["study"], shares["seed"])],
            Cell(formats.NONE) if part.classes is None else Cell(formats.share(classes), classes),
            *[Cell(_seconds_text(cost[by]), cost[by]) for by in ("studies", "seeds")],
        )
    )


def _seconds_text(seconds: float) -> str:
    if math.isnan(seconds):
        return formats.NONE
    return formats.count(seconds) if math.isfinite(seconds) else "no number is enough"


def _cost(material: Material, task: str, part: Parts) -> dict[str, float]:
    """Seconds by more studies and by more final runs; NaN where no run measured its seconds."""
    prices = [_seconds(material, task, part.a, role) for role in ("trial", "candidate", "final")]
    trial, candidate, final = prices
    if math.isnan(final) or material.unit == "seed":
        return {"studies": math.nan, "seeds": math.nan}
    spent = Prices(trial_s=_or(trial, final), candidate_s=_or(candidate, final), final_s=final)
    return cost_of_halving(part.components, _search(material, part.a), material.experiment["budget"]["seeds"], spent)


def _search(material: Material, recipe: str) -> Search:
    """A recipe's search in a study; one with nothing to tune has none, and one of a single trial no candidates."""
    budget = material.experiment["budget"]
    trials = budget["trials"] if material.searched(recipe) else 0
    others = min(budget["candidates"], trials - 1)
    seeds = budget["candidate_seeds"] if others > 0 else 0
    return Search(trials=trials, candidates=max(0, others), candidate_seeds=seeds)


def _or(seconds: float, instead: float) -> float:
    return instead if math.isnan(seconds) else seconds


def _seconds(material: Material, task: str, recipe: str, role: str) -> float:
    """Mean seconds of a recipe's runs of one role: of the processor where they were measured."""
    rows = material.rows(task, recipe, role)
    column = next((name for name in SECONDS if name in rows), None)
    return float(rows[column].mean()) if column else math.nan
