"""A share of the classes at each step: the dense loss of these classes, and all others stay where they are."""

from __future__ import annotations

import math

import pytest
import torch
from run.shard_probe import BATCH, CLASSES, DIM, SAMPLED, STEPS, model_of, train_sampled
from torch.nn import functional

from experiments import report_of, run_spec, sweep, tiny_plan
from lossbench.plugins import Problem, registry
from lossbench.plugins.mistakes import SpecError
from lossbench.report.evidence import boards
from lossbench.report.sections.snippet import code
from lossbench.run import sharding
from lossbench.run.data import task_data
from lossbench.run.execution import _has_collapsed, build
from lossbench.run.history import History
from lossbench.run.optimizer import make_optimizer
from lossbench.run.sampled import Sampled
from lossbench.specification.fingerprint import EXECUTE, ROOT, Definition, Sources
from lossbench.specification.negatives import HEADS
from lossbench.specification.spec import from_json, to_json
from lossbench.specification.training_settings import Training
from lossbench.store import Store
from lossbench.sweep.plan_file import planned_before, stale_reasons


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def dense(recipe, points, labels, state, classes):
    """Cross-entropy over those classes alone, from the formulas of the papers, in float64."""
    (rows, others) = zip(
        *[(values.movedim(axis, 0)[classes], name) for name, values, axis in split(state)], strict=True
    )
    places = torch.searchsorted(classes, labels)
    if recipe.startswith("softmax"):
        logits = points @ rows[others.index("weight")].T + rows[others.index("bias")]
        return functional.cross_entropy(logits, places, label_smoothing=0.1 if "smoothed" in recipe else 0.0)
    cosines = (points / points.norm(dim=1, keepdim=True)) @ (rows[0] / rows[0].norm(dim=1, keepdim=True)).T
    own = torch.arange(len(classes)) == places.unsqueeze(1)
    angles, margin = torch.acos(cosines), math.radians(28.6)
    beyond = cosines - margin * math.sin(margin)  # where the angle and its margin are more than 180 degrees
    logits = {
        "normalized-softmax": cosines / 0.05,
        "cosface": 64 * torch.where(own, cosines - 0.35, cosines),
        "arcface": 64
        * torch.where(own, torch.where(angles + margin <= math.pi, torch.cos(angles + margin), beyond), cosines),
    }[recipe]
    return -functional.log_softmax(logits, 1)[own].mean()


def split(state):
    """(name, tensor, axis of the classes) of a head."""
    return [(name, values, 1 if name == "W" else 0) for name, values in state.items()]


def assert_dense(recipe, step, classes):
    """A step is that of the dense loss of the classes that were drawn, and moves nothing else."""
    points = step["points"].clone().requires_grad_()
    state = {name: values.clone().requires_grad_() for name, values in step["before"].items()}
    loss = dense(recipe, points, step["labels"], state, classes)
    loss.backward()
    assert step["loss"] == pytest.approx(loss.item(), rel=1e-11)
    torch.testing.assert_close(step["gradient"], points.grad, rtol=1e-9, atol=1e-12)
    others = torch.ones(CLASSES, dtype=torch.bool)
    others[classes] = False
    for name, values, axis in split(step["after"]):
        before = step["before"][name].movedim(axis, 0)
        assert torch.equal(values.movedim(axis, 0)[others], before[others]), name
        assert not torch.equal(values.movedim(axis, 0)[~others], before[~others]), name
    return {name: values.grad for name, values in state.items()}


@pytest.mark.parametrize("recipe", SAMPLED)
def test_a_step_is_that_of_the_dense_loss_of_the_classes_drawn(doubles, recipe):
    found = train_sampled(recipe)
    sizes = set()
    momentum = {name: torch.zeros_like(values) for name, values in found["steps"][0]["before"].items()}
    for step in found["steps"]:
        classes = step["drawn"]
        sizes.add(len(classes))
        assert set(step["labels"].tolist()) <= set(classes.tolist())
        for name, gradient in assert_dense(recipe, step, classes).items():
            axis = 1 if name == "W" else 0
            rows = [part.movedim(axis, 0)[classes] for part in (gradient, step["before"][name], momentum[name])]
            decayed = rows[0] + (0.1 * rows[1] if gradient.ndim > 1 else 0.0)
            momentum[name].movedim(axis, 0)[classes] = moved = 0.9 * rows[2] + decayed
            after = step["after"][name].movedim(axis, 0)[classes]
            torch.testing.assert_close(after, rows[1] - 0.05 * moved, rtol=1e-9, atol=1e-12)
    assert sizes == {4}  # half of seven
    assert len({tuple(step["drawn"].tolist()) for step in found["steps"]}) > STEPS / 2


def test_adam_keeps_moments_of_each_class_for_the_step_that_draws_it_again(doubles):
    model = model_of("softmax", negatives=0.4)
    head = model.losses[0].module.train(True)
    optimizer = make_optimizer(model, Training(), lr=0.01)
    first, second, weight = (torch.zeros(CLASSES, DIM), torch.zeros(CLASSES, DIM), head.weight.detach().clone())
    for count in range(1, STEPS + 1):
        draw = torch.Generator().manual_seed(count)
        points, labels = torch.randn(BATCH, DIM, generator=draw), torch.randint(0, 2, (BATCH,), generator=draw)
        head(points, labels).backward()
        rows, gradient = head.parts[0].rows, head.parts[0].own.grad.clone()
        optimizer.step()
        first[rows] = 0.9 * first[rows] + 0.1 * gradient
        second[rows] = 0.999 * second[rows] + 0.001 * gradient**2
        size = (second[rows] / (1 - 0.999**count)).sqrt() + 1e-8
        weight[rows] -= 0.01 * first[rows] / (1 - 0.9**count) / size
        torch.testing.assert_close(head.weight.detach(), weight, rtol=1e-9, atol=1e-12)
        remembered = optimizer.state[head.weight]
        torch.testing.assert_close(remembered["exp_avg"], first, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(remembered["exp_avg_sq"], second, rtol=1e-9, atol=1e-15)
        assert head.weight.grad is None
        assert not head.parts


def test_a_term_of_weight_0_moves_nothing():
    model = model_of("softmax", negatives=0.5)
    head = model.losses[0].module.train(True)
    optimizer, before = make_optimizer(model, Training(weight_decay=0.1), lr=0.1), model.state()
    head(torch.randn(BATCH, DIM), torch.zeros(BATCH, dtype=torch.int64))
    optimizer.step()
    assert torch.equal(head.weight, before["loss.softmax"]["weight"])
    assert head.weight.shape == (CLASSES, DIM)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_share_of_all_classes_is_the_whole_head_to_the_bit(optimizer):
    states = []
    for share in (0.99, 1.0):
        model = model_of("cosface", negatives=0.99)  # of seven classes, rounded: all
        model.losses[0].module.negatives = share
        stepping = make_optimizer(model, Training(optimizer=optimizer, weight_decay=0.1), lr=0.1)
        for seed in range(3):
            draw = torch.Generator().manual_seed(seed)
            stepping.zero_grad()
            points, labels = (
                torch.randn(BATCH, DIM, generator=draw),
                torch.randint(0, CLASSES, (BATCH,), generator=draw),
            )
            model.losses[0].module(points, labels).backward()
            stepping.step()
        states.append((model.losses[0].module.W.detach(), next(iter(stepping.state.values()))))
    (drawn_all, remembered), (whole, expected) = states
    assert torch.equal(drawn_all, whole)
    assert remembered.keys() == expected.keys()
    assert all(torch.equal(remembered[key], expected[key]) for key in expected)


def test_with_all_classes_nothing_is_drawn_and_no_run_is_another():
    spec = run_spec("arcface", "training.negatives=1.0")
    assert spec == run_spec("arcface")
    assert "negatives" not in to_json(spec)["training"]
    (term,) = build(spec, task_data(spec)).losses
    assert type(term.module) is type(registry.find("loss", "arcface").build(Problem(num_classes=3, embedding_dim=2)))


def test_the_classes_of_the_batch_are_always_drawn_and_others_evenly():
    loss, counts = Sampled(), torch.zeros(20)
    loss.negatives, loss.draws = 0.3, torch.Generator().manual_seed(0)
    positives = torch.tensor([3, 17, 3])
    for _ in range(3000):
        rows = loss.drawn(20, positives)
        assert len(rows) == 6
        assert torch.equal(rows, rows.unique())
        counts[rows] += 1
    assert counts[[3, 17]].tolist() == [3000, 3000]
    others = counts[[place for place in range(20) if place not in (3, 17)]]
    expected = 3000 * 4 / 18
    assert (others - expected).abs().max() < 5 * math.sqrt(expected * (1 - 4 / 18))  # five standard deviations
    assert loss.drawn(20, torch.arange(15)).tolist() == list(range(15))  # more than the share
    assert loss.drawn(0, positives[:0]).tolist() == []  # a rank without classes


def test_evaluation_sees_all_classes_and_draws_none():
    head = model_of("softmax", negatives=0.3).losses[0].module
    points, labels = torch.randn(BATCH, DIM), torch.arange(BATCH) % CLASSES
    before = head.draws.get_state()
    head.train(False)
    expected = functional.cross_entropy(functional.linear(points, head.weight, head.bias), labels)
    torch.testing.assert_close(head(points, labels), expected)
    assert head.logits(points).shape == (BATCH, CLASSES)
    assert torch.equal(head.draws.get_state(), before)


def test_the_heads_of_a_file_are_those_that_can_draw():
    problem = Problem(num_classes=CLASSES, embedding_dim=DIM)
    losses = [registry.find("loss", name) for name in registry.names("loss")]
    made = {loss.name: loss.build(problem) for loss in losses if loss.builtin}
    able = [name for name, each in made.items() if isinstance(sharding.sharded(each, 0.5, torch.Generator()), Sampled)]
    assert sorted(able) == sorted(HEADS)


def test_chance_is_no_number_where_classes_are_drawn():
    history = History(curves={"loss.softmax": [math.log(10)]})
    points = torch.randn(50, 3)
    assert _has_collapsed(history, points, 10)
    assert not _has_collapsed(history, points, None)


def test_how_classes_are_drawn_is_part_of_the_code_of_a_run():
    """Unlike how they are split, which is the same to rounding."""
    reached = Sources(ROOT).reached(EXECUTE)
    assert {Definition("lossbench.run.sampled", name) for name in ("Sampled", "Part", "move_parts_only")} <= reached
    assert not any(definition.module == "lossbench.run.sharding" for definition in reached)


RECIPES = 'recipes=["softmax", {name="few", use="arcface", negatives=0.1}, "triplet"]'


def test_a_recipe_has_its_own_share_or_that_of_the_training():
    assert [recipe.negatives for recipe in tiny_plan(RECIPES).recipes] == [1.0, 0.1, 1.0]
    plan = tiny_plan(RECIPES, "training.negatives=0.5")
    assert [recipe.negatives for recipe in plan.recipes] == [0.5, 0.1, 1.0]  # triplets have no head
    task, few = plan.experiment.tasks[0], plan.recipes[1]
    spec = plan.run_spec(task, few, few.defaults, seed=1, final=True)
    assert spec.training.negatives == 0.1
    assert from_json(to_json(spec)) == spec
    assert spec.run_id != plan.run_spec(task, few, few.defaults, seed=2, final=True).run_id
    assert spec.key != run_spec("arcface").key
    assert run_spec("triplet", "training.negatives=0.5").run_id == run_spec("triplet").run_id


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.negatives=0", "training.negatives: 0 is not more than 0"),
        ("training.negatives=1.5", "training.negatives: 1.5 is more than 1"),
        ("training.negatives=some", "training.negatives: 'some' is not a number"),
        ('recipes=[{name="few", use="softmax", negatives=2}]', r"recipes\[0\].negatives: 2 is more than 1"),
        (
            'recipes=["softmax", {name="few", use="triplet", negatives=0.1}]',
            r"recipes\[1\].negatives: 0.1: no loss of 'triplet' draws classes; softmax, normalized-softmax, ",
        ),
    ],
)
def test_mistakes_say_what_they_are(setting, message):
    with pytest.raises(SpecError, match=message):
        tiny_plan(setting)


@pytest.mark.slow
def test_what_is_made_of_the_runs_knows_the_share(tmp_path, monkeypatch):
    entries = 'recipes=["softmax", {name="few", use="softmax", negatives=0.5}]'
    settings = (entries, "budget.trials=1", "baselines=[]")
    store, _ = sweep(tiny_plan(*settings), tmp_path)
    text, toml = report_of(tmp_path, tmp_path)
    assert "classes of few" in text
    assert "0.5 of them at a step" in text
    assert "classes of softmax" not in text
    assert '{ name = "few", use = "softmax", negatives = 0.5 }' in toml

    document = store.read_plan("ablation")
    entry = boards.Entry(folder="", plan=document, store=store, task="", table=store.table(document), planned=0)
    whole, few = document["recipes"]
    use = {**few, "name": "softmax"}  # which leaves the share as all that differs
    assert boards._definition(entry, whole) != boards._definition(entry, use)

    monkeypatch.setattr("lossbench.specification.plan.code_digest", lambda plugins: "other")
    monkeypatch.setattr("lossbench.sweep.plan_file.code_digest", lambda plugins: "other")
    changed = tiny_plan(*settings)
    stale = stale_reasons(changed, Store(store.root), planned_before(changed, store), [])
    assert stale.keys() == {row["run_id"] for row in document["rows"]}


def test_the_printed_code_says_what_it_leaves_out():
    assert "with 0.5 of the classes at a step" in code(to_json(run_spec("softmax", "training.negatives=0.5")))
    assert "of the classes" not in code(to_json(run_spec("softmax")))
