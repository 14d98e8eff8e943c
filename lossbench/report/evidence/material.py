"""What a report is made from: the plan of an experiment and the runs that are there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
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

    @property
    def unit(self) -> str:
        """What effects are paired over: a `study`; of embeddings from elsewhere, which nobody tuned here, a `seed`."""
        return _unit(self.plan)

    @property
    def tuned(self) -> bool:
        """Whether anything was searched."""
        return self.experiment["budget"]["trials"] > 1 and any(entry["searched"] for entry in self.plan["recipes"])

    @cached_property
    def studies(self) -> tuple[int, ...]:
        """Studies whose final runs are planned, whatever is there of them."""
        return tuple(sorted({study for _, _, role, study in self._planned if role in ("final", "default")}))

    @cached_property
    def _planned(self) -> Mapping[tuple[str, str, str, int], int]:
        """(task, recipe, role, study) to how many runs are planned."""
        rows = self.plan["rows"]
        return Counter(
            (f"{row['dataset']}/{row['protocol']}", row["recipe"], row["role"], _study(row, self.unit)) for row in rows
        )

    def planned_studies(self, task: str, recipe: str) -> tuple[int, ...]:
        """Studies in which a recipe's final runs are planned; fewer than all where it was dropped."""
        return tuple(study for study in self.studies if self._planned.get((task, recipe, "final", study)))

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
        """Study to the mean of a figure over the study's runs that have it; where a task has folds, over them first.

        A figure that only the first run of a study measures is that run's. NaN where a planned run of the study failed
        or is missing, where a fold is, and where no run has the figure.
        """
        rows = self.rows(task, recipe, role)
        figures = rows[column] if column in rows else [math.nan] * len(rows)
        found: dict[int, dict[int, list[float]]] = {}
        counted: Counter[int] = Counter()
        for study, seed, status, figure in zip(rows["study"], rows["seed"], rows["status"], figures, strict=True):
            found.setdefault(int(study), {}).setdefault(int(seed), []).append(float(figure))
            counted[int(study)] += status != "failed"
        role = role or self._final_role(recipe)
        return {
            study: self._of_study(task, list(runs.values()))
            if counted[study] >= self._planned.get((task, recipe, role, study), 0)
            else math.nan
            for study, runs in found.items()
        }

    def _of_study(self, task: str, runs: list[list[float]]) -> float:
        """Mean over runs (seeds) of their means over folds."""
        measured = [folds for folds in runs if any(value == value for value in folds)]
        if not measured or any(len(folds) != self.folds(task) for folds in measured):
            return math.nan
        return math.fsum(math.fsum(folds) / len(folds) for folds in measured) / len(measured)

    def _final_role(self, recipe: str) -> str:
        return "baseline" if recipe in self.baselines else "final"

    def has(self, task: str, column: str) -> bool:
        """Whether any run of a task has that figure."""
        return column in self.table and bool(self.table.loc[self.table["task"] == task, column].notna().any())

    def folds(self, task: str) -> int:
        """How many runs make the score of one seed of a study."""
        return self._folds.get(task, 1)

    @cached_property
    def _folds(self) -> dict[str, int]:
        folds = [task.get("folds") or 1 for task in self.experiment["tasks"]]
        return dict(zip(self.tasks, folds, strict=True))

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

        It is the mean over the final runs of the study, folds included.
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


def _unit(plan: Mapping[str, Any]) -> str:
    return "seed" if plan["experiment"]["budget"]["trials"] == 0 else "study"


def _study(row: Mapping[str, Any], unit: str) -> int:
    """The study of a row of the plan; where seeds take the place of studies, its seed."""
    return int(row["seed"] if unit == "seed" else row.get("study", 1))


def gather(name: str, runs: Path) -> Material:
    """Read the plan of an experiment and the runs that are there.

    Raises:
        StoreError: no experiment of that name was run there.
    """
    store = Store(runs)
    plan = store.read_plan(name)
    everything = store.table(plan)
    table = everything[everything["status"] != "missing"].reset_index(drop=True).copy()  # of few blocks
    if _unit(plan) == "seed":
        table["study"] = table["seed"]
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
