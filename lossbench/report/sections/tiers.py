"""What a board says of comparable results: tiers by tests, coverage, history, and what stands apart and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lossbench.report.evidence.boards import Group, Version
from lossbench.report.evidence.comparisons import Evidence, summary
from lossbench.report.evidence.leaders import top
from lossbench.report.evidence.material import PRIMARY
from lossbench.report.sections.findings import verdict_cell
from lossbench.report.sections.recipe_rows import mean_cell, troubles_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.effects import paired_effect
from lossbench.statistics.verdicts import Comparison

TIERS = (
    "A tier holds the highest mean among the recipes left and those not shown to be worse than it, by paired tests "
    "over all pairs of the group at fixed looks; within a tier nobody is ahead. Below seven studies there is no tier."
)
COSTS = "Costs are of runs on whatever machines made them: they describe, and support no claim."
NONE = "no tier"


def tiers(evidence: Evidence, task: str) -> dict[str, int]:
    """Recipe to tier, 1 for the leading group; without those in trouble, and empty before the first look.

    In a family of leaders all that left the lead are tier 2: their pairs were not tested.
    """
    found, comparison = top(evidence, task), evidence.primary[task]
    if found is None or comparison is None or comparison.look is None:
        return {}
    tier, left = 0, list(found.sound)
    tier_of: dict[str, int] = {}
    while left:
        tier += 1
        deep = comparison.family == "leaders" and tier > 1
        members = left if deep else _not_worse(comparison, left)
        tier_of |= dict.fromkeys(members, tier)
        left = [name for name in left if name not in tier_of]
    return tier_of


def table(group: Group, evidence: Evidence) -> Table:
    """The recipes of a group by tier, quality and cost side by side."""
    task, material = group.task, evidence.material
    tier_of, comparison = tiers(evidence, task), evidence.primary[task]
    also = {version.label: version.also for version in group.versions if version.newest}
    columns = [
        Column("recipe", numeric=False),
        Column("tier", "by tests"),
        Column("MAP@R", "mean, ↑"),
        Column("95 % interval", "unadjusted"),
        Column("vs the highest", "paired effect"),
        Column("p", "adjusted"),
        Column("verdict", "vs the highest", numeric=False),
        Column("P@1", "mean, ↑"),
        Column("training", "CPU s a run"),
        Column("tuning", "s, all trials"),
        Column("studies", "complete"),
        Column("troubles", "of final runs", numeric=False),
        Column("experiments", numeric=False),
    ]
    order = [standing.recipe for standing in comparison.ranking] if comparison else []
    order = sorted(order, key=lambda name: tier_of.get(name, len(order)))
    order += [name for name in material.recipes if name not in order]
    rows = [_row(evidence, task, name, tier_of, order[0], also[name]) for name in order]
    caption = f"{task}, {_budget(group.entries[0].settings['budget'])}"
    return make_table(f"tiers-{group.entries[0].key}", caption, columns, rows, notes=(TIERS, COSTS))


def coverage(groups: Sequence[Group], found: Mapping[str, Mapping[str, int]]) -> Table:
    """Recipes by groups: the tier in each, and in how many a recipe leads.

    Args:
        found: group key to recipe to tier.
    """
    labels = list(dict.fromkeys(version.label for group in groups for version in group.versions if version.newest))
    columns = [
        Column("recipe", numeric=False),
        Column("groups", "of comparable results"),
        Column("leading", "in so many"),
        *[Column(group.task, f"group {group.entries[0].key}", numeric=False) for group in groups],
    ]
    rows = []
    for label in labels:
        cells = [
            _tier_cell(found[group.entries[0].key].get(label), any(each.label == label for each in group.versions))
            for group in groups
        ]
        there = sum(bool(cell.text.strip("–")) for cell in cells)
        leading = sum(found[group.entries[0].key].get(label) == 1 for group in groups)
        rows.append(Row((Cell(label), Cell(str(there), float(there)), Cell(str(leading), float(leading)), *cells)))
    rows.sort(key=lambda row: row.cells[0].text)
    note = "Sorted by name. Counts describe where a recipe was tried; groups are no sample from which to rank."
    return make_table("coverage", "Coverage: the tier in each group", columns, rows, notes=(note,))


def history(groups: Sequence[Group]) -> Table:
    """Versions of one recipe under other code or libraries, oldest first, each against the one before it."""
    columns = [
        Column("recipe", numeric=False),
        Column("task", numeric=False),
        Column("experiments", numeric=False),
        Column("stored", "UTC", numeric=False),
        Column("code", "of the experiment", numeric=False),
        Column("libraries", numeric=False),
        Column("MAP@R", "mean, ↑"),
        Column("change", "paired"),
        Column("95 % interval", "unadjusted"),
    ]
    rows = []
    for group in groups:
        known: dict[str, list[Version]] = {}
        for version in group.versions:
            known.setdefault(version.label, []).append(version)
        rows += [row for own in known.values() if len(own) > 1 for row in _versions(group, own)]
    note = "Only the newest version takes part in tiers. A day is that on which its files were written where they lie."
    return make_table("history", "History", columns, rows, notes=(note,))


def apart(groups: Sequence[Group]) -> Table:
    """Groups about one data set and protocol that are not joined, and in what they differ from the first of them."""
    columns = [
        Column("task", numeric=False),
        Column("group", numeric=False),
        Column("experiments", numeric=False),
        Column("not joined with", numeric=False),
        Column("because of", numeric=False),
    ]
    first: dict[tuple[str, str], Group] = {}
    rows = []
    for group in groups:
        task = group.entries[0].settings["task"]
        base = first.setdefault((task["dataset"], task["protocol"]), group)
        if base is not group:
            why = "; ".join(_differences(base.entries[0].settings, group.entries[0].settings))
            cells = (group.task, group.entries[0].key, _names(group), f"{base.entries[0].key} ({_names(base)})", why)
            rows.append(Row(tuple(map(Cell, cells))))
    return make_table("apart", "Not joined, as they do not compare", columns, rows)


def _not_worse(comparison: Comparison, names: Sequence[str]) -> list[str]:
    first = names[0]
    return [name for name in names if name == first or comparison.pair(first, name).verdict != "better"]


def _row(
    evidence: Evidence, task: str, name: str, tier_of: Mapping[str, int], highest: str, also: Sequence[str]
) -> Row:
    material, comparison = evidence.material, evidence.primary[task]
    found = summary(material, task, name, PRIMARY)
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    pair = comparison.pair(name, highest) if comparison and name != highest and {name, highest} <= known else None
    verdict, mark = ("highest", "muted") if name == highest else verdict_cell(pair)
    trials = material.rows(task, name, "trial")
    tuning = float(trials["cost.run_wall_s"].sum()) if "cost.run_wall_s" in trials and len(trials) else float("nan")
    cpu = material.mean(task, name, "cost.train_cpu_s")
    studies = sum(value == value for value in material.values(task, name, PRIMARY).values())
    return Row(
        (
            Cell(name),
            _tier_cell(tier_of.get(name), True),
            Cell(formats.score(float(found.mean)), float(found.mean), "strong"),
            Cell(formats.interval(float(found.low), float(found.high)), float(found.low)),
            Cell(formats.signed(pair.effect.mean), pair.effect.mean) if pair else Cell(formats.NONE),
            Cell(formats.p_value(pair.p_adjusted), pair.p_adjusted) if pair else Cell(formats.NONE),
            Cell(verdict, mark=mark),
            mean_cell(material, task, name, "test.sphere.precision_at_1"),
            Cell(formats.score(cpu, 2), cpu),
            Cell(formats.score(tuning, 1), tuning),
            Cell(str(studies), float(studies)),
            troubles_cell(material.rows(task, name)["status"]),
            Cell(", ".join(also)),
        )
    )


def _tier_cell(tier: int | None, there: bool) -> Cell:
    if tier is None:
        return Cell(NONE if there else formats.NONE, mark="muted")
    return Cell(f"{tier}{' (leading)' if tier == 1 else ''}", float(tier), "up" if tier == 1 else "")


def _versions(group: Group, versions: Sequence[Version]) -> Iterator[Row]:
    before: dict[int, float] = {}
    for version in versions:
        scores = version.entry.scores(version.recipe)
        common = sorted(scores.keys() & before.keys())
        effect = paired_effect([scores[study] for study in common], [before[study] for study in common])
        provenance = version.entry.plan["provenance"][version.entry.task]
        own = sum(scores.values()) / len(scores) if scores else float("nan")
        yield Row(
            (
                Cell(version.label),
                Cell(group.task),
                Cell(", ".join(version.also)),
                Cell(version.stored),
                Cell(provenance["code"]),
                Cell(", ".join(f"{name} {number}" for name, number in provenance["libraries"])),
                Cell(formats.score(own), own),
                Cell(formats.signed(effect.mean), effect.mean) if common else Cell(formats.NONE),
                Cell(formats.interval(effect.low, effect.high), effect.low) if common else Cell(formats.NONE),
            )
        )
        before = scores


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Settings that differ, with both values: `budget.trials 6, here 4`; of data, only that they do."""
    for name in dict.fromkeys([*a, *b]):
        left, right = a.get(name), b.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from _differences(left, right, f"{place}{name}.")
        elif left != right:
            yield "other data" if place + name == "data" else f"{place}{name} {_value(left)}, here {_value(right)}"


def _value(value: Any) -> str:
    return formats.shortened(value if isinstance(value, str) else json.dumps(value), 40)


def _names(group: Group) -> str:
    return ", ".join(dict.fromkeys(entry.name for entry in group.entries))


def _budget(budget: Mapping[str, Any]) -> str:
    """`7 studies of 6 trials`."""
    studies = budget["studies"]
    least = f"{studies['least']} to " if isinstance(studies, Mapping) else ""
    most = studies["most"] if isinstance(studies, Mapping) else studies
    return f"{least}{formats.counted(most, 'study')} of {formats.counted(budget['trials'], 'trial')}"


def budget_text(group: Group) -> str:
    """The budget of a group in a few words, by which a page filters."""
    return _budget(group.entries[0].settings["budget"])
