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

from lossbench.specification import primary
from lossbench.specification.primary import PRIMARY as PRIMARY
from lossbench.specification.primary import VALIDATION as VALIDATION
from lossbench.store import Store

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
    _values: dict[tuple[str, str, str, str], Mapping[int, float]] = field(default_factory=dict)
    _studies: dict[tuple[str, str, str], tuple[list[int], set[int]]] = field(default_factory=dict)

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
        return primary.reference(self.recipes)

    @property
    def unit(self) -> str:
        """What effects are paired over: a `study`; of embeddings from elsewhere, which nobody tuned here, a `seed`."""
        return "seed" if self.experiment["budget"]["trials"] == 0 else "study"

    @property
    def tuned(self) -> bool:
        """Whether anything was searched."""
        return self.experiment["budget"]["trials"] > 1 and any(map(self.searched, self.recipes))

    def searched(self, recipe: str) -> Mapping[str, Any]:
        """The parameters that a recipe tunes, with their ranges."""
        return next((entry["searched"] for entry in self.plan["recipes"] if entry["name"] == recipe), {})

    def studies(self, task: str) -> int:
        """Planned studies of a task."""
        return int(self.plan["studies"][task])

    def dealt(self, task: str) -> bool:
        """Whether every study deals training and validation anew, as its runs say (before there are any, the task)."""
        for recipe in self.recipes:
            for run in self.rows(task, recipe)["run_id"][:1]:
                if "spec" in self.record(str(run)):
                    return bool(self.record(str(run))["spec"].get("deal") is not None)
        settings = self.experiment["tasks"][self.tasks.index(task)]
        return settings.get("splits", "dealt") == "dealt" and self.one_test(task)

    def one_test(self, task: str) -> bool:
        """Whether all studies test on the same samples: under verification each tests a fold of its own."""
        protocol: str = self.experiment["tasks"][self.tasks.index(task)]["protocol"]
        return protocol != "verification"

    def dropped(self, task: str) -> Mapping[str, int]:
        """Recipes that left the race on a task, with the last study that each took part in."""
        found: Mapping[str, int] = self.plan.get("dropped", {}).get(task, {})
        return found

    @cached_property
    def _planned(self) -> Mapping[tuple[str, str, str, int], int]:
        """(task, recipe, role, study) to how many runs are planned."""
        rows = self.plan["rows"]
        return Counter(
            (f"{row['dataset']}/{row['protocol']}", row["recipe"], row["role"], int(row["study"])) for row in rows
        )

    def complete(self, task: str, recipe: str, role: str | None = None) -> tuple[int, ...]:
        """Studies of which every planned run is there, whether it failed or not."""
        role = role or self._final_role(recipe)
        there = Counter(int(study) for study in self.rows(task, recipe, role)["study"])
        return tuple(study for study in sorted(there) if there[study] == self._planned[task, recipe, role, study])

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
        role = role or self._final_role(recipe)
        return self._groups.get((task, recipe, role), self._no_rows)

    def values(self, task: str, recipe: str, column: str, role: str | None = None) -> dict[int, float]:
        """Study to the mean of a figure over the study's runs that measure it.

        A figure that only the first run of a study measures is that run's. NaN where none has it, and where a run of
        the study failed or is missing.
        """
        key = (task, recipe, column, role or self._final_role(recipe))
        if key not in self._values:  # tables, figures and sentences ask for the same ones, over thousands of rows
            self._values[key] = self._means(*key)
        return dict(self._values[key])

    def _means(self, task: str, recipe: str, column: str, role: str) -> dict[int, float]:
        rows = self.rows(task, recipe, role)
        studies, whole = self._studied(task, recipe, role)
        figures = rows[column].tolist() if column in rows else [math.nan] * len(rows)
        found: dict[int, list[float]] = {}
        for study, figure in zip(studies, figures, strict=True):
            found.setdefault(study, []).append(float(figure))
        return {study: _mean(own) if study in whole else math.nan for study, own in sorted(found.items())}

    def _studied(self, task: str, recipe: str, role: str) -> tuple[list[int], set[int]]:
        """The study of every row, and those of which all runs are there and none failed: once for all figures."""
        key = (task, recipe, role)
        if key not in self._studies:
            rows = self.rows(task, recipe, role)
            broken = set(rows.loc[rows["status"] == "failed", "study"].astype(int))
            self._studies[key] = rows["study"].astype(int).tolist(), set(self.complete(*key)) - broken
        return self._studies[key]

    def _final_role(self, recipe: str) -> str:
        return "baseline" if recipe in self.baselines else "final"

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
        """A curve of every study, (studies, epochs + 1), NaN where its runs ended earlier or have no value there.

        It is the mean over the final runs of the study.
        """
        rows = self.rows(task, recipe)
        found = [
            [math.nan if value is None else value for value in self.record(run).get("curves", {}).get(curve, [])]
            for run in rows["run_id"]
        ]
        length = max((len(values) for values in found), default=0)
        padded = np.full((len(found), length), math.nan)
        for row, values in zip(padded, found, strict=True):
            row[: len(values)] = values
        studies = rows["study"].to_numpy()
        means = [padded[studies == study].mean(axis=0) for study in np.unique(studies)]
        return np.array(means).reshape(len(means), length)

    def epochs(self, task: str, recipe: str) -> np.ndarray:
        """The epochs at which a recipe's curves have their values: those that were validated, 0 first."""
        found = [self.record(run).get("curves", {}).get("epoch", []) for run in self.rows(task, recipe)["run_id"]]
        return np.array(max(found, key=len, default=[]), dtype=int)

    def whole(self, task: str, recipe: str) -> pd.DataFrame:
        """The final runs that measured everything and kept what figures draw: the first of each study."""
        rows = self.rows(task, recipe)
        return rows[rows["seed"] == rows.groupby("study")["seed"].transform("min")]

    def representative(self, task: str, recipe: str) -> str | None:
        """Of those runs the one with the median score (the lower of two): what maps and histograms show."""
        rows = self.whole(task, recipe)
        if PRIMARY not in rows:
            return None
        rows = rows.dropna(subset=[PRIMARY]).sort_values([PRIMARY, "study", "seed"])
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
