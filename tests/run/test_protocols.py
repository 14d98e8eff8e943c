"""Protocols end to end: few-shot of unseen classes, folds and pairs files, from plan to table and report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import dataset_files
import numpy as np
import pytest
import torch

from experiments import DIGITS_OPEN, run_spec, sweep, tiny_plan
from lossbench import datasets, metrics, report
from lossbench.plugins.mistakes import SpecError
from lossbench.report.evidence.comparisons import FOLD_ACCURACY, PRIMARY, Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections import folds, quality, setting
from lossbench.run import evaluation
from lossbench.run.data import forget, task_data
from lossbench.run.execution import execute
from lossbench.sweep import dry_run

LFW = 'tasks=[{dataset="lfw", protocol="verification"}]'
ONE = ('recipes=["softmax"]', "training.input_size=16", "training.epochs=1", "training.batch_size=16")


@pytest.fixture
def faces(tmp_path, monkeypatch) -> None:
    """LFW in small: 60 people of noise in the publisher's layout."""
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path / "data"))
    forget()
    dataset_files.write("lfw", tmp_path / "data")


# few-shot


def test_few_shot_is_the_metrics_own_figure_in_both_spaces():
    generator = torch.Generator().manual_seed(0)
    embeddings, labels = torch.randn(8 * 20, 3, generator=generator), torch.arange(8).repeat_interleave(20)
    embeddings += labels[:, None]
    scores = evaluation.score_few_shot(embeddings, labels)
    for space, points in (("euclidean", embeddings), ("sphere", metrics.unit(embeddings))):
        alone = metrics.few_shot_accuracy(points, labels, ways=5, shots=5)["accuracy"]
        assert scores[f"{space}.few_shot_5way_5shot"] == alone
        assert math.isnan(scores[f"{space}.few_shot_20way_1shot"])  # eight classes


def test_few_shot_needs_its_shots_and_fifteen_queries_of_each_class():
    labels = torch.arange(5).repeat_interleave(19)  # one short of 5 + 15
    scores = evaluation.score_few_shot(torch.randn(len(labels), 2), labels)
    assert not math.isnan(scores["sphere.few_shot_5way_1shot"])
    assert math.isnan(scores["sphere.few_shot_5way_5shot"])


# pairs


def test_the_threshold_comes_from_the_other_pairs():
    points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    rows = evaluation.PairRows(
        first=torch.tensor([0, 2, 0, 1]),
        second=torch.tensor([1, 3, 2, 3]),
        same=torch.tensor([True, True, False, False]),
    )
    assert evaluation.score_pairs(points, rows, points, rows)["euclidean.fold_accuracy"] == 1.0
    wide = evaluation.score_pairs(points, rows, 100 * points, rows)  # a threshold a hundred times too far
    assert wide["euclidean.fold_accuracy"] == 0.5
    assert wide["sphere.fold_accuracy"] == 1.0


def test_verification_tunes_on_view_1_and_tests_on_folds_of_view_2(faces):
    plan = tiny_plan(LFW, *ONE)
    task, recipe = plan.experiment.tasks[0], plan.recipes[0]
    trial = execute(plan.run_spec(task, recipe, recipe.defaults, seed=0, final=False)).record
    assert trial["status"] == "ok"
    assert "test" not in trial["metrics"]
    tested = []
    for fold in (0, 1):
        result = execute(plan.run_spec(task, recipe, recipe.defaults, seed=1, final=True, fold=fold))
        scores = result.record["metrics"]["test"]
        assert {f"sphere.{name}" for name in ("fold_accuracy", "auc", "eer", "tar_at_far_0.1")} <= scores.keys()
        assert math.isnan(scores["sphere.tar_at_far_0.1"])  # three impostor pairs resolve no rate
        tested.append(set(result.arrays["class_names"]))
    assert tested[0] == set(dataset_files.PEOPLE[0::5])
    assert tested[1] == set(dataset_files.PEOPLE[1::5])


def test_stored_pair_figures_follow_from_the_stored_embeddings(faces):
    plan = tiny_plan(LFW, *ONE)
    task, recipe = plan.experiment.tasks[0], plan.recipes[0]
    spec = plan.run_spec(task, recipe, recipe.defaults, seed=1, final=True, fold=0)
    result, data = execute(spec), task_data(spec)
    points = result.arrays["embeddings"].astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    rows = data.pairs[1]
    distance = np.linalg.norm(points[rows.first.numpy()] - points[rows.second.numpy()], axis=1)
    same = rows.same.numpy()
    wins = (distance[same][:, None] < distance[~same][None]).mean()
    assert result.record["metrics"]["test"]["sphere.auc"] == pytest.approx(wins, abs=1e-12)


# folds


@pytest.mark.slow
def test_a_study_is_a_fold_searched_on_view_1(faces, tmp_path):
    plan = tiny_plan(LFW, *ONE, "budget.studies=3")
    store, progress = sweep(plan, tmp_path)
    table = store.table(store.read_plan("ablation"))
    finals = table[table["role"] == "final"]
    assert progress.total == len(table)
    assert finals.groupby("study")["fold"].unique().apply(list).to_dict() == {1: [0], 2: [1], 3: [2]}
    assert table.loc[table["role"].isin(["trial", "candidate"]), "fold"].isna().all()
    assert not {spec["deal"] for spec in specs(store, table)} - {None}, "View 1 and the folds stay what they are"
    assert set(table.loc[table["recipe"] == "pixels", "fold"]) == {0, 1, 2}
    said = dry_run.describe(plan, store, 1)
    assert "; a study is one of 5 folds, of which these are the last one's sizes; at least " in said
    assert "every study" not in said
    material = gather("ablation", tmp_path)
    task = "lfw/verification"
    assert setting.data(material, task).endswith(" samples (in the last fold)")
    assert material.values(task, "softmax", PRIMARY)[2] == pytest.approx(
        finals.loc[finals["study"] == 2, PRIMARY].mean()
    )
    shown = folds.table(Evidence(material), task)
    means = [finals.loc[finals["fold"] == fold, FOLD_ACCURACY.column].mean() for fold in range(3)]
    row = next(row for row in shown.rows if row.cells[0].text == "softmax")
    assert [cell.value for cell in row.cells[1:4]] == pytest.approx(means)
    assert row.cells[4].value == pytest.approx(np.mean(means))
    assert row.cells[5].value == pytest.approx(np.std(means, ddof=1) / math.sqrt(3))
    *_, page = report.write("ablation", tmp_path, tmp_path / "reports")  # trials have no fold
    assert Path(page).is_file()


def specs(store, table):
    return [store.read(run_id)["spec"] for run_id in table["run_id"]]


@pytest.mark.slow
def test_a_study_that_lacks_a_final_run_has_no_score(faces, tmp_path):
    plan = tiny_plan(LFW, *ONE, "budget.trials=1", "budget.studies=2")
    store, _ = sweep(plan, tmp_path)
    lost = next(row for row in store.read_plan("ablation")["rows"] if (row["role"], row["fold"]) == ("final", 1))
    (store.folder(lost["run_id"]) / "result.json").unlink()
    values = gather("ablation", tmp_path).values("lfw/verification", "softmax", PRIMARY)
    assert math.isnan(values[lost["study"]])
    assert sum(math.isnan(value) for value in values.values()) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('{dataset="digits", protocol="open-set", folds=3}', "folds: unknown key"),
        ('{dataset="digits", protocol="closed-set", val_classes=2}', "closed-set has no validation classes to choose"),
        ('{dataset="digits", protocol="closed-set", splits="anew"}', "splits: 'anew' is not 'dealt' or 'fixed'"),
        ('{dataset="lfw", protocol="verification"}', "a study of lfw/verification is one of its 5 folds"),
    ],
)
def test_tasks_that_cannot_be(faces, task, message):
    with pytest.raises(SpecError, match=message):
        tiny_plan(f"tasks=[{task}]", "budget.studies=6", "training.batch_size=16")


@pytest.mark.slow
def test_the_quality_table_shows_what_a_task_has_and_nothing_else(tmp_path):
    sweep(tiny_plan(DIGITS_OPEN, 'recipes=["softmax"]', "budget.trials=1"), tmp_path)
    labels = [
        column.header for column in quality.table(Evidence(gather("ablation", tmp_path)), "digits/open-set").columns
    ]
    assert any("ROC AUC" in label for label in labels)
    assert not any("head accuracy" in label or "fold accuracy" in label for label in labels)


# deals


def test_a_deal_reaches_training_and_validation_and_never_test():
    spec = run_spec("softmax", DIGITS_OPEN, "training.epochs=1", "training.batch_size=16")
    dealt = [replace(spec, deal=deal) for deal in (None, 1, 2)]
    data = [task_data(each) for each in dealt]
    for part in ("train", "val"):
        assert len({getattr(each, part).images.numpy().tobytes() for each in data}) == 3
    assert len({each.test.images.numpy().tobytes() for each in data}) == 1
    records = [execute(each).record for each in dealt]
    assert len({record["metrics"]["val"]["sphere.map_at_r"] for record in records}) == 3
    assert len({each.run_id for each in dealt}) == 3
    assert replace(spec, deal=1).run_id == dealt[1].run_id


def test_data_are_loaded_once_for_all_deals(monkeypatch):
    calls, spec, load = [], run_spec("softmax", "training.input_size=9"), datasets.load
    monkeypatch.setattr(datasets, "load", lambda *named: (calls.append(named), load(*named))[1])
    forget()
    for deal in (None, 1, 2, 3):
        task_data(replace(spec, deal=deal))
    assert calls == [("digits", 9, "crop")]


def test_fewer_validation_classes_are_validated_on():
    task = 'tasks=[{dataset="glyphs", protocol="open-set", train_classes=20, val_classes=10, input_size=8}]'
    spec = run_spec("softmax", task)
    data = task_data(replace(spec, deal=5))
    assert (data.num_classes, len(data.val.labels.unique())) == (20, 10)
    assert len(data.test.labels.unique()) > 200
    other = task_data(replace(spec, deal=6))  # scripts stay apart: what differs are the classes that were chosen
    assert not torch.equal(data.train.images[:200], other.train.images[:200])
    assert not torch.equal(data.val.images[:100], other.val.images[:100])
    assert torch.equal(data.test.images, other.test.images)
