"""A neck: which tensor a loss sees, what is embedded, and that a run without one is what it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments import report_of, run_spec, sweep, tiny_plan
from lossbench.run import evaluation
from lossbench.run.data import task_data
from lossbench.run.execution import build, execute
from lossbench.run.model import combine, to_input
from lossbench.run.necks import Necked
from lossbench.run.optimizer import make_optimizer, rate_factor
from lossbench.specification.training_settings import Training

NECK = "neck=batchnorm"
ALL = "softmax+triplet+center"


def batch_of(spec):
    data = task_data(spec)
    return data, to_input(data.train.images[:48]), data.train.labels[:48]


def seen_by_terms(spec) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """What each loss is called with in one training step, and the tensors before and after the neck."""
    data, images, labels = batch_of(spec)
    model = build(spec, data)
    seen, outputs = {}, {}
    for term in model.losses:
        term.module.register_forward_pre_hook(lambda _, given, name=term.name: seen.__setitem__(name, given[0]))
    model.network.backbone.register_forward_hook(lambda *given: outputs.__setitem__("before", given[-1]))
    model.network.neck.register_forward_hook(lambda *given: outputs.__setitem__("after", given[-1]))
    model.train(True)
    combine(model.losses, model.network(images).float(), labels)
    return seen, outputs["before"], outputs["after"]


@pytest.mark.parametrize(
    ("settings", "before"),
    [
        ((), {"triplet", "center"}),
        (('terms={center="after"}',), {"triplet"}),
        (('terms={softmax="before", triplet="after"}',), {"softmax", "center"}),
        ((f'terms={{"{ALL}"={{center="after"}}, triplet="after"}}',), set()),
        ((f'terms={{"{ALL}"={{triplet="before"}}, triplet="after"}}',), {"triplet", "center"}),
    ],
)
def test_every_term_sees_the_tensor_that_the_file_says(settings, before):
    seen, first, second = seen_by_terms(run_spec(ALL, NECK, *settings))
    assert {name for name, tensor in seen.items() if torch.equal(tensor, first)} == before
    assert {name for name, tensor in seen.items() if torch.equal(tensor, second)} == set(seen) - before


def test_the_neck_is_batch_normalization_without_a_shift():
    spec = run_spec(ALL, NECK)
    _, before, after = seen_by_terms(spec)
    wanted = (before - before.mean(0)) / (before.var(0, correction=0) + 1e-5).sqrt()
    assert torch.allclose(after, wanted, atol=1e-4)
    data, images, labels = batch_of(spec)
    model = build(spec, data)
    optimizer = make_optimizer(model, spec.training, 0.1)
    for _ in range(3):
        model.train(True)
        combine(model.losses, model.network(images), labels)[0].backward()
        optimizer.step()
    neck = model.network.neck
    assert (neck.bias == 0).all()
    assert (neck.weight != 1).all()
    model.train(False)
    embedded = evaluation.embed(model.network, data.val.images)
    raw = evaluation.embed(model.network.backbone, data.val.images)
    assert embedded.shape == (len(data.val.labels), spec.embedding_dim)
    expected = (raw - neck.running_mean) / (neck.running_var + neck.eps).sqrt() * neck.weight
    assert torch.allclose(embedded, expected, atol=1e-5)


def test_without_a_neck_a_run_is_what_it_was():
    plain, none = run_spec(ALL), run_spec(ALL, "neck=none")
    assert (none.run_id, none.key) == (plain.run_id, plain.key)
    assert not {"neck", "before_neck"} & plain._identity().keys()
    model = build(plain, task_data(plain))
    assert not isinstance(model.network, Necked)
    assert {tuple(name.split(".")[:1]) for name in model.state()} == {("network",), ("loss",)}
    assert len({plain.key, run_spec(ALL, NECK).key, run_spec(ALL, NECK, 'terms={center="after"}').key}) == 3


def test_a_neck_that_no_loss_sees_changes_nothing_of_the_training():
    necked, plain = (execute(run_spec("triplet", *more)) for more in ((NECK,), ()))
    assert necked.record["curves"]["loss"][1:] == plain.record["curves"]["loss"][1:]
    found, wanted = (torch.load(_stream(each.checkpoint), weights_only=True)["network"] for each in (necked, plain))
    same_epoch = necked.record["best_epoch"] == plain.record["best_epoch"]
    assert not same_epoch or all(torch.equal(found[f"backbone.{name}"], value) for name, value in wanted.items())
    assert necked.record["metrics"]["test"] != plain.record["metrics"]["test"]


def _stream(content):
    import io

    return io.BytesIO(content)


def test_figures_of_centers_are_of_where_the_centers_lie():
    spec = run_spec("softmax+center", NECK, "training.epochs=1")
    result = execute(spec)
    data, model = task_data(spec), build(spec, task_data(spec))
    model.load(torch.load(_stream(result.checkpoint), weights_only=True))
    points = evaluation.embed(model.network.backbone, data.train.images).double()
    labels, centers = data.train.labels, model.losses[1].module.centers.double()
    means = torch.stack([points[labels == label].mean(0) for label in range(data.num_classes)])
    away = (centers - means).norm(dim=1)
    train = result.record["metrics"]["train"]
    assert train["center.center_distance_mean"] == pytest.approx(float(away.mean()), rel=1e-5)
    assert 0 < train["center.pull"] <= 1
    known = evaluation.embed(model.network, data.train.images)
    right = (model.losses[0].module.logits(known).argmax(1) == labels).double().mean()
    assert train["head_accuracy"] == pytest.approx(float(right), abs=2e-3)
    turned = execute(replace(spec, before_neck=("softmax", "center"))).record["metrics"]["train"]
    assert turned["head_accuracy"] > 0.2


def test_two_stages_keep_the_neck():
    record = execute(run_spec("softmax->softmax+triplet", NECK, "training.epochs=2")).record
    assert record["status"] == "ok"
    assert record["spec"]["neck"] == "batchnorm"
    assert list(record["spec"]["before_neck"]) == ["triplet"]


def test_warm_up_rises_from_a_tenth_and_ends_at_zero():
    factor = rate_factor(Training(schedule="warmup-cosine"), 100)
    rates = [factor(step) for step in range(101)]
    assert rates[:3] == pytest.approx([0.1, 0.19, 0.28])
    assert rates[10] == max(rates) == 1.0
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    for steps in (1, 2, 5):  # fewer than a warm-up has
        assert all(0 <= rate_factor(Training(schedule="warmup-cosine"), steps)(step) <= 1 for step in range(steps + 1))


@pytest.mark.slow
def test_the_report_says_which_term_sees_what(tmp_path):
    entries = '["softmax+triplet", { name = "bare", use = "softmax+triplet", neck = "none" }]'
    plan = tiny_plan(f"recipes={entries}", NECK, 'terms={"softmax+triplet"={triplet="after"}}', "budget.trials=1")
    sweep(plan, tmp_path)
    text, toml = report_of(tmp_path, tmp_path)
    assert "neck of softmax+triplet" in text
    assert "batchnorm; before it no loss" in text
    assert "neck of bare" not in text
    assert '[terms."softmax+triplet"]\ntriplet = "after"' in toml
    assert '{ name = "bare", use = "softmax+triplet", neck = "none" }' in toml
