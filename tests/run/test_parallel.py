"""Data-parallel training: k ranks of m samples are one rank of k * m."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run.rank_probe import RECIPES, probe

from experiments import ABLATION, TINY, run_spec
from lossbench import load_results
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.spec import from_json, to_json
from lossbench.specification.training_settings import Training
from lossbench.sweep import ranks as rank_module

HERE = Path(__file__).parents[1]


def torchrun(count: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return start("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *arguments)


def fork(count: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return start(HERE / "run" / "forked_ranks.py", count, *arguments)


def start(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=540, env=environment)


@pytest.fixture(scope="module")
def alone():
    return probe()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    done = fork(2, HERE / "run" / "rank_probe.py", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_ranks_step_as_one_with_both_batches(alone, ranks, recipe):
    """Weights, proxies, centers and batch statistics in float64, with a batch that does not divide evenly."""
    for name, expected in alone["steps"][recipe].items():
        torch.testing.assert_close(ranks[0]["steps"][recipe][name], expected, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_whole_run_on_two_ranks_gives_the_figures_of_one(alone, ranks, recipe):
    """In float32 a sum in another order opens and closes hinges, so that figures agree but not to the bit."""
    mine, theirs = alone["runs"][recipe], ranks[0]["runs"][recipe]
    for key in ("val.sphere.map_at_r", "test.sphere.map_at_r", "test.euclidean.intra_inter_ratio"):
        group, _, name = key.partition(".")
        assert theirs["metrics"][group][name] == pytest.approx(mine["metrics"][group][name], rel=0.05)
    assert theirs["curves"]["loss"][1:] == pytest.approx(mine["curves"]["loss"][1:], rel=0.02)
    assert theirs["curves"]["coverage"][1:] == mine["curves"]["coverage"][1:]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_both_ranks_hold_the_same_model_to_the_bit(ranks, recipe):
    for name, value in ranks[0]["steps"][recipe].items():
        assert torch.equal(value, ranks[1]["steps"][recipe][name]), name
    for part, state in ranks[0]["runs"][recipe]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, ranks[1]["runs"][recipe]["state"][part][name]), f"{part}.{name}"


BROKEN = "from lossbench import loss\n@loss('broken')\ndef broken(problem):\n    raise RuntimeError('no such luck')\n"


def command(folder: Path, *overrides: str) -> list[object]:
    settings = (*TINY, 'recipes=["softmax+center"]', "training.epochs=1", "budget.seeds=1", *overrides)
    sets = [part for value in settings for part in ("--set", value)]
    return ["run", ABLATION, "--runs", folder / "runs", "--reports", folder / "reports", *sets]


def experiment(folder: Path):
    """A whole experiment on two ranks, one recipe of which raises, from its report: one row a run."""
    plugin = folder / "broken.py"
    plugin.write_text(BROKEN)
    settings = ("training.processes=2", 'recipes=["broken", "softmax+center"]')
    done = torchrun(2, "-m", "lossbench", *command(folder, *settings), "--plugin", plugin)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("planned runs") == 1  # one rank speaks
    table = load_results(folder / "reports" / "ablation")
    return table.drop(columns=[column for column in table if column.startswith("cost.")])


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp("first"))


@pytest.mark.slow
def test_an_experiment_runs_under_torchrun_to_its_report_and_repeats_to_the_bit(first, tmp_path):
    assert set(first.loc[first["recipe"] != "broken", "status"]) == {"ok"}
    assert first.equals(experiment(tmp_path))


@pytest.mark.slow
def test_a_loss_that_raises_fails_its_run_on_all_ranks_and_the_rest_goes_on(first):
    table = first.set_index("recipe")
    assert set(table.loc["broken", "status"]) == {"failed"}
    assert set(table.loc["softmax+center", "status"]) == {"ok"}


def test_the_number_of_processes_is_stated_by_the_experiment(tmp_path, monkeypatch):
    done = subprocess.run(
        [sys.executable, "-m", "lossbench", *map(str, command(tmp_path, "training.processes=2"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "lossbench: error: training.processes: 2: start them with `torchrun --nproc-per-node 2 -m lossbench run ...`"
    ]
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SpecError, match=r"torchrun started 4; --set training\.processes=4"):
        rank_module.check(Training())


def test_a_specification_survives_its_journey_as_json():
    spec = run_spec("softmax+center", alpha=0.3)
    assert from_json(to_json(spec)) == spec
    assert from_json(to_json(spec)).run_id == spec.run_id
    assert run_spec("softmax", "training.processes=2").run_id != run_spec("softmax").run_id
