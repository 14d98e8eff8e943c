"""A running experiment watched from outside: what is done, what is best, who works on it."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lossbench.store import Store, StoreError
from lossbench.sweep import driver
from lossbench.sweep.progress import duration


def status(root: Path) -> list[str]:
    """Lines about every experiment of a runs folder and about the process that drives it.

    Raises:
        StoreError: the folder holds no experiment.
    """
    found = look(root)
    return [*(line for each in found["experiments"] for line in _lines(each)), _driver_line(found["driver"])]


def look(root: Path) -> dict[str, Any]:
    """The same as plain values: `experiments`, and `driver` or None.

    Raises:
        StoreError: the folder holds no experiment.
    """
    store = Store(root)
    names = sorted(path.stem for path in (root / "experiments").glob("*.json"))
    if not names:
        raise StoreError(f"{root}: no experiment was run here")
    return {"experiments": [_experiment(store, name) for name in names], "driver": _driver(root)}


def _experiment(store: Store, name: str) -> dict[str, Any]:
    plan = store.read_plan(name)
    rows: list[Mapping[str, Any]] = plan["rows"]
    found = [(row, record) for row in rows if (record := store.read(row["run_id"]))]
    newest = max((_written(store, row["run_id"]) for row, _ in found), default=None)
    return {
        "name": name,
        "done": len(found),
        "planned": plan["planned_runs"],
        "states": dict(sorted(Counter(record["status"] for _, record in found).items())),
        "last_result_s_ago": None if newest is None else max(0.0, time.time() - newest),  # a file's time is the wall's
        "studies": _studies(plan, {row["run_id"] for row, _ in found}),
        "best": _best(found),
    }


def _studies(plan: Mapping[str, Any], stored: Set[str]) -> list[dict[str, Any]]:
    """Of each task how many studies are there whole, the first ones in order, and how many are planned by now."""
    recipes = [recipe["name"] for recipe in plan.get("recipes", [])]
    rows: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in plan["rows"]:
        rows.setdefault((f"{row['dataset']}/{row['protocol']}", row["study"]), []).append(row)
    found = []
    for task, until in plan.get("studies", {}).items():
        left = plan["dropped"][task]
        wanted = [{name for name in recipes if left.get(name, study) >= study} for study in range(1, until + 1)]
        whole = [_is_whole(rows.get((task, study), []), of, stored) for study, of in enumerate(wanted, 1)]
        found.append({"task": task, "done": [*whole, False].index(False), "planned": until})
    return found


def _is_whole(rows: Sequence[Mapping[str, Any]], recipes: Set[str], stored: Set[str]) -> bool:
    """Whether every recipe has its final runs, which are planned last, and every row of a study is stored."""
    return recipes <= {row["recipe"] for row in rows if row["role"] == "final"} and all(
        row["run_id"] in stored for row in rows
    )


def _written(store: Store, run_id: str) -> float:
    return (store.folder(run_id) / "result.json").stat().st_mtime


def _best(found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The highest validation MAP@R of each recipe's trials so far."""
    best: dict[tuple[str, str], float] = {}
    trials: Counter[tuple[str, str]] = Counter()
    for row, record in found:
        if row["role"] != "trial":
            continue
        search = (f"{row['dataset']}/{row['protocol']}", row["recipe"])
        trials[search] += 1
        score = record.get("metrics", {}).get("val", {}).get("sphere.map_at_r")
        if score is not None:
            best[search] = max(score, best.get(search, score))
    return [
        {"task": task, "recipe": recipe, "val_map_at_r": score, "trials": trials[task, recipe]}
        for (task, recipe), score in sorted(best.items())
    ]


def _driver(root: Path) -> dict[str, Any] | None:
    """Who writes into the folder, and how many of its workers are alive, where they are of this machine."""
    note = driver.current(root)
    if note is None:
        return None
    found = {name: note.get(name) for name in ("pid", "host", "experiment")}
    workers = note.get("workers", [])
    known = note.get("host") == socket.gethostname() and workers
    return {**found, "workers_alive": sum(map(_alive, workers)) if known else None}


def _lines(found: Mapping[str, Any]) -> list[str]:
    odd = ", ".join(f"{count} {state}" for state, count in found["states"].items() if state != "ok")
    line = f"{found['name']}: {found['done']} of {found['planned']} runs done" + (f" ({odd})" if odd else "")
    if found["last_result_s_ago"] is not None:
        line += f"; last result {duration(found['last_result_s_ago'])} ago"
    counted = [f"  {each['task']}: {each['done']} of {each['planned']} studies" for each in found["studies"]]
    best = found["best"]
    if not best:
        return [line, *counted]
    widths = [max(len(each[name]) for each in best) for name in ("task", "recipe")]
    rows = [
        f"  {each['task']:<{widths[0]}}  {each['recipe']:<{widths[1]}}  {each['val_map_at_r']:.3f}  "
        f"{each['trials']} trials"
        for each in best
    ]
    return [line, *counted, "  best validation MAP@R so far:", *rows]


def _driver_line(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no process is writing here now"
    pid, host, experiment = (found[name] or "?" for name in ("pid", "host", "experiment"))
    who = f"process {pid} on {host} works on {experiment}"
    alive = found["workers_alive"]
    return who if alive is None else f"{who} with {alive} worker process{'es' if alive != 1 else ''} alive"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True
