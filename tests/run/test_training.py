"""What the training loop promises, on real runs over digits."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import DIGITS, DIGITS_OPEN, run_spec, tiny_plan
from lossbench import datasets, metrics
from lossbench.plugins import registry
from lossbench.run.clock import Clock
from lossbench.run.data import task_data
from lossbench.run.execution import build, execute
from lossbench.run.kept import image_groups
from lossbench.run.model import Model
from lossbench.run.optimizer import make_optimizer
from lossbench.run.sampling import balanced_plan, uniform_plan
from lossbench.run.seeding import stream
from lossbench.run.training import train, validated_epochs
from lossbench.specification.training_settings import Training
from lossbench.sweep.jobs import objective


def without_cost(record):
    return {key: value for key, value in record.items() if key not in ("cost", "spec", "run_id", "key")} | {
        "curves": {name: curve for name, curve in record["curves"].items() if name != "wall_s"}
    }


def same(left, right):
    """Equal to the bit, NaN included."""
    np.testing.assert_equal(left, right)
    return True


def test_the_same_spec_gives_the_same_bits():
    first, second = execute(run_spec("softmax+center")), execute(run_spec("softmax+center"))
    assert same(without_cost(first.record), without_cost(second.record))
    assert first.arrays["embeddings"].tobytes() == second.arrays["embeddings"].tobytes()


def test_seeds_differ():
    first, second = execute(run_spec(seed=1)), execute(run_spec(seed=2))
    assert first.record["metrics"]["test"] != second.record["metrics"]["test"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_lambda_zero_is_softmax_to_the_bit(optimizer):
    overrides = (f"training.optimizer={optimizer}", "training.weight_decay=1e-4", "training.epochs=3")
    plain = execute(run_spec("softmax", *overrides))
    joint = execute(run_spec("softmax+center", *overrides, lambda_=0.0))
    assert plain.arrays["embeddings"].tobytes() == joint.arrays["embeddings"].tobytes()
    assert plain.record["curves"]["loss"][1:] == joint.record["curves"]["loss"][1:]
    assert same(plain.record["metrics"]["test"], joint.record["metrics"]["test"])


def test_training_learns_far_beyond_the_untrained_network():
    record = execute(run_spec("softmax", "training.epochs=6", "training.validations=6")).record
    curve = record["curves"]["val_map_at_r"]
    assert record["status"] == "ok"
    assert curve[-1] > 0.8 > 0.4 > curve[0]
    assert record["metrics"]["test"]["head_accuracy"] > 0.8
    assert record["metrics"]["val"]["sphere.map_at_r"] == pytest.approx(max(curve), abs=1e-12)
    assert record["best_epoch"] == curve.index(max(curve))


def test_recipes_with_one_sampler_see_the_same_batches_and_start_from_the_same_weights():
    data = task_data(run_spec())
    softmax, center = build(run_spec("softmax"), data), build(run_spec("softmax+center"), data)
    for name, weights in softmax.state()["network"].items():
        assert torch.equal(weights, center.state()["network"][name])
    assert torch.equal(softmax.losses[0].module.weight, center.losses[0].module.weight)
    first, second = (uniform_plan(100, batch_size=8, generator=stream(1, "order")) for _ in range(2))
    assert torch.equal(first, second)


def test_divergence_is_recorded_with_its_epoch_and_scored_at_the_best_finite_one():
    record = execute(run_spec("softmax", "training.optimizer=sgd", "training.epochs=4", lr=1e6)).record
    assert record["status"] == "diverged"
    assert record["diverged_epoch"] >= 1
    assert record["best_epoch"] < record["diverged_epoch"]
    assert math.isfinite(record["metrics"]["test"]["sphere.map_at_r"])


@pytest.mark.slow
def test_a_center_loss_alone_collapses_and_is_scored():
    record = execute(run_spec("center", "training.epochs=80", alpha=0.5, lr=0.03)).record
    assert record["status"] == "collapsed"
    assert math.isfinite(record["metrics"]["test"]["sphere.map_at_r"])


def test_a_stuck_softmax_is_collapsed():
    assert execute(run_spec("softmax", lr=0.0)).record["status"] == "ok"  # far from ln C by its random head
    record = execute(run_spec("softmax+center", "training.epochs=6", lambda_=1e4, alpha=1.0, lr=0.03)).record
    assert record["status"] == "collapsed"


def test_test_data_reach_neither_training_nor_choice_nor_objective():
    """Poison the test split: every figure but those of test stays the same to the bit."""
    honest = execute(run_spec("softmax+center", "training.epochs=3"))
    data = task_data(run_spec())
    noise = torch.randint(256, data.test.images.shape, dtype=torch.uint8)
    clean = data.test.images.clone()
    try:
        data.test.images[:] = noise
        poisoned = execute(run_spec("softmax+center", "training.epochs=3"))
        trial = execute(run_spec("softmax+center", "training.epochs=3", final=False))
    finally:
        data.test.images[:] = clean
    assert same(honest.record["metrics"]["val"], poisoned.record["metrics"]["val"])
    assert trial.record["metrics"]["val"] == {"sphere.map_at_r": honest.record["metrics"]["val"]["sphere.map_at_r"]}
    assert objective(honest.record) == objective(poisoned.record) == objective(trial.record)
    assert honest.record["best_epoch"] == poisoned.record["best_epoch"]
    assert honest.record["metrics"]["test"] != poisoned.record["metrics"]["test"]
    assert "test" not in trial.record["metrics"]
    assert trial.arrays == {}
    assert trial.audit == {}


def test_a_final_run_keeps_a_model_that_loads_without_pickle():
    result = execute(run_spec("softmax+center"))
    state = torch.load(io.BytesIO(result.checkpoint), weights_only=True)
    assert state["loss.center"]["centers"].shape == (10, 4)
    data = task_data(run_spec())
    model = build(run_spec("softmax+center"), data)
    model.load(state)
    assert set(state) == {"network", "loss.softmax", "loss.center"}


def test_costs_and_curves_are_complete():
    record = execute(run_spec("triplet", "training.epochs=2")).record
    cost, curves = record["cost"], record["curves"]
    assert cost["tuples_per_step"] > 0
    assert 0 < cost["active_tuple_share"] <= 1
    assert cost["images"] == 2 * (1079 // 64) * 64
    assert cost["train_wall_s"] == pytest.approx(
        sum(cost[f"{part}_s"] for part in ("sampling", "forward", "loss", "backward", "optimizer"))
    )
    assert cost["train_cpu_s"] > 0
    assert len(curves["epoch"]) == len(curves["val_map_at_r"]) == 3
    assert 0.5 < curves["coverage"][-1] <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_model_is_finite_where_all_that_it_stores_is(value):
    network = torch.nn.BatchNorm1d(3)
    network.register_buffer("mask", torch.tensor([0.0, -math.inf]), persistent=False)  # made anew, never learned
    network.register_buffer("nothing", torch.empty(0))
    network.register_buffer("wide", torch.zeros(2, dtype=torch.float64))
    assert Model(network, []).is_finite()
    network.running_var[1] = value
    assert not Model(network, []).is_finite()


# what a run measures


@pytest.mark.parametrize(
    ("epochs", "validations", "expected"),
    [
        (10, None, range(1, 11)),
        (10, 5, [2, 4, 6, 8, 10]),
        (10, 4, [2, 5, 7, 10]),
        (3, 1, [3]),
        (2, 7, [1, 2]),
    ],
)
def test_validations_are_evenly_spaced_and_the_last_epoch_is_one(epochs, validations, expected):
    assert validated_epochs(Training(epochs=epochs, validations=validations)) == tuple(expected)


def test_fewer_validations_train_the_same_network_and_choose_among_fewer_epochs():
    every = execute(run_spec("softmax+center", "training.epochs=6", "training.validations=6")).record
    some = execute(run_spec("softmax+center", "training.epochs=6", "training.validations=2")).record
    curves = every["curves"], some["curves"]
    assert curves[1]["epoch"] == [0, 3, 6]
    assert all(len(curve) == 2 + (name[:5] != "loss.") for name, curve in curves[1].items())  # of a term from epoch 1
    for name in ("val_map_at_r", "val_intra_inter_ratio", "loss", "coverage"):
        np.testing.assert_equal([curves[0][name][epoch] for epoch in (0, 3, 6)], curves[1][name])
    assert some["best_epoch"] == max((0, 3, 6), key=lambda epoch: every["curves"]["val_map_at_r"][epoch])
    assert some["cost"]["images"] == every["cost"]["images"]


def test_divergence_between_two_validations_is_noticed_at_its_epoch():
    overrides = ("training.optimizer=sgd", "training.epochs=4")
    every = execute(run_spec("softmax", *overrides, lr=1e6)).record
    once = execute(run_spec("softmax", *overrides, "training.validations=1", lr=1e6)).record
    assert once["status"] == "diverged"
    assert once["diverged_epoch"] == every["diverged_epoch"] < 4


def test_a_trial_has_the_one_figure_it_is_chosen_by():
    record = execute(run_spec("softmax+center", "training.epochs=2", final=False)).record
    assert record["metrics"] == {"val": {"sphere.map_at_r": max(record["curves"]["val_map_at_r"])}}
    assert not [name for name in record["curves"] if name.startswith(("val_intra", "center."))]


@pytest.mark.parametrize("task", [DIGITS, DIGITS_OPEN], ids=["closed", "open"])
def test_a_final_run_that_is_not_whole_has_what_verdicts_need_with_the_same_bits(task):
    spec = run_spec("softmax+center", task, "training.epochs=2", "training.batch_size=32")
    whole, lean = execute(spec), execute(replace(spec, whole=False, audit=False))
    figures, everything = lean.record["metrics"], whole.record["metrics"]
    wanted = {f"{space}.{name}" for space in ("sphere", "euclidean") for name in retrieval_names()}
    wanted |= {"head_accuracy"} if task == DIGITS else set()
    assert figures["test"].keys() == wanted
    assert figures["train"].keys() == {"head_accuracy"}
    assert figures["val"].keys() == {"sphere.map_at_r"}
    for group, scores in figures.items():
        assert scores == {name: everything[group][name] for name in scores}
    assert lean.record["curves"].keys() == whole.record["curves"].keys()
    assert (lean.arrays, lean.audit, lean.checkpoint) == ({}, {}, None)


@pytest.mark.parametrize(("task", "groups"), [(DIGITS, 50), (DIGITS_OPEN, 4)], ids=["images", "classes"])
def test_a_whole_run_keeps_its_score_without_each_group_of_test(task, groups):
    spec = run_spec("softmax", task, "training.epochs=1", "training.batch_size=32")
    result = execute(spec)
    without, embeddings, labels = (
        result.arrays[name] for name in ("jackknife.sphere.map_at_r", "embeddings", "labels")
    )
    member = labels if groups == 4 else image_groups(len(labels))
    rest = member != member.max()
    points = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert without.shape == (groups,)
    assert without[-1] == pytest.approx(metrics.retrieval_metrics(points[rest], labels[rest])["map_at_r"], abs=1e-6)
    assert without.std() > 0
    again = execute(replace(spec, seed=2)).arrays["jackknife.sphere.map_at_r"]
    assert not np.array_equal(without, again)
    assert np.bincount(image_groups(359), minlength=50).tolist() == [8] * 9 + [7] * 41


def retrieval_names():
    labels = torch.tensor([0, 0, 1])
    return metrics.retrieval_metrics(torch.randn(3, 2), labels).keys()


def test_only_an_audited_run_scores_test_by_epoch_and_a_whole_one_is_drawn_all_the_same():
    spec = run_spec("softmax", "training.epochs=4", "training.validations=2")
    audited, quiet = execute(spec), execute(replace(spec, audit=False))
    assert len(audited.audit["test_map_at_r"]) == 3
    assert quiet.audit == {}
    assert same(audited.record["metrics"], quiet.record["metrics"])
    drawn = [result.arrays["epochs.embeddings"].astype(np.float32) for result in (audited, quiet)]
    assert drawn[0].shape == (3, 300, 4)
    np.testing.assert_allclose(*drawn, rtol=2e-3, atol=2e-3)  # half precision, in batches of another size
    lean = execute(replace(spec, whole=False))
    assert lean.audit == audited.audit
    assert lean.arrays == {}


def test_pairs_are_sampled_where_a_whole_run_has_many(monkeypatch):
    spec = run_spec("softmax", DIGITS_OPEN, "training.epochs=1", "training.batch_size=32")
    monkeypatch.setattr("lossbench.run.figures.SAMPLED_PAIRS", 2_000)
    few = execute(spec).record["metrics"]["test"]
    monkeypatch.undo()
    many = execute(spec).record["metrics"]["test"]
    assert (few["sphere.pairs_sampled"], many["sphere.pairs_sampled"]) == (1.0, 1.0)  # 719 images have 258,121 pairs
    assert few["sphere.pair_inter_mean"] == pytest.approx(many["sphere.pair_inter_mean"], rel=0.03)
    assert few["sphere.pair_inter_mean"] != many["sphere.pair_inter_mean"]
    assert few["sphere.intra_mean"] == many["sphere.intra_mean"]  # of class means, never sampled


def test_bf16_reaches_the_network_only():
    spec = run_spec("softmax+center", "training.precision=bf16", "training.epochs=1")
    data = task_data(spec)
    model = build(spec, data)
    seen: dict[str, set[torch.dtype]] = {"network": set(), "loss": set()}
    last = list(model.network.modules())[-1]
    last.register_forward_hook(lambda module, inputs, output: seen["network"].add(output.dtype))
    model.losses[0].module.register_forward_pre_hook(lambda module, inputs: seen["loss"].add(inputs[0].dtype))
    train(model, data.train.images, data.train.labels, spec, Clock(), lambda epoch: {"val_map_at_r": 0.0})
    assert seen == {"network": {torch.bfloat16}, "loss": {torch.float32}}
    assert {value.dtype for part in model.state().values() for value in part.values()} <= {torch.float32, torch.int64}


def test_bf16_learns_and_is_another_run():
    exact, rounded = (
        run_spec("softmax", "training.epochs=4"),
        run_spec("softmax", "training.epochs=4", "training.precision=bf16"),
    )
    assert exact.run_id != rounded.run_id
    first, second = execute(exact), execute(rounded)
    assert second.arrays["embeddings"].dtype == np.float32
    assert not np.array_equal(first.arrays["embeddings"], second.arrays["embeddings"])
    scores = [result.record["metrics"]["test"]["head_accuracy"] for result in (first, second)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


def test_center_curves_and_distance_to_the_true_class_means():
    record = execute(run_spec("softmax+center", alpha=0.5)).record
    assert record["curves"]["center.drift"][1] > 0
    assert record["curves"]["center.dead_centers"][-1] == 0
    assert record["metrics"]["train"]["center.center_distance_mean"] > 0


def test_unseen_classes_are_verified_and_have_no_head_accuracy():
    scores = execute(run_spec("softmax", DIGITS_OPEN)).record["metrics"]["test"]
    assert 0.5 < scores["sphere.auc"] <= 1
    assert "head_accuracy" not in scores


def test_label_noise_reaches_training_and_validation_but_never_test():
    clean = task_data(run_spec())
    before = clean.test.labels.clone()
    noisy = execute(run_spec("softmax", "training.label_noise=0.4", "training.epochs=6")).record
    honest = execute(run_spec("softmax", "training.epochs=6")).record
    assert noisy["metrics"]["val"]["sphere.map_at_r"] < 0.6 * honest["metrics"]["val"]["sphere.map_at_r"]
    assert noisy["metrics"]["test"]["sphere.map_at_r"] > noisy["metrics"]["val"]["sphere.map_at_r"]
    assert torch.equal(clean.test.labels, before)


def test_a_tasks_own_label_noise_takes_the_place_of_the_experiments():
    of_task = 'tasks=[{dataset="digits", protocol="closed-set", label_noise=0.4}]'
    scores = [
        execute(run_spec("softmax", *overrides, final=False)).record["metrics"]["val"]
        for overrides in (["training.label_noise=0.4"], [of_task, "training.label_noise=0.1"])
    ]
    assert scores[0] == scores[1]
    assert run_spec("softmax", of_task).task.key == "digits/closed-set/noise=0.4"


def test_a_baseline_under_label_noise_is_another_run():
    clean, noisy = (tiny_plan(f"training.label_noise={share}") for share in (0.0, 0.4))
    specs = [plan.baseline_spec(plan.experiment.tasks[0], "untrained", seed=1) for plan in (clean, noisy)]
    assert specs[0].run_id != specs[1].run_id


def test_a_run_over_its_time_limit_is_failed_with_the_reason():
    record = execute(run_spec("softmax", "training.time_limit_s=1e-6")).record
    assert record["status"] == "failed"
    assert "training.time_limit_s" in record["error"]


def test_changed_data_are_noticed():
    spec = run_spec()
    data = datasets.load("digits")
    assert spec.provenance.data == data.checksum


@given(seed=st.integers(0, 50), classes=st.integers(2, 40), size=st.integers(1, 9), batch=st.sampled_from([8, 16, 33]))
@settings(max_examples=40, deadline=None)
def test_balanced_batches_hold_equally_many_of_distinct_classes(seed, classes, size, batch):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (classes * size,), generator=generator) * 7
    plan = balanced_plan(labels, steps=11, batch_size=batch, samples_per_class=4, generator=generator)
    present = len(labels.unique())
    wanted = min(present, batch // 4)
    assert plan.shape == (11, batch)
    for row in plan:
        _, counts = labels[row].unique(return_counts=True)
        assert len(counts) == wanted
        assert {batch // wanted, -(-batch // wanted)} >= set(counts.tolist())


def test_balanced_sampling_repeats_a_sample_only_when_its_class_is_used_up():
    labels = torch.arange(6).repeat_interleave(8)
    plan = balanced_plan(labels, steps=2, batch_size=24, samples_per_class=4, generator=torch.Generator())
    assert len(plan.unique()) == plan.numel() == 48


def test_uniform_batches_cover_the_data_once():
    plan = uniform_plan(103, batch_size=10, generator=torch.Generator())
    assert plan.shape == (10, 10)
    assert len(plan.unique()) == 100


def test_weight_decay_spares_biases():
    data = task_data(run_spec())
    settings_ = Training(weight_decay=0.1, optimizer="sgd")
    optimizer = make_optimizer(build(run_spec(), data), settings_, 1.0)
    decayed, spared = optimizer.param_groups
    assert all(param.ndim > 1 for param in decayed["params"])
    assert all(param.ndim <= 1 for param in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_each_step_is_taken_at_the_rate_that_the_schedule_gives_it(schedule, monkeypatch):
    rates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    spec = run_spec("softmax", "training.optimizer=sgd", f"training.schedule={schedule}", "training.epochs=2")
    data = task_data(spec)
    images, labels = data.train.images[:320], data.train.labels[:320]  # five batches an epoch
    train(build(spec, data), images, labels, spec, Clock(), lambda epoch: {"val_map_at_r": 0.0})
    expected = {
        "constant": [1.0] * 10,
        "cosine": [(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)],
        "step": [1.0] * 5 + [0.8] * 3 + [0.64] * 2,
    }
    assert rates == pytest.approx([spec.lr * factor for factor in expected[schedule]])


def test_features_in_two_dimensions_are_kept_for_training_and_the_centers_for_every_epoch():
    result = execute(run_spec("softmax+center", "embedding_dim=2"))
    arrays, epochs = result.arrays, len(result.record["curves"]["epoch"])
    assert arrays["train.embeddings"].shape == (len(arrays["train.labels"]), 2)
    assert len(arrays["train.labels"]) == 1079
    assert arrays["epochs.centers"].shape == (epochs, 10, 2)
    assert not np.array_equal(arrays["epochs.centers"][0], arrays["epochs.centers"][-1])
    wide = execute(run_spec("softmax+center", "embedding_dim=4"))
    assert not {"train.embeddings", "epochs.centers"} & wide.arrays.keys()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_pull_of_the_centers_is_measured_in_final_runs(optimizer):
    overrides = (f"training.optimizer={optimizer}", "training.epochs=1")
    train = execute(run_spec("softmax+center", *overrides, alpha=0.5)).record["metrics"]["train"]
    assert 0.40 < train["center.pull"] < 0.46  # 64 images of ten classes: 0.5 * 6.4 / 7.4 = 0.432
    assert train["center.pull_sustained"] == train["center.pull"]
    caffe = execute(run_spec("softmax+center-caffe", *overrides)).record["metrics"]["train"]
    assert caffe["center-caffe.pull"] > 0
    assert "center.pull" not in execute(run_spec("softmax", *overrides)).record["metrics"]["train"]


def test_metrics_of_other_files_do_not_enter_a_run(tmp_path):
    """A process may have loaded any number of plugin files; a run computes the metrics of its own."""
    file = tmp_path / "count.py"
    file.write_text(
        "from lossbench import metric\n\n@metric('sample-count')\ndef sample_count(embeddings, labels):\n"
        "    return float(len(labels))\n"
    )
    registry.load_file(file)
    one_epoch = ("training.epochs=1", 'recipes=["softmax"]')
    without, loaded = (tiny_plan(*one_epoch, plugins=plugins) for plugins in ((), (file,)))
    specs = [
        plan.run_spec(plan.experiment.tasks[0], plan.recipes[0], plan.recipes[0].defaults, seed=1, final=True)
        for plan in (without, loaded)
    ]
    scores = [execute(spec).record["metrics"]["val"] for spec in specs]
    assert scores[1].pop("sphere.sample-count") == scores[1].pop("euclidean.sample-count") > 0
    assert same(scores[0], scores[1])
    assert [len(spec.provenance.plugins) for spec in specs] == [0, 1]
