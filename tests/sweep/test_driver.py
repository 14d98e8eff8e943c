"""One driver for a runs folder, damaged files in it, and what `lossbench status` says of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from experiments import ABLATION, TINY, Quiet, sweep, tiny_plan
from lossbench.cli import main
from lossbench.executors.processes import ProcessExecutor, SerialExecutor
from lossbench.specification.spec import SCHEMA
from lossbench.store import KEPT_RECORDS, Store, StoreError
from lossbench.store.records import dump, with_checksum
from lossbench.sweep import driver, placing
from lossbench.sweep.status import look, status
from lossbench.sweep.sweep import Sweep

ONE = ("training.epochs=1", "budget.trials=1", "budget.seeds=1", 'recipes=["softmax"]')


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = tiny_plan(*ONE)
    store, _ = sweep(plan, tmp_path_factory.mktemp("runs"), exported=True)
    return plan, store


def copied(store: Store, folder: Path) -> Store:
    subprocess.run(["cp", "-r", str(store.root), str(folder)], check=True)
    return Store(folder)


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that drives the folder until its input ends."""
    code = (
        "import sys, pathlib\nfrom lossbench.sweep import driver\n"
        "with driver.driving(pathlib.Path(sys.argv[1]), 'other') as note:\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_driver_is_refused_in_one_line_and_let_in_when_the_first_was_killed(tmp_path):
    (tmp_path / "runs").mkdir()
    first = hold(tmp_path / "runs")
    arguments = ["run", str(ABLATION), "--workers", "0", "--runs", str(tmp_path / "runs")]
    arguments += ["--reports", str(tmp_path / "reports")]
    for value in (*TINY, *ONE):
        arguments += ["--set", value]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert len(refused.output.splitlines()) == 1
    assert f"process {first.pid} on " in refused.output
    assert f"process {first.pid} on" in status_of(tmp_path / "runs")
    first.kill()
    first.wait()
    assert driver.current(tmp_path / "runs") is None
    with driver.driving(tmp_path / "runs", "mine"):
        assert driver.current(tmp_path / "runs")["pid"] == os.getpid()


def test_the_status_as_json_says_what_the_lines_say(finished):
    _, store = finished
    done = CliRunner().invoke(main, ["status", str(store.root), "--json"])
    found = json.loads(done.output)
    (experiment,) = found["experiments"]
    rows = store.read_plan("ablation")["rows"]
    assert (experiment["name"], experiment["done"]) == ("ablation", len(rows))
    assert experiment["states"] == {"ok": experiment["done"]}
    (best,) = experiment["best"]
    (trial,) = [store.read(row["run_id"]) for row in rows if row["role"] == "trial"]
    assert best["val_map_at_r"] == trial["metrics"]["val"]["sphere.map_at_r"]
    assert (best["task"], best["recipe"], best["trials"]) == ("digits/closed-set", "softmax", 1)
    assert found["driver"] is None
    lines = status(store.root)
    assert f"ablation: {experiment['done']} of {experiment['planned']} runs done" in lines[0]
    assert f"{best['val_map_at_r']:.3f}  1 trials" in lines[3]
    with driver.driving(store.root, "mine"):
        assert look(store.root)["driver"]["pid"] == os.getpid()


def status_of(root: Path) -> str:
    (root / "experiments").mkdir(exist_ok=True)
    plan = {"schema": SCHEMA, "name": "other", "rows": [], "planned_runs": 3}
    Store(root).write_plan(plan)
    return "\n".join(status(root))


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "edited": lambda path: path.write_text(path.read_text().replace('"ok"', '"collapsed"')),
    "empty": lambda path: path.write_bytes(b""),
    "bytes": lambda path: path.write_bytes(b"\xff\x00\xfe"),
    "list": lambda path: path.write_text("[1, 2]"),
    "another version": lambda path: path.write_bytes(
        with_checksum(dump({**json.loads(path.read_bytes()), "schema": SCHEMA + 1}))
    ),
    "missing array": lambda path: (path.parent / "embeddings.npz").unlink(),
    "short array": lambda path: os.truncate(path.parent / "embeddings.npz", 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_named_in_a_line_and_run_again(finished, tmp_path, damage):
    plan, undisturbed = finished
    store = copied(undisturbed, tmp_path / "runs")
    victim = next(row["run_id"] for row in store.read_plan("ablation")["rows"] if row["role"] == "final")
    whole = (store.folder(victim) / "result.json").read_bytes()
    DAMAGES[damage](store.folder(victim) / "result.json")
    _, progress = sweep(plan, store.root)
    assert progress.messages == [f"run {victim}: what is stored is damaged; it is run again"]
    again = json.loads((store.folder(victim) / "result.json").read_bytes())
    assert again["metrics"] == json.loads(whole)["metrics"]


def test_arrays_that_were_changed_are_not_drawn(finished, tmp_path):
    store = copied(finished[1], tmp_path / "runs")
    victim = next(row["run_id"] for row in store.read_plan("ablation")["rows"] if row["role"] == "final")
    path = store.folder(victim) / "embeddings.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"embeddings\.npz: is damaged"):
        store.arrays(victim)


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    store = Store(tmp_path)
    left = tmp_path / "abc" / ".result.json.x1y2"
    left.parent.mkdir()
    left.write_text("{")
    assert store.read("abc") is None
    assert store.damaged == set()
    store.write({"schema": SCHEMA, "run_id": "abc", "status": "ok"}, arrays={"embeddings": np.zeros(3)})
    assert not left.exists()
    assert Store(tmp_path).read("abc")["status"] == "ok"


@pytest.mark.parametrize("fault", ["deleted", "corrupt"])
def test_a_lost_optuna_export_is_written_again(finished, tmp_path, fault):
    plan, undisturbed = finished
    store = copied(undisturbed, tmp_path / "runs")
    path = store.root / "experiments" / "ablation.optuna.db"
    if fault == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:3000] + b"\x00" * 500)
    _, progress = sweep(plan, store.root, exported=True)
    assert progress.executed == 0
    assert path.read_bytes()[:15] == b"SQLite format 3"
    import optuna

    assert optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials


def test_a_clock_that_goes_backwards_changes_nothing(finished, tmp_path, monkeypatch):
    """Durations come from monotonic clocks; the wall clock is set back by an hour at every look."""
    plan, undisturbed = finished
    hours = iter(range(10**9))
    monkeypatch.setattr("time.time", lambda: 1.7e9 - 3600.0 * next(hours))
    store, _ = sweep(plan, tmp_path / "runs")
    monkeypatch.undo()
    for row in store.read_plan("ablation")["rows"]:
        record, before = store.read(row["run_id"]), undisturbed.read(row["run_id"])
        assert record["metrics"] == before["metrics"]
        assert all(value is None or value >= 0 for value in record["cost"].values())
    os.utime(store.folder(row["run_id"]) / "result.json", (4e9, 4e9))  # written in the future
    assert "last result 0 s ago" in "\n".join(status(store.root))


def test_status_says_how_far_it_is_and_what_is_best(finished):
    _, store = finished
    lines = status(store.root)
    assert lines[0].startswith("ablation: 5 of 5 runs done; last result ")
    assert lines[1] == "  digits/closed-set: 1 of 1 studies"
    assert any("digits/closed-set  softmax  0." in line and "1 trials" in line for line in lines)
    assert lines[-1] == "no process is writing here now"


def test_status_without_torch_and_without_runs(finished, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom lossbench.sweep.status import status\n"
        "print(status(Path(sys.argv[1]))[0])\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(finished[1].root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = CliRunner().invoke(main, ["status", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output == f"lossbench: error: {tmp_path}: no experiment was run here\n"


class StubExecutor(SerialExecutor):
    """Answers each run at once with a record as large as a real one."""

    def submit(self, fn, spec):
        record = {
            "schema": SCHEMA,
            "run_id": spec.run_id,
            "status": "ok",
            "spec": {},
            "metrics": {
                "val": {"sphere.map_at_r": spec.lr} | {f"figure_{n}": n / 7 for n in range(100)},
                "test": {"sphere.map_at_r": spec.lr},
            },
            "curves": {f"curve_{n}": [0.1 * n] * 16 for n in range(12)},
        }
        return super().submit(lambda: (record, {}))


@pytest.mark.slow
def test_the_driver_keeps_its_size_over_ten_thousand_runs(tmp_path, monkeypatch):
    """Beyond the records it keeps, a run costs its row in the plan: a few kilobytes, no record of a result."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    seeds = 5_000
    plan = tiny_plan(f"budget.seeds={seeds}", "budget.trials=1", 'recipes=["softmax"]', 'baselines=["untrained"]')
    sizes: list[tuple[int, int]] = []

    class Watching(Quiet):
        def finished(self, job, record, *, reused):
            super().finished(job, record, reused=reused)
            if self.executed % 1000 == 0:
                sizes.append((self.executed, resident_bytes()))

    progress = Watching()
    store = Store(tmp_path / "runs")
    Sweep(plan, store, StubExecutor(), progress).run()
    assert progress.executed >= 10_000
    assert len(store._cache) == KEPT_RECORDS
    first = min(count for count, _ in sizes if count >= 2_000)
    peak = max(size for _, size in sizes)
    grown = (peak - dict(sizes)[first]) / (sizes[-1][0] - first)
    assert grown < 4_000, f"{grown:.0f} bytes a run"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_processes_that_take_turns_on_a_gpu_are_told_how_to_share_it(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    gpu, cpu = tiny_plan("training.device=cuda").experiment, tiny_plan().experiment
    one, two = ProcessExecutor(1), ProcessExecutor(2)
    try:
        found = [placing.in_turns(gpu, two), placing.in_turns(gpu, one), placing.in_turns(cpu, two)]
        assert found == [True, False, False]
        (tmp_path / "control").touch()  # as the service leaves it
        assert not placing.in_turns(gpu, two)
    finally:
        one.shutdown()
        two.shutdown()
