"""What `make bench` measures of stored runs: a folder of copies is one that a command takes for its own."""

from __future__ import annotations

import pytest

from benchmarks import start
from lossbench.store import Store
from lossbench.sweep import launch
from lossbench.sweep.sweep import Sweep


@pytest.mark.slow
def test_every_run_of_the_plan_is_stored_and_none_is_made_again(tmp_path, monkeypatch):
    few = [value for value in start.MANY if "seeds=" not in value]
    monkeypatch.setattr(start, "MANY", (*few, "budget.studies=2", "budget.seeds=3", "budget.longer=0"))
    plan = launch.prepare(start.ABLATION, start.MANY, [])
    made = start.Copies()
    Sweep(plan, Store(tmp_path), made, start.Silent()).run()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    checks = start.check_runs(tmp_path)
    assert checks.keys() == {"resume check", "dry run", "table load"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")} == before
    table = Store(tmp_path).table(Store(tmp_path).read_plan("ablation"))
    assert set(table["status"]) == {"ok"}
    assert set(table["run_id"]) == {path.parent.name for path in before}
