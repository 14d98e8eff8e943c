"""A run that is killed goes on from its last kept epoch and ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import run_spec
from lossbench.run import training
from lossbench.run.execution import execute
from lossbench.run.unfinished import Saving

CASES = {
    "softmax+center": (("training.schedule=cosine", "training.validations=3"), {}),
    "triplet": (("training.augment=['shift']", "training.optimizer=sgd"), {}),
    "softmax -> triplet": ((), {}),
    "arcface": (("training.negatives=0.8", "training.batch_size=8"), {}),  # draws classes from a stream of its own
    "contrastive": ((), {"memory": 256}),  # which the library keeps in plain attributes
}


class Killed(BaseException):
    """What no handler of a run catches, as a kill."""


def kill_after(monkeypatch, epochs: int) -> list[int]:
    """Let that many epochs begin; the list has one entry for each that did."""
    begun, plan = [], training.batch_plan

    def counted(*args, **kwargs):
        if len(begun) == epochs:
            raise Killed
        begun.append(1)
        return plan(*args, **kwargs)

    monkeypatch.setattr(training, "batch_plan", counted)
    return begun


def figures(result) -> str:
    record = {name: value for name, value in result.record.items() if name != "cost"}
    record["curves"] = {name: values for name, values in record["curves"].items() if name != "wall_s"}
    counts = {name: result.record["cost"][name] for name in ("images", "tuples_per_step", "active_tuple_share")}
    return json.dumps([record, counts], sort_keys=True, default=str)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CASES)
def test_a_killed_run_goes_on_to_the_same_bits(recipe, tmp_path, monkeypatch):
    settings, params = CASES[recipe]
    spec = run_spec(recipe, "training.epochs=6", *settings, **params)
    whole = execute(spec)
    saving = Saving(str(tmp_path), 0.0)
    with monkeypatch.context() as patch:
        kill_after(patch, 4)
        with pytest.raises(Killed):
            execute(spec, saving)
    begun = kill_after(monkeypatch, 99)
    again = execute(spec, saving)
    assert again.record["status"] == "ok", again.record.get("error")
    assert len(begun) == 2  # the state is that after four epochs
    assert figures(again) == figures(whole)
    assert again.checkpoint == whole.checkpoint
    assert again.audit == whole.audit
    assert again.arrays.keys() == whole.arrays.keys()
    for name, values in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values, err_msg=name)


@pytest.mark.parametrize("damage", ["cut", "nonsense", "another machine"])
def test_a_state_that_does_not_fit_is_no_state(damage, tmp_path, monkeypatch):
    spec = run_spec("softmax", "training.epochs=3")
    saving = Saving(str(tmp_path), 0.0)
    execute(spec, saving)
    (path,) = tmp_path.iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "nonsense":
        path.write_bytes(b"no state")
    else:
        monkeypatch.setattr("lossbench.run.device.environment", lambda device: {"cpu": "another"})
    begun = kill_after(monkeypatch, 99)
    assert execute(spec, saving).record["status"] == "ok"
    assert len(begun) == 3


def test_a_run_without_a_folder_for_it_keeps_nothing(tmp_path):
    execute(run_spec("softmax", "training.epochs=2"), Saving(str(tmp_path / "nowhere"), 0.0))
    assert not list(tmp_path.iterdir())


KILL = """
import os, signal, sys
from lossbench.run import resuming
from lossbench.cli import main
if sys.argv.pop(1) == "kill":
    save = resuming.Moving.state
    def once(moving, epoch, turn):
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return save(moving, epoch, turn)
    resuming.Moving.state = once
main()
"""


@pytest.mark.slow
def test_an_experiment_that_is_killed_within_a_run_goes_on_there_and_leaves_no_state(tmp_path):
    names = {"killed": ("kill", "go on"), "whole": ("go on",)}
    settings = ["recipes=['softmax']", "training.epochs=6", "resources.checkpoint_s=0", "budget.studies=1",
                "budget.trials=1", "budget.seeds=1", "budget.longer=0", "baselines=[]",
                "tasks=[{dataset='digits',protocol='closed-set'}]", "claims=[]", "params={}"]  # fmt: skip
    found = {}
    for name, turns in names.items():
        for turn in turns:
            command = [sys.executable, "-c", KILL, turn, "run", "ablation", "--workers", "0",
                       "--runs", str(tmp_path / name), "--reports", str(tmp_path / "reports")]  # fmt: skip
            done = subprocess.run(
                [*command, *(part for each in settings for part in ("--set", each))],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True,
            )  # fmt: skip
            states = [path.name for path in (tmp_path / name / "unfinished").iterdir()]
            assert (done.returncode, len(states)) == ((-9, 1) if turn == "kill" else (0, 0)), done.stderr
        found[name] = {
            path.parent.name: json.loads(path.read_text())["metrics"]
            for path in (tmp_path / name).glob("*/result.json")
        }
    assert found["killed"] == found["whole"]
    assert found["whole"]
