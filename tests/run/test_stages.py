"""Recipes in two stages: the second goes on with the network of the first, within the epochs that any recipe has."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments import run_spec, sweep, tiny_plan
from lossbench import report
from lossbench.executors.processes import SerialExecutor
from lossbench.plugins import PluginError
from lossbench.run.clock import Clock
from lossbench.run.data import task_data
from lossbench.run.execution import build, execute
from lossbench.run.model import combine, to_input
from lossbench.run.optimizer import make_optimizer
from lossbench.run.sampling import batch_plan
from lossbench.run.seeding import stream
from lossbench.run.training import train
from lossbench.specification.recipes import make_recipe
from lossbench.specification.spec import from_json, to_json
from lossbench.specification.training_settings import Training
from lossbench.sweep.probe import run_probe

STAGED = "softmax->triplet"
EPOCHS = ("training.epochs=4", "training.validations=4")


@pytest.mark.parametrize(("share", "alone"), [(1.0, "softmax"), (0.0, "triplet")])
def test_a_stage_of_everything_is_the_single_recipe_to_the_bit(share, alone):
    staged, single = run_spec(STAGED, *EPOCHS, share=share), run_spec(alone, *EPOCHS)
    assert staged.run_id == single.run_id
    assert execute(staged).arrays["embeddings"].tobytes() == execute(single).arrays["embeddings"].tobytes()


@pytest.fixture(scope="module")
def staged():
    spec = run_spec(STAGED, *EPOCHS, share=0.5)
    return spec, execute(spec)


def test_both_stages_share_the_images_of_a_single_recipe(staged):
    spec, result = staged
    assert [(stage.sampler, stage.epochs) for stage in spec.stages] == [("uniform", 2), ("balanced", 2)]
    assert result.record["cost"]["images"] == execute(run_spec("softmax", *EPOCHS)).record["cost"]["images"]


def test_the_first_stage_is_the_single_recipe_of_so_many_epochs(staged):
    _, result = staged
    single = execute(run_spec("softmax", "training.epochs=2", "training.validations=2"))
    for curve in ("val_map_at_r", "loss"):
        np.testing.assert_equal(result.record["curves"][curve][:3], single.record["curves"][curve])


def test_every_curve_says_which_stage_it_is_of(staged):
    _, result = staged
    curves = result.record["curves"]
    assert np.isfinite(curves["loss.softmax"]).tolist() == [True, True, False, False]
    assert np.isfinite(curves["loss.triplet"]).tolist() == [False, False, True, True]
    assert curves["loss"][3:] == curves["loss.triplet"][2:]


def test_the_second_stage_has_optimizer_schedule_and_batches_of_its_own():
    """Against a loop written here: a new Adam at the full rate, a cosine over the stage, another order."""
    spec = run_spec(STAGED, *EPOCHS, "training.schedule=cosine", share=0.5)
    data = task_data(spec)
    model = build(spec, data)
    for number, stage in enumerate(spec.stages):
        model.losses = model.stages[number]
        optimizer = make_optimizer(model, spec.training, spec.lr)
        order = stream(spec.seed, "order.stage.1" if number else "order")
        steps = len(data.train.labels) // 64 * stage.epochs
        done = 0
        for _ in range(stage.epochs):
            model.train(True)
            plan = batch_plan(stage.sampler, data.train.labels, batch_size=64, samples_per_class=4, generator=order)
            for index in plan:
                for group in optimizer.param_groups:
                    group["lr"] = spec.lr * 0.5 * (1 + math.cos(math.pi * done / steps))
                optimizer.zero_grad()
                embeddings = model.network(to_input(data.train.images[index]))
                combine(model.losses, embeddings, data.train.labels[index])[0].backward()
                optimizer.step()
                done += 1
    again = build(spec, data)
    scores = iter(range(9))
    train(again, data.train.images, data.train.labels, spec, Clock(), lambda epoch: {"val_map_at_r": next(scores)})
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_the_best_epoch_may_lie_in_the_first_stage():
    """Center loss alone pulls everything together; what counts is the network before, with the losses of its time."""
    spec = run_spec("softmax->center", *EPOCHS, share=0.5, lr=0.03, alpha=1.0)
    result = execute(replace(spec, lr=0.02))
    first = execute(replace(run_spec("softmax", "training.epochs=2", "training.validations=2"), lr=0.02))
    assert result.record["best_epoch"] in (1, 2)
    assert result.arrays["embeddings"].tobytes() == first.arrays["embeddings"].tobytes()
    assert result.record["metrics"]["test"]["head_accuracy"] == first.record["metrics"]["test"]["head_accuracy"]


def test_centers_of_the_second_stage_have_curves_as_long_as_any():
    record = execute(run_spec("softmax->softmax+center", *EPOCHS, share=0.5, alpha=0.5)).record
    drift = record["curves"]["center.drift"]
    assert len(drift) == len(record["curves"]["val_map_at_r"]) == 5
    assert np.isfinite(drift).tolist() == [False, False, False, True, True]
    assert drift[3] > 0


def test_a_record_gives_the_run_back(staged):
    spec, _ = staged
    assert from_json(to_json(spec)) == spec
    assert from_json(to_json(spec)).run_id == spec.run_id
    assert replace(spec, then=None).run_id != spec.run_id


def test_parameters_of_both_stages_have_names_of_their_own():
    recipe = make_recipe("x", "softmax+center->arcface+center+triplet@balanced", Training())
    assert {"share", "lambda", "lambda_triplet", "alpha", "margin", "margin_triplet"} <= recipe.space.keys()
    assert [plugin.name for plugin in recipe.losses] == ["softmax", "center", "arcface", "triplet"]
    values = {**recipe.defaults, "lambda": 0.25, "lambda_triplet": 0.5, "share": 0.26}
    first, second = recipe.stages(values, 10)
    assert [(term.loss, term.weight) for term in first.terms] == [("softmax", 1.0), ("center", 0.25)]
    assert [(term.loss, term.weight) for term in second.terms] == [("arcface", 1.0), ("center", 0.25), ("triplet", 0.5)]
    assert (first.epochs, second.epochs, recipe.sampler) == (3, 7, "uniform then balanced")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("softmax->arcface->center", "'softmax->arcface->center' has 3 stages; a recipe has one or two"),
        ("softmax->arcfac", "unknown loss 'arcfac'; did you mean 'arcface'?"),
        ("softmax->", "unknown loss ''"),
    ],
)
def test_what_is_no_staged_recipe_is_said(rule, said):
    with pytest.raises(PluginError) as raised:
        make_recipe(rule, rule, Training())
    assert said in str(raised.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = tiny_plan(f'recipes=["softmax", "{STAGED}"]', "budget.trials=3")
    runs = tmp_path_factory.mktemp("runs")
    store, _ = sweep(plan, runs)
    assert run_probe(plan, store, SerialExecutor()) == []
    return plan, store, runs


@pytest.mark.slow
def test_a_search_finds_the_share(finished):
    _, store, _ = finished
    rows = store.read_plan("ablation")["rows"]
    shares = {row["params"]["share"] for row in rows if row["recipe"] == STAGED and row["role"] == "trial"}
    assert len(shares) == 3
    assert all(0.1 <= share <= 0.9 for share in shares)


@pytest.mark.slow
def test_a_step_costs_what_its_stages_cost(finished):
    _, store, _ = finished
    steps = store.read_probe("ablation")["tasks"]["digits/closed-set"]["recipes"]
    assert set(steps) == {"softmax", STAGED, ""}
    assert all(seconds > 0 for seconds in steps[STAGED]["step_s"])


@pytest.mark.slow
def test_a_report_names_it(finished, tmp_path):
    _, _, runs = finished
    list(report.write("ablation", runs, tmp_path))
    folder = tmp_path / "ablation"
    assert "softmax-&gt;triplet" in (folder / "index.html").read_text()
    assert "softmax-&gt;triplet" in (folder / "report.md").read_text()
    assert STAGED in (folder / "results.csv").read_text()
    assert "softmax->t" not in (folder / "index.html").read_text().split("<script")[0]


def test_the_same_loss_in_both_stages_begins_anew():
    """Only the network is handed on: the second head is the one that a single recipe would start from."""
    spec = run_spec("softmax->softmax+center", *EPOCHS, share=0.5)
    model = build(spec, task_data(spec))
    heads = [losses[0].module for losses in model.stages]
    assert heads[0] is not heads[1]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert copy.copy(model).stage == 0
