"""Vectors through the one training loop: every kind of recipe, the baselines, and what stays on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from experiments import ABLATION, run_spec, tiny_plan
from lossbench import load_results, metrics
from lossbench.cli import main
from lossbench.plugins.mistakes import SpecError
from lossbench.run import evaluation
from lossbench.run.data import task_data
from lossbench.run.execution import execute
from lossbench.run.model import to_input
from lossbench.run.rows import Rows

CLASSES, EACH, WIDTH = 12, 12, 6
SETTING = ('backbone="residual"', f"embedding_dim={WIDTH}", "training.batch_size=32", "training.epochs=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file of 144 vectors of 12 classes, and a cache of its own."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    features = rng.normal(size=(CLASSES, WIDTH))[labels] + 0.6 * rng.normal(size=(len(labels), WIDTH))
    ids = [f"clip {row}" for row in range(len(labels))]
    np.savez(folder / "f.npz", features=features.astype(np.float16), labels=labels, id=ids)
    return folder


@pytest.fixture
def task(folder, monkeypatch):
    """`task(protocol)`: the setting whose one task is the file under a protocol."""
    monkeypatch.setenv("LOSSBENCH_CACHE", str(folder / "cache"))
    return lambda protocol: f'tasks=[{{dataset="features:{folder / "f.npz"}", protocol="{protocol}"}}]'


PROTOCOLS = pytest.mark.parametrize("protocol", ["closed-set", "open-set"])


@PROTOCOLS
@pytest.mark.parametrize(
    "recipe", ["softmax", "softmax+center", "contrastive", "triplet", "softmax+contrastive", "arcface"]
)
def test_every_kind_of_recipe_trains_on_vectors(task, protocol, recipe):
    result = execute(run_spec(recipe, task(protocol), *SETTING))
    assert result.record["status"] == "ok", result.record.get("error")
    assert np.isfinite(result.record["curves"]["loss"][1:]).all()
    first, last = (result.arrays["epochs.embeddings"][epoch] for epoch in (0, -1))
    assert not np.array_equal(first, last)
    assert 0 < result.record["metrics"]["test"]["sphere.map_at_r"] <= 1


@pytest.mark.parametrize("backbone", ["linear", "mlp"])
def test_every_network_of_vectors_trains(task, backbone):
    record = execute(
        run_spec("softmax", task("open-set"), *SETTING, f'backbone="{backbone}"', "embedding_dim=3")
    ).record
    assert record["status"] == "ok", record.get("error")


def baseline(plan, name: str, **where):
    return execute(plan.baseline_spec(plan.experiment.tasks[0], name, seed=1, **where))


@PROTOCOLS
def test_baselines_are_those_of_vectors(task, protocol):
    plan = tiny_plan(task(protocol), *SETTING, 'baselines=["untrained", "pixels", "pca", "lda"]')
    assert plan.experiment.baselines == ("untrained", "features", "pca", "lda")  # as they are is named by what they are
    assert plan.baseline_names(plan.experiment.tasks[0], 1).count("features") == 1
    as_they_are = baseline(plan, "features")
    data = task_data(plan.baseline_spec(plan.experiment.tasks[0], "features", seed=1))
    expected = metrics.retrieval_metrics(metrics.unit(data.test.images[:].float()), data.test.labels)["map_at_r"]
    assert as_they_are.record["metrics"]["test"]["sphere.map_at_r"] == pytest.approx(expected, abs=1e-12)
    untrained = baseline(plan, "untrained")  # residual, which starts as the identity
    assert np.array_equal(untrained.arrays["embeddings"], as_they_are.arrays["embeddings"])


def test_fitted_baselines_see_training_samples_of_their_deal_only(task):
    plan = tiny_plan(task("open-set"), *SETTING, 'baselines=["pca", "lda"]')
    for name in ("pca", "lda"):
        runs = [baseline(plan, name, deal=deal) for deal in (1, 2)]
        found = [run.record["metrics"]["test"]["sphere.map_at_r"] for run in runs]
        assert found[0] != found[1]
    data = task_data(plan.baseline_spec(plan.experiment.tasks[0], "pca", seed=1, deal=2))
    known = data.train.images[:].double().numpy()
    projected = (data.test.images[:].double().numpy() - known.mean(0)) @ np.linalg.inv(np.cov(known.T, bias=True))
    gram = projected @ (data.test.images[:].double().numpy() - known.mean(0)).T  # whitened inner products
    embeddings = baseline(plan, "pca", deal=2).arrays["embeddings"].astype(np.float64)
    assert np.allclose(embeddings @ embeddings.T, gram, atol=1e-2)


def test_mistakes_are_kept_by_id(task):
    arrays = execute(run_spec("softmax", task("open-set"), *SETTING)).arrays
    assert "errors.images" not in arrays
    assert arrays["errors.names"].shape == (len(arrays["errors.distance"]), 2)
    assert all(str(name).startswith("clip ") for name in arrays["errors.names"].flat)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('backbone="convnet"', "backbone: 'convnet' takes images, but features:.* has vectors: linear, mlp, residual"),
        ("training.augment=shift", "training.augment: 'shift': for pictures only, but features:.* has vectors"),
    ],
)
def test_what_is_for_pictures_is_refused(task, setting, message):
    with pytest.raises(SpecError, match=message):
        tiny_plan(task("closed-set"), *SETTING, setting)


def test_a_task_of_vectors_has_no_size_in_pixels(task):
    sized = task("closed-set").replace("}]", ", input_size=28}]")
    with pytest.raises(SpecError, match="holds vectors, which have no size in pixels"):
        tiny_plan(sized, *SETTING)
    tiny_plan(task("closed-set"), *SETTING, "training.input_size=28")  # meant for other tasks


def test_networks_of_vectors_are_refused_for_pictures():
    with pytest.raises(SpecError, match="'linear' takes vectors, but digits has images: convnet"):
        tiny_plan('backbone="linear"')


def test_vectors_stay_in_their_file(task):
    spec = run_spec("softmax", task("open-set"), *SETTING)
    images = task_data(spec).train.images
    assert isinstance(images, Rows)
    assert isinstance(images._mapped, np.memmap)
    whole = images[:]
    picked = torch.tensor([[3, 1], [0, 2]])
    assert torch.equal(images[picked], whole[picked])
    assert torch.equal(images[2:5], whole[2:5])
    assert torch.equal(images[np.array([4, 0])], whole[[4, 0]])
    assert (len(images), tuple(images.shape)) == (len(whole), tuple(whole.shape))


def test_vectors_are_not_scaled():
    half = torch.tensor([[300.0, -2.5]], dtype=torch.float16)
    assert torch.equal(to_input(half), half.float())
    assert to_input(half).dtype == torch.float32


@pytest.mark.slow
def test_an_experiment_on_vectors_runs_to_its_report(task, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = f"{task('closed-set')[:-1]}, {task('open-set')[7:]}"
    settings = (
        *SETTING,
        both,
        'recipes=["softmax", "triplet"]',
        "budget.studies=1",
        "budget.seeds=1",
        "budget.trials=2",
    )
    flags = [flag for setting in settings for flag in ("--set", setting)]
    result = CliRunner().invoke(main, ["run", str(ABLATION), "--workers", "0", *flags])
    assert result.exit_code == 0, result.output
    figures = load_results(tmp_path / "runs")
    assert set(figures["status"]) <= {"ok", "collapsed"}  # two epochs at a poor rate learn nothing
    assert set(figures.loc[figures["role"] == "baseline", "recipe"]) == {"untrained", "features"}
    assert (tmp_path / "reports" / "ablation" / "index.html").is_file()


@pytest.mark.parametrize("logits", [4, 4 * 7, 4 * 50])
def test_accuracy_of_the_head_is_the_same_by_blocks(monkeypatch, logits):
    head = torch.nn.Module()
    head.logits = lambda points: points  # type: ignore[assignment]
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    monkeypatch.setattr(evaluation, "LOGITS", logits)
    assert evaluation.head_accuracy([head], points, labels) == metrics.accuracy(points, labels)
