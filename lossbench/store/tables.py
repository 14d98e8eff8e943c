"""The results table: one row a planned run, one column a figure, of as many rows as there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

ROW_COLUMNS = ["experiment", "dataset", "protocol", "study", "recipe", "role", "trial", "seed", "run_id", "status"]
METRIC_GROUPS = ("train", "val", "test")
GROUPS = ("", *METRIC_GROUPS, "cost")  # of what a run shows


def plan_table(plan: Mapping[str, Any], figures: Callable[[str], Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """The table of a plan. Runs are read one after another, and of each only its numbers stay.

    Args:
        figures: a run id to what the table shows of it, by group of columns.
    """
    rows = plan["rows"]
    named = [{"experiment": plan["name"], "study": 1} | row for row in rows]
    lead = [{key: row[key] for key in ROW_COLUMNS[:-1]} for row in named]
    folds = [{} if row.get("fold") is None else {"fold": row["fold"]} for row in rows]
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row["run_id"], []).append(place)
    status = [""] * len(rows)
    columns = {group: Columns(len(rows)) for group in GROUPS}
    for run_id, own in places.items():
        found = figures(run_id)
        for place in own:
            status[place] = found[""]["status"]
        columns[""].put(own, {name: value for name, value in found[""].items() if name != "status"})
        for group in GROUPS[1:]:
            columns[group].put(own, found[group])
    params = _columns([row["params"] for row in rows]).add_prefix("param.")
    parts = [columns[group].table().add_prefix(f"{group}." if group else "") for group in GROUPS]
    return _in_order(
        pd.concat([_columns(lead), _columns(folds), params, pd.DataFrame({"status": status}), *parts], axis=1)
    )


class Columns:
    """Columns of numbers that are filled row by row: eight bytes a cell, whatever the runs hold beside them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: dict[str, np.ndarray] = {}
        self._whole: dict[str, int] = {}  # cells that hold whole numbers

    def put(self, places: Iterable[int], values: Mapping[str, Any]) -> None:
        """Set what a run has, in each of its rows; null is NaN."""
        for name, value in values.items():
            if name not in self._found:
                self._found[name] = np.full(self._size, math.nan)
                self._whole[name] = 0
            for place in places:
                self._found[name][place] = math.nan if value is None else value
                self._whole[name] += type(value) is int

    def table(self) -> pd.DataFrame:
        """The columns; one that holds a whole number in every row holds whole numbers."""
        whole = {name for name, count in self._whole.items() if count == self._size}
        found = {name: cells.astype(np.int64) if name in whole else cells for name, cells in self._found.items()}
        return pd.DataFrame(found, index=range(self._size))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in the documented order, rows sorted by them."""
    groups = ["param.", "train.", "val.", "test.", "cost."]
    found = {group: sorted(name for name in table.columns if name.startswith(group)) for group in groups}
    middle = [name for name in ("best_epoch", "diverged_epoch") if name in table.columns]
    lead = found.pop("param.")
    if "fold" in table:
        lead.insert(0, "fold")
        table = table.astype({"fold": "Int64"})
    table = table[ROW_COLUMNS + lead + middle + [name for group in found.values() for name in group]]
    return table.sort_values(ROW_COLUMNS, ignore_index=True)


def _columns(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One column a name that any run has; null, in a column of nothing else too, is NaN."""
    table = pd.DataFrame(found)
    return table.astype(dict.fromkeys(table.columns[table.isna().all()], float))
