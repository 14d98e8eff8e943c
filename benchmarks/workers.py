"""Two workers against one: a whole experiment from an empty store to its table, small enough to wait for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.measure import ABLATION, Pairs, Row, at_least
from lossbench.store import load_results

SMALLER = ("training.epochs=3", "budget.trials=4", "budget.seeds=2", "claims=[]")


def rows() -> Iterator[Row]:
    """Wall seconds, as two processes work: meaningful where nothing else runs on the machine."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    tables = []
    for order in ((1, 2), (2, 1), (1, 2)):
        for workers in order:
            took, table = ablation(workers)
            seconds[workers].append(took)
            tables.append(table)
    pairs = Pairs(seconds[2], seconds[1])
    yield at_least(f"ablation of {len(tables[0])} rows, 2 workers against 1 (wall)", pairs, 1.8)
    equal = all(table.equals(tables[0]) for table in tables)
    yield Row(
        what="the results of those six, bit by bit, costs left out",
        ours="equal" if equal else "different",
        limit="equal",
        reached=equal,
    )


def ablation(workers: int) -> tuple[float, pd.DataFrame]:
    """Seconds of the command, report included, and its results without costs."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--runs", f"{folder}/runs", "--reports", f"{folder}/reports"]
        settings = [word for setting in SMALLER for word in ("--set", setting)]
        command = [
            sys.executable,
            "-m",
            "lossbench",
            "run",
            str(ABLATION),
            *settings,
            "--workers",
            str(workers),
            *places,
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took = time.perf_counter() - started
        table = load_results(Path(folder) / "reports" / "ablation")
    return took, table.drop(columns=[name for name in table.columns if name.startswith("cost.")])
