"""What a report is made from: the plan of an experiment and the runs that are there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossbench.store import Store

PRIMARY = "test.sphere.map_at_r"
VALIDATION = "val.sphere.map_at_r"
REFERENCE = "softmax"

MOST_DRAWN, FEATURED = 12, 8  # recipes that figures show one by one: all up to the first number, else the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of the plan is there.

    Attributes:
        planned: rows of the results table of the whole experiment.
        finished: rows whose run is stored, whatever its status.
        missing: rows whose run is not stored yet.
        failed: stored runs that crashed or ran out of time.
    """

    planned: int
    finished: int
    missing: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether every planned run is there."""
        return self.missing == 0


@dataclass(frozen=True, kw_only=True)
class Material:
    """The plan, its runs as a table (finished ones only), and the store to fetch curves and arrays from."""

    plan: Mapping[str, Any]
    store: Store
    table: pd.DataFrame
    progress: Progress
    _arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.plan["name"])

    @property
    def experiment(self) -> Mapping[str, Any]:
        """The resolved experiment."""
        found: Mapping[str, Any] = self.plan["experiment"]
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        """`dataset/protocol` of each task in the order of the experiment."""
        return tuple(self.plan["provenance"])

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes in the order of the experiment."""
        return tuple(recipe["name"] for recipe in self.plan["recipes"])

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines."""
        return tuple(self.experiment["baselines"])

    @property
    def reference(self) -> str:
        """The recipe that effects are shown against: `softmax` where it takes part, else the first."""
        return REFERENCE if REFERENCE in self.recipes else self.recipes[0]

    def studies(self, task: str) -> int:
        """Planned studies of a task."""
        return int(self.plan["studies"][task])

    @cached_property
    def probe(self) -> Mapping[str, Any] | None:
        """What the cost probe measured; None where it did not run."""
        return self.store.read_probe(self.name)

    def losses(self, recipe: str) -> tuple[str, ...]:
        """The losses a recipe combines."""
        return next(tuple(entry["losses"]) for entry in self.plan["recipes"] if entry["name"] == recipe)

    @cached_property
    def _groups(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        groups = self.table.groupby(["task", "recipe", "role"], sort=False)
        return {(str(task), str(recipe), str(role)): rows for (task, recipe, role), rows in groups}

    @cached_property
    def _no_rows(self) -> pd.DataFrame:
        return self.table.iloc[:0]

    def columns(self, *prefixes: str) -> list[str]:
        """Names of the table's columns that start with one of the prefixes."""
        return [str(name) for name in self.table.columns if str(name).startswith(prefixes)]

    def rows(self, task: str, recipe: str, role: str | None = None) -> pd.DataFrame:
        """Finished rows of one recipe or baseline; the role is `final`, or `baseline` for a baseline."""
        return self._groups.get((task, recipe, self._role(recipe, role)), self._no_rows)

    def values(self, task: str, recipe: str, column: str, role: str | None = None) -> dict[int, float]:
        """Study to figure: its mean over the study's runs that measure it.

        NaN where none does, or where a run of the study failed or is missing.
        """
        role = self._role(recipe, role)
        rows, planned = self.rows(task, recipe, role), self._planned.get((task, recipe, role), Counter())
        found: dict[int, list[float]] = {}
        figures = rows[column] if column in rows else [math.nan] * len(rows)
        for study, value, status in zip(rows["study"], figures, rows["status"], strict=True):
            if status != "failed":
                found.setdefault(int(study), []).append(float(value))
        return {
            study: _mean(found[study]) if len(found.get(study, [])) == planned[study] else math.nan
            for study in sorted({int(study) for study in rows["study"]})
        }

    @cached_property
    def _planned(self) -> dict[tuple[str, str, str], Counter[int]]:
        """(task, recipe, role) to how many runs are planned by study."""
        found: dict[tuple[str, str, str], Counter[int]] = {}
        for row in self.plan["rows"]:
            key = f"{row['dataset']}/{row['protocol']}", row["recipe"], row["role"]
            found.setdefault(key, Counter())[row["study"]] += 1
        return found

    def _role(self, recipe: str, role: str | None) -> str:
        return role or ("baseline" if recipe in self.baselines else "final")

    def has(self, task: str, column: str) -> bool:
        """Whether any run of a task has that figure."""
        return column in self.table and bool(self.table.loc[self.table["task"] == task, column].notna().any())

    def folds(self, task: str) -> int:
        """How many folds the studies tested on; 1 where a task has one test."""
        rows = self.table.loc[self.table["task"] == task]
        return max(1, int(rows["fold"].nunique())) if "fold" in rows else 1

    def mean(self, task: str, recipe: str, column: str, role: str | None = None) -> float:
        """Mean over the studies that have the figure; NaN without any."""
        found = np.array([value for value in self.values(task, recipe, column, role).values() if value == value])
        return float(found.mean()) if found.size else float("nan")

    def featured(self, task: str) -> tuple[str, ...]:
        """The recipes that have a line or a panel of their own in figures, in the experiment's order.

        All of up to a dozen; of more, the reference and those of the highest mean test MAP@R, eight in all.
        """
        if len(self.recipes) <= MOST_DRAWN:
            return self.recipes
        means = {recipe: self.mean(task, recipe, PRIMARY) for recipe in self.recipes if recipe != self.reference}
        best = sorted(means, key=lambda recipe: -means[recipe] if means[recipe] == means[recipe] else math.inf)
        chosen = {self.reference, *best[: FEATURED - 1]}
        return tuple(recipe for recipe in self.recipes if recipe in chosen)

    def record(self, run_id: str) -> Mapping[str, Any]:
        """The whole record of a finished run."""
        return self.store.read(run_id) or {}

    def curves(self, task: str, recipe: str, curve: str) -> np.ndarray:
        """A curve of every final run, (runs, epochs + 1), NaN where a run ended earlier or has no value."""
        rows = self.rows(task, recipe)
        found = [
            [float("nan") if value is None else value for value in self.record(run).get("curves", {}).get(curve, [])]
            for run in rows["run_id"]
        ]
        length = max((len(values) for values in found), default=0)
        return np.array([values + [np.nan] * (length - len(values)) for values in found]).reshape(len(found), length)

    def representative(self, task: str, recipe: str) -> str | None:
        """Of the final runs that keep their embeddings that with the median score: what maps and histograms show."""
        rows = self.rows(task, recipe)
        if PRIMARY not in rows:
            return None
        rows = rows[rows["seed"] == 1].dropna(subset=[PRIMARY]).sort_values([PRIMARY, "study"])
        return str(rows["run_id"].iloc[(len(rows) - 1) // 2]) if len(rows) else None

    def arrays(self, run_id: str) -> dict[str, np.ndarray]:
        """The arrays stored to be drawn, read once."""
        if run_id not in self._arrays:
            self._arrays[run_id] = self.store.arrays(run_id)
        return self._arrays[run_id]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return math.fsum(known) / len(known) if known else math.nan


def gather(name: str, runs: Path) -> Material:
    """Read the plan of an experiment and the runs that are there.

    Raises:
        StoreError: no experiment of that name was run there.
    """
    store = Store(runs)
    plan = store.read_plan(name)
    everything = store.table(plan)
    table = everything[everything["status"] != "missing"].reset_index(drop=True).copy()  # of few blocks
    table.insert(1, "task", table["dataset"].str.cat(table["protocol"], sep="/"))
    planned = max(int(plan["planned_runs"]), len(everything))
    return Material(
        plan=plan,
        store=store,
        table=table,
        progress=Progress(
            planned=planned,
            finished=len(table),
            missing=planned - len(table),
            failed=int((table["status"] == "failed").sum()),
        ),
    )
