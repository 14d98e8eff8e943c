"""The cost probe: recipes in turns on the same batches, measured once, kept apart from runs."""

from __future__ import annotations

import pytest

from experiments import sweep, tiny_plan
from lossbench.executors.processes import SerialExecutor
from lossbench.run import measuring
from lossbench.sweep.probe import probe_specs, run_probe, run_scaling

FAST = ("training.epochs=1", "budget.seeds=1", "budget.trials=1", 'recipes=["softmax", "triplet", "softmax+center"]')


class Counting(SerialExecutor):
    calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        return super().submit(fn, *args, **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = tiny_plan(*FAST)
    store, _ = sweep(plan, tmp_path_factory.mktemp("runs"))
    return plan, store


def test_every_recipe_and_the_backbone_have_one_value_a_round_of_every_part(finished) -> None:
    plan, store = finished
    assert run_probe(plan, store, SerialExecutor()) == []
    found = store.read_probe("ablation")["tasks"]["digits/closed-set"]
    assert set(found["recipes"]) == {"softmax", "triplet", "softmax+center", measuring.BACKBONE}
    for parts in found["recipes"].values():
        assert {len(values) for values in parts.values()} == {measuring.ROUNDS}
        for step, *rest in zip(parts["step_s"], *(parts[name] for name in measuring.PARTS), strict=True):
            assert step == pytest.approx(sum(rest))
            assert all(seconds > 0 for seconds in rest)


def test_what_is_measured_is_not_measured_again_unless_asked(finished) -> None:
    plan, store = finished
    run_probe(plan, store, SerialExecutor())
    executor = Counting()
    run_probe(plan, store, executor)
    assert executor.calls == 0
    run_probe(tiny_plan(*FAST, "embedding_dim=5"), store, executor)
    assert executor.calls == 1, "another network is another step"


def test_the_probe_takes_the_tuned_values(finished) -> None:
    plan, store = finished
    rows = store.read_plan("ablation")["rows"]
    tuned = next(row["params"] for row in rows if row["role"] == "final" and row["recipe"] == "triplet")
    spec = probe_specs(plan, store, plan.experiment.tasks[0])["triplet"]
    assert spec.lr == tuned["lr"]
    assert dict(spec.terms[0].params)["margin"] == tuned["margin"]


def test_a_recipe_that_fails_is_named_and_the_others_are_measured(finished, monkeypatch) -> None:
    plan, store = finished
    specs = probe_specs(plan, store, plan.experiment.tasks[0])

    def combine(losses, embeddings, labels):
        if losses[0].name == "triplet":
            raise RuntimeError("no triplets today")
        return original(losses, embeddings, labels)

    original = measuring.combine
    monkeypatch.setattr(measuring, "combine", combine)
    found = measuring.measure_steps(specs)
    assert found["failed"] == {"triplet": "RuntimeError: no triplets today"}
    assert set(found["recipes"]) == {"softmax", "softmax+center", ""}


@pytest.mark.slow
def test_each_loss_is_measured_at_every_size(finished, monkeypatch) -> None:
    plan, store = finished
    scales = {"batch_size": (8, 16), "embedding_dim": (4,), "classes": (10, 50)}
    monkeypatch.setattr(measuring, "SCALES", scales)
    run_probe(plan, store, SerialExecutor())
    run_scaling(plan, store, SerialExecutor())
    found = store.read_probe("ablation")["scaling"]["losses"]
    assert set(found) == {"softmax", "triplet", "center"}
    for sizes in found.values():
        assert {scale: [size for size, _ in points] for scale, points in sizes.items()} == {
            scale: list(points) for scale, points in scales.items()
        }
        assert all(seconds > 0 for points in sizes.values() for _, seconds in points)
