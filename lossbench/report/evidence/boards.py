"""Results of many experiments on the same tasks, joined where they may be compared and apart where they may not.

Two results are comparable where the data of the task have one checksum and the task, the budget and the setting are
the same: everything in the resolved file but recipes, names, claims and what it takes of a machine. Then their studies
have the same deals and seeds, and are paired.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.report.evidence.material import PRIMARY, Material, Progress
from lossbench.specification.spec import canonical
from lossbench.store import Store, foreign
from lossbench.store.records import RefusedError, printable

NO_SETTING = ("name", "question", "tasks", "recipes", "budget", "plugins", "params", "claims", "resources", "baselines")
Check = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One task of one experiment: the plan and the rows that are about it."""

    folder: str
    plan: Mapping[str, Any]
    store: Store
    task: str
    table: pd.DataFrame
    planned: int

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.plan["name"])

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What must be the same for results to be comparable, by part."""
        experiment = self.plan["experiment"]
        number = list(self.plan["provenance"]).index(self.task)
        task = experiment["tasks"][number]
        task = {**task, "dataset": task["dataset"].partition(":")[0]}
        return {
            "data": self.plan["provenance"][self.task]["data"],
            "task": task,
            "budget": experiment["budget"],
            "setting": {name: value for name, value in experiment.items() if name not in NO_SETTING},
        }

    @cached_property
    def key(self) -> str:
        """Results of one key are comparable."""
        return digest(self.settings)

    @cached_property
    def recipes(self) -> dict[str, Mapping[str, Any]]:
        """Recipes that have any final run here, with their definition."""
        there = set(self.table.loc[self.table["role"] == "final", "recipe"])
        return {each["name"]: each for each in self.plan["recipes"] if each["name"] in there}

    @property
    def modality(self) -> str:
        """`vectors` or `images`."""
        return "vectors" if self.task.startswith("features:") or "features" in set(self.table["recipe"]) else "images"

    @cached_property
    def stored_s(self) -> float:
        """When its newest final run was written into its folder, in seconds since 1970."""
        runs = self.table.loc[self.table["role"] == "final", "run_id"]
        return max((self.store.folder(str(run)) / "result.json").stat().st_mtime for run in runs)

    def scores(self, recipe: str) -> dict[int, float]:
        """Study to the mean test MAP@R of a recipe's final runs, as far as they are there."""
        rows = self.table[(self.table["recipe"] == recipe) & (self.table["role"] == "final")]
        found: dict[Any, Any] = rows.groupby("study")[PRIMARY].mean().to_dict() if PRIMARY in rows else {}
        return {int(study): float(score) for study, score in found.items()}

    def runs(self, recipe: str) -> frozenset[str]:
        """Final runs of a recipe."""
        rows = self.table[(self.table["recipe"] == recipe) & (self.table["role"] == "final")]
        return frozenset(rows["run_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A recipe as one experiment ran it: the newest of one definition is what a board compares."""

    label: str
    recipe: str
    entry: Entry
    newest: bool
    also: tuple[str, ...]

    @property
    def stored(self) -> str:
        """The day on which its newest run was stored, UTC."""
        return datetime.fromtimestamp(self.entry.stored_s, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Comparable results of one task."""

    entries: tuple[Entry, ...]

    @property
    def task(self) -> str:
        """As its first experiment calls it."""
        return self.entries[0].task

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """Every recipe of every experiment once, whose runs are not those of another one."""
        kinds: dict[tuple[bytes, int], list[tuple[str, list[Entry]]]] = {}
        for entry in self.entries:
            twins: Counter[bytes] = Counter()  # one recipe under several names of one experiment is no history
            for recipe, definition in entry.recipes.items():
                what = _definition(entry, definition)
                twins[what] += 1
                known = kinds.setdefault((what, twins[what]), [])
                for name, holders in known:
                    if entry.runs(recipe) == holders[0].runs(name):
                        holders.append(entry)
                        break
                else:
                    known.append((recipe, [entry]))
        return tuple(self._labelled(list(kinds.values())))

    @cached_property
    def material(self) -> Material:
        """The newest version of every recipe as one experiment of this task, so that tests are over all of them."""
        chosen = [version for version in self.versions if version.newest]
        first = self.entries[0]
        parts = [_rows(version.entry, version.recipe, version.label, self.task) for version in chosen]
        baselines: dict[str, pd.DataFrame] = {}
        for entry in self.entries:
            for name in entry.plan["experiment"]["baselines"]:
                baselines.setdefault(name, _rows(entry, name, name, self.task))
        table: pd.DataFrame = pd.concat(
            [part for part in (*parts, *baselines.values()) if len(part)], ignore_index=True
        )
        recipes = [{**version.entry.recipes[version.recipe], "name": version.label} for version in chosen]
        listed = [{"name": each["name"], "use": each["name"]} for each in recipes]
        experiment = {**first.plan["experiment"], "recipes": listed, "baselines": list(baselines)}
        rows = [
            {**row, "recipe": version.label, **_named(self.task)}
            for version in chosen for row in _planned(version.entry, version.recipe)
        ]  # fmt: skip
        rows += [
            {**row, **_named(self.task)}
            for name in baselines
            for row in next((_planned(entry, name) for entry in self.entries if _planned(entry, name)), [])
        ]
        dropped = {
            version.label: last
            for version in chosen
            if (last := version.entry.plan["dropped"][version.entry.task].get(version.recipe))
        }
        plan = {
            **first.plan,
            "name": f"board-{first.key}",
            "experiment": {
                **experiment,
                "tasks": [experiment["tasks"][list(first.plan["provenance"]).index(first.task)]],
            },
            "recipes": recipes,
            "provenance": {self.task: first.plan["provenance"][self.task]},
            "studies": {self.task: max(entry.plan["studies"][entry.task] for entry in self.entries)},
            "dropped": {self.task: dropped},
            "rows": rows,
        }
        progress = Progress(planned=len(rows), finished=len(table), missing=len(rows) - len(table), failed=0)
        return Material(plan=plan, store=_Together(self.entries), table=table, progress=progress)

    def _labelled(self, kinds: Sequence[Sequence[tuple[str, Sequence[Entry]]]]) -> Iterator[Version]:
        """Names as experiments give them; with the experiment where one name stands for two recipes."""
        latest = [max(known, key=lambda each: each[1][0].stored_s) for known in kinds]
        names, taken = [name for name, _ in latest], set[str]()
        for known, (name, newest) in zip(kinds, latest, strict=True):
            label = f"{name} ({newest[0].name})" if names.count(name) > 1 else name
            while label in taken:
                label += "′"
            taken.add(label)
            for recipe, holders in sorted(known, key=lambda each: each[1][0].stored_s):
                also = tuple(dict.fromkeys(entry.name for entry in holders))
                yield Version(label=label, recipe=recipe, entry=holders[0], newest=holders is newest, also=also)


class _Together(Store):
    """Reads the runs of several folders."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__(entries[0].store.root)
        self._stores = list({id(entry.store): entry.store for entry in entries}.values())

    def read(self, run_id: str) -> dict[str, Any] | None:
        """The record of a run, from whichever folder has it."""
        return next((found for store in self._stores if (found := store.read(run_id)) is not None), None)

    def read_probe(self, name: str) -> dict[str, Any] | None:
        """None: probes of several machines do not compare."""
        return None


@dataclass(slots=True)
class Gathered:
    """What folders gave: entries, and what was refused, by name."""

    entries: list[Entry] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def groups(self) -> list[Group]:
        """Comparable entries together, by task; those with most experiments first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.key, []).append(entry)
        groups = [Group(entries=tuple(own)) for own in found.values()]
        return sorted(groups, key=lambda group: (group.task, -len(group.entries)))


def gather(folders: Sequence[Path], check: Check = foreign.check_record) -> Gathered:
    """Read every experiment of runs folders that may come from anywhere.

    Args:
        check: raises a RefusedError for a record that is not to be trusted.
    """
    found = Gathered()
    for folder in folders:
        label = printable(str(folder))
        paths = sorted((folder / "experiments").glob("*.json"))
        if not paths:
            found.refused.append(f"{label}: is no runs folder: no experiment was run here")
        store = Store(folder)
        for path in paths:
            try:
                plan = foreign.read_plan(path)
                found.entries += _entries(label, plan, store, check, found)
            except (RefusedError, OSError) as error:
                found.refused.append(
                    f"{label}: experiments/{printable(path.name)} {getattr(error, 'strerror', None) or error}"
                )
    return found


def digest(content: Any) -> str:
    """Eight hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(canonical(content)).hexdigest()[:8]


def _entries(label: str, plan: Mapping[str, Any], store: Store, check: Check, found: Gathered) -> Iterator[Entry]:
    for row in plan["rows"]:
        record = store.read(row["run_id"])
        if record is not None:
            try:
                check(record)
            except RefusedError as error:
                raise RefusedError(f"is not shown: its run {row['run_id']} {error}") from error
    if store.damaged:
        found.refused.append(
            f"{label}: {len(store.damaged)} damaged runs left out: {', '.join(sorted(store.damaged)[:3])}"
        )
    everything = store.table(plan)
    everything.insert(1, "task", everything["dataset"].str.cat(everything["protocol"], sep="/"))
    for task in plan["provenance"]:
        own = everything[everything["task"] == task]
        there = own[own["status"] != "missing"].reset_index(drop=True)
        if (there["role"] == "final").any():
            yield Entry(folder=label, plan=plan, store=store, task=task, table=there, planned=len(own))
        else:
            found.refused.append(f"{label}: {plan['name']}, {task}: no final run is there yet")


def _definition(entry: Entry, recipe: Mapping[str, Any]) -> bytes:
    """What a recipe is, whatever it is called and whichever code ran it."""
    use = {each["name"]: each["use"] for each in entry.plan["experiment"]["recipes"]}.get(recipe["name"])
    parts = ("losses", "sampler", "searched", "defaults", "neck", "before_neck", "negatives")
    return canonical({"use": use, **{name: recipe[name] for name in parts if name in recipe}})


def _rows(entry: Entry, recipe: str, label: str, task: str) -> pd.DataFrame:
    return entry.table[entry.table["recipe"] == recipe].assign(recipe=label, task=task, **_named(task))


def _planned(entry: Entry, recipe: str) -> list[Mapping[str, Any]]:
    return [
        row
        for row in entry.plan["rows"]
        if row["recipe"] == recipe and f"{row['dataset']}/{row['protocol']}" == entry.task
    ]


def _named(task: str) -> dict[str, str]:
    dataset, _, protocol = task.partition("/")
    return {"dataset": dataset, "protocol": protocol}
