"""`epochs = "auto"`: a pilot of every recipe at its default, before anything is compared; the longest need counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments import StoppingExecutor, sweep, tiny_plan
from lossbench.plugins.mistakes import SpecError
from lossbench.store import Store
from lossbench.sweep import dry_run, pilot
from lossbench.sweep.pilot import Pilot, needed, tolerance

AUTO = (
    'recipes=["softmax", "contrastive"]',
    "training.epochs=auto",
    "training.batch_size=512",  # two steps an epoch
    "budget.trials=1",
    "budget.seeds=1",
)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(pilot, "FIRST_STEPS", 2)
    monkeypatch.setattr(pilot, "DOUBLINGS", 3)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pilot, "FIRST_STEPS", 2)
        patched.setattr(pilot, "DOUBLINGS", 3)
        runs = tmp_path_factory.mktemp("runs")
        before = dry_run.describe(tiny_plan(*AUTO), Store(runs), 1)
        sweep(tiny_plan(*AUTO), runs)
    return runs, before


@pytest.mark.parametrize(
    ("scores", "rung"),
    [
        ([0.5, 0.505, 0.509], 0),
        ([0.5, 0.505, 0.52], None),
        ([0.5, 0.505, 0.52, 0.52, 0.51], 2),
        ([0.5, 0.47, 0.53, 0.49], 0),
        ([0.5, 0.4], None),
        ([0.5, None, 0.5], None),
        ([], None),
    ],
    ids=["flat", "a late gain", "flat later", "luck", "too short", "a failure", "nothing"],
)
def test_a_recipe_needs_what_neither_twice_nor_four_times_as_many_epochs_improve(scores, rung):
    assert needed(scores, 0.01) == rung


@pytest.mark.parametrize(("queries", "most"), [(80, 3.0), (10_000, 1.1)])
def test_what_a_small_validation_split_cannot_show_is_no_gain(queries, most):
    """Two thousand ladders that gain nothing, scored by so many queries whose average precisions spread by 0.3."""
    draw = np.random.default_rng(0)
    ladders = 0.2 + draw.normal(scale=0.3 / math.sqrt(queries), size=(2000, 9))
    found = [needed(ladder, tolerance(queries)) for ladder in ladders.tolist()]
    times = [2 ** (8 if rung is None else rung) for rung in found]
    assert np.mean(times) < most


@pytest.mark.slow
def test_the_longest_need_counts_for_all_and_the_plan_says_why(found):
    runs, _ = found
    plan = Store(runs).read_plan("ablation")
    needs = plan["pilot"]["needs"]
    assert [need["recipe"] for need in needs] == ["softmax", "contrastive"]
    assert plan["pilot"]["epochs"] == max(need["epochs"] for need in needs)
    assert plan["experiment"]["training"]["epochs"] == plan["pilot"]["epochs"]
    assert {need["tolerance"] for need in needs} == {0.01}
    assert [epochs for epochs, _ in needs[0]["rungs"]] == [1, 2, 4, 8][: len(needs[0]["rungs"])]
    table = Store(runs).table(plan)
    pilots = table[table["role"] == "pilot"]
    assert len(pilots) == sum(len(need["rungs"]) for need in needs)
    assert pilots.filter(like="test.").isna().all(axis=None), "test is sealed"
    assert plan["planned_runs"] == len(table)
    record = Store(runs).read(table.loc[table["role"] == "final", "run_id"].iloc[0])
    assert record["spec"]["training"]["epochs"] == plan["pilot"]["epochs"]
    assert record["spec"]["seed"] not in {Store(runs).read(run)["spec"]["seed"] for run in pilots["run_id"]}


@pytest.mark.slow
def test_a_dry_run_before_it_does_not_know_yet_and_after_it_does(found):
    runs, before = found
    assert "steps a run not known yet (2 an epoch)" in before
    assert "time not known yet on 1 worker: the pilot comes first" in before
    after = dry_run.describe(tiny_plan(*AUTO), Store(runs), 1)
    planned = Store(runs).read_plan("ablation")["planned_runs"]
    assert f"{planned} planned runs, {planned} of them done\nabout 0 s on 1 worker" in after


@pytest.mark.slow
def test_going_on_after_an_interruption_finds_the_same(found, tmp_path):
    runs, _ = found
    with pytest.raises(KeyboardInterrupt):
        sweep(tiny_plan(*AUTO), tmp_path, StoppingExecutor(3))
    assert Store(tmp_path).read_plan("ablation")["pilot"]["epochs"] is None
    sweep(tiny_plan(*AUTO), tmp_path)
    names = [folder / "experiments" / "ablation.json" for folder in (runs, tmp_path)]
    assert names[0].read_bytes() == names[1].read_bytes()


def climbed(scores):
    """What a pilot finds where the runs of a recipe score so, rung by rung."""
    plan = tiny_plan(*AUTO)
    found, told = Pilot(plan), []

    def need(jobs, *, then):
        then([scores[job.recipe][job.number - 1] for job in jobs])

    found.begin(need, told.append)
    return told, found.document()


def test_a_ladder_that_never_settles_counts_with_its_last_rung():
    told, document = climbed({"softmax": [0.1, 0.2, 0.3, 0.4], "contrastive": [0.5] * 4})
    assert told == [8]
    assert [(need["epochs"], need["settled"]) for need in document["needs"]] == [(8, False), (1, True)]


def test_a_recipe_that_fails_asks_for_nothing():
    told, _ = climbed({"softmax": [None, None, None], "contrastive": [0.3, 0.5, 0.5, 0.5]})
    assert told == [2]


def test_other_words_than_auto_are_mistakes():
    with pytest.raises(SpecError, match=r"training\.epochs: .*'atuo'"):
        tiny_plan("training.epochs=atuo")
    assert not math.isnan(tiny_plan("training.epochs=3").experiment.training.epochs)
