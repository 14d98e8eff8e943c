"""A running experiment watched from outside: what is done, what is best, who works on it."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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
    store = Store(root)
    names = sorted(path.stem for path in (root / "experiments").glob("*.json"))
    if not names:
        raise StoreError(f"{root}: no experiment was run here")
    lines = [line for name in names for line in _experiment(store, name)]
    return [*lines, _driver(root)]


def _experiment(store: Store, name: str) -> list[str]:
    plan = store.read_plan(name)
    rows: list[Mapping[str, Any]] = plan["rows"]
    found = [(row, record) for row in rows if (record := store.read(row["run_id"]))]
    states = Counter(record["status"] for _, record in found)
    odd = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if state != "ok")
    line = f"{name}: {len(found)} of {plan['planned_runs']} runs done" + (f" ({odd})" if odd else "")
    if found:
        newest = max(_written(store, row["run_id"]) for row, _ in found)
        line += f"; last result {duration(max(0.0, time.time() - newest))} ago"  # a file's time is the wall's
    return [line, *_best(found)]


def _written(store: Store, run_id: str) -> float:
    return (store.folder(run_id) / "result.json").stat().st_mtime


def _best(found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """The highest validation score of each study so far."""
    best: dict[tuple[str, str], float] = {}
    trials: Counter[tuple[str, str]] = Counter()
    for row, record in found:
        if row["role"] != "trial":
            continue
        study = (f"{row['dataset']}/{row['protocol']}", row["recipe"])
        trials[study] += 1
        score = record.get("metrics", {}).get("val", {}).get("sphere.map_at_r")
        if score is not None:
            best[study] = max(score, best.get(study, score))
    if not best:
        return []
    widths = [max(len(study[place]) for study in best) for place in (0, 1)]
    lines = [
        f"  {task:<{widths[0]}}  {recipe:<{widths[1]}}  {score:.3f}  {trials[task, recipe]} trials"
        for (task, recipe), score in sorted(best.items())
    ]
    return ["  best validation MAP@R so far:", *lines]


def _driver(root: Path) -> str:
    note = driver.current(root)
    if note is None:
        return "no process is writing here now"
    who = f"process {note.get('pid', '?')} on {note.get('host', '?')} works on {note.get('experiment', '?')}"
    workers = note.get("workers", [])
    if note.get("host") != socket.gethostname() or not workers:
        return who
    alive = sum(_alive(pid) for pid in workers)
    return f"{who} with {alive} worker process{'es' if alive != 1 else ''} alive"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True
