"""What a reader does next: the printed code trains, the printed command goes on where the runs ended."""

from __future__ import annotations

import html
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from report.stored import TASK, fill

from experiments import run_spec, sweep, tiny_plan
from lossbench import report
from lossbench.cli import main
from lossbench.plugins.plugin import OBJECT
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections.acting import steps
from lossbench.report.sections.settling import command, settling
from lossbench.report.sections.snippet import code, quoted
from lossbench.report.sections.verdict import answer
from lossbench.specification.spec import to_json
from lossbench.store import Store
from lossbench.sweep import launch

pytestmark = pytest.mark.usefixtures("text_only")

CIRCLE = Path(__file__).parents[2] / "experiments" / "plugins" / "circle.py"


def executed(text: str) -> dict[str, Any]:
    """The names that a printed program leaves."""
    names: dict[str, Any] = {}
    exec(compile(text, "printed", "exec"), names)
    return names


def noise(center: float, spread: float, *, seed: int, n: int = 8) -> list[float]:
    return list(center + spread * np.random.default_rng(seed).normal(size=n))


@pytest.mark.slow
def test_the_printed_code_is_the_run_of_its_spec_and_trains():
    spec = run_spec("softmax+center", "training.batch_size=32", "embedding_dim=8", alpha=0.25, **{"lambda_": 0.0123456})
    found = executed(code(to_json(spec)))
    softmax, center = found["losses"]
    assert (type(softmax).__name__, type(center).__name__, center.alpha) == ("SoftmaxLoss", "CenterLoss", 0.25)
    assert list(found["losses"].values()) == [1.0, 0.0123456]
    assert found["embeddings"].shape == (32, 8)
    assert found["samples"].min() >= -1
    assert found["samples"].max() < 1
    assert found["optimizer"].param_groups[0]["lr"] == spec.lr
    assert center.centers.abs().sum() > 0  # they moved
    assert torch.isfinite(found["total"])
    chance = np.log(10)
    last = softmax(found["embeddings"], found["labels"][found["batch"]])
    assert last.item() < 0.8 * chance


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("triplet", ("training.optimizer=sgd", "training.weight_decay=0.001")),
        ("softmax@balanced", ('training.augment=["shift", "flip"]', "training.schedule=cosine")),
        ("contrastive", ('tasks=[{dataset="glyphs", protocol="open-set", input_size=16, fit="pad"}]',)),
    ],
)
def test_the_printed_code_runs_whatever_the_setting(recipe, overrides):
    spec = to_json(run_spec(recipe, *overrides))
    found = executed(code(spec))
    assert ("under shift and flip" in code(spec)) == (recipe == "softmax@balanced")
    assert torch.isfinite(found["total"])
    kept = {"momentum": 0.9, "weight_decay": 0.001} if recipe == "triplet" else {}
    assert found["optimizer"].param_groups[0].items() >= kept.items()
    counts = torch.unique(found["labels"][found["batch"]], return_counts=True)[1]
    assert (int(counts.min()) >= 4) == (spec["sampler"] == "balanced")


def test_the_printed_code_goes_on_with_the_network_in_a_second_stage():
    plan = tiny_plan('recipes=["softmax->triplet"]', "training.epochs=4")
    recipe = plan.recipes[0]
    values = {**recipe.defaults, "share": 0.25}
    spec = plan.run_spec(plan.experiment.tasks[0], recipe, values, seed=1, final=True)
    text = code(to_json(spec))
    assert (text.count("the run had 1"), text.count("the run had 3")) == (1, 1)
    assert text.index('"softmax"') < text.index('batch_plan("uniform"') < text.index('batch_plan("balanced"')
    assert [type(each).__name__ for each in executed(text)["losses"]] == ["TripletLoss"]


def test_the_printed_code_of_a_neck_without_a_loss_before_it_runs():
    printed = code(to_json(run_spec("softmax", "neck=batchnorm", "training.batch_size=32", "embedding_dim=8")))
    assert "BEFORE)" not in printed
    assert executed(printed)["network"].neck.num_batches_tracked > 0


def test_the_printed_code_has_the_neck_and_the_place_of_each_loss():
    spec = to_json(run_spec("softmax+triplet", "neck=batchnorm", "training.batch_size=32", "embedding_dim=8"))
    found = executed(code(spec))
    assert [(type(loss).__name__, place) for loss, (_, place) in found["losses"].items()] == [
        ("SoftmaxLoss", 1),
        ("TripletLoss", 0),
    ]
    assert found["embeddings"].shape == (32, 2, 8)
    assert torch.isfinite(found["total"])
    assert found["network"].neck.num_batches_tracked > 0


def test_the_printed_code_loads_a_plugin_and_reads_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("v.npz", features=rng.normal(size=(200, 6)).astype("f4"), labels=np.arange(200) % 5)
    Path("own").mkdir()
    Path("own/circle.py").write_text(CIRCLE.read_text().replace("my-circle", "circle-of-mine"))
    task = 'tasks=[{dataset="features:v.npz", protocol="closed-set"}]'
    plan = tiny_plan(task, "backbone=mlp", 'recipes=["circle-of-mine"]', plugins=(Path("own/circle.py"),))
    spec = plan.run_spec(plan.experiment.tasks[0], plan.recipes[0], plan.recipes[0].defaults, seed=1, final=True)
    text = code(to_json(spec), vectors=True)
    assert 'load_files(["own/circle.py"])' in text
    assert executed(text)["samples"].shape[1:] == (6,)


def test_a_loss_that_was_a_python_object_has_no_code_that_anybody_else_could_run(tmp_path):
    spec = to_json(run_spec("softmax"))
    spec["provenance"]["plugins"] = [("loss softmax", f"{OBJECT}0123")]
    assert code(spec) == ""


def test_the_printed_code_of_two_stages_trains_one_network_by_both():
    spec = run_spec("softmax->triplet", "training.epochs=4", share=0.25, margin=0.1)
    text = code(to_json(spec))
    assert text.count('find("backbone"') == 1
    assert (text.count("the run had 1"), text.count("the run had 3")) == (1, 1)
    found = executed(text)
    (triplet,) = found["losses"]
    assert type(triplet).__name__ == "TripletLoss"
    counts = torch.unique(found["labels"][found["batch"]], return_counts=True)[1]
    assert int(counts.min()) >= 4  # the second stage's own batches


@pytest.mark.parametrize(
    ("setting", "rates"), [("lr_factor=0.1", [2e-4, 2e-3]), ("lr_factor=1.0", [2e-3]), ("freeze=true", [2e-3])]
)
def test_the_printed_code_starts_from_the_weights_of_the_run(setting, rates):
    weights = CIRCLE.parents[1] / "weights" / "latin.pt"
    task = 'tasks=[{dataset="digits", protocol="closed-set", input_size=16}]'
    spec = run_spec("softmax", task, "embedding_dim=8", f"pretrained.weights={weights}", f"pretrained.{setting}")
    found = executed(code(to_json(spec)))
    assert [group["lr"] for group in found["optimizer"].param_groups] == pytest.approx(rates)
    kept = torch.load(weights, weights_only=True)["features.0.weight"]
    assert torch.equal(found["network"].features[0].weight, kept) == ("freeze" in setting)
    assert (found["network"].features[0].weight - kept).abs().max() < 0.1


def test_a_text_is_quoted_so_that_python_reads_it_back():
    for text in ("a", 'a"b', "a'b", "a\\b", "a\n{x}", '"""'):
        assert eval(quoted(text)) == text


def test_the_page_and_the_markdown_show_both_steps(tmp_path):
    recipes = {"softmax": noise(0.5, 0.02, seed=1), "triplet": noise(0.505, 0.02, seed=2)}
    fill(tmp_path / "runs", recipes)
    list(report.write("toy", tmp_path / "runs", tmp_path / "reports"))
    found = settling(Evidence(gather("toy", tmp_path / "runs")), TASK)
    for name in ("index.html", "report.md"):
        text = html.unescape((tmp_path / "reports" / "toy" / name).read_text())
        assert found.command in text
        assert found.sentence in text
        assert "triplet and softmax" in text


def test_a_winner_leaves_nothing_to_settle(tmp_path):
    fill(tmp_path, {"softmax": noise(0.5, 0.004, seed=1), "triplet": noise(0.6, 0.004, seed=2)})
    assert settling(Evidence(gather("toy", tmp_path)), TASK) is None


def test_the_next_studies_are_the_fewest_that_may_settle_a_pair_of_the_leader(tmp_path):
    recipes = {"softmax": noise(0.5, 0.02, seed=1), "a": noise(0.51, 0.02, seed=2), "b": noise(0.508, 0.03, seed=3)}
    fill(tmp_path / "runs", recipes)
    material = gather("toy", tmp_path / "runs")
    found = settling(Evidence(material), TASK)
    comparison = Evidence(material).primary[TASK]
    leader = comparison.ranking[0].recipe
    pairs = [comparison.pair(leader, name) for name in ("softmax", "a", "b") if name != leader]
    ranges = [one for pair in pairs for one in (pair.studies_for_difference, pair.studies_for_equivalence)]
    wanted = min(one.least for one in ranges if one.least)
    assert wanted > 8
    assert shlex.split(found.command) == ["lossbench", "run", "reports/toy/experiment.toml", "--studies", str(wanted)]
    assert found.sentence.startswith(f"From {wanted} studies on, {leader} and ")
    assert len(found.pairs.rows) == 2


def test_where_a_thousand_studies_would_not_do_no_command_is_printed(tmp_path):
    fill(tmp_path, {"softmax": [0.5] * 8, "triplet": [0.2, 0.801] * 4}, baselines=())
    found = settling(Evidence(gather("toy", tmp_path)), TASK)
    assert (found.command, "None of these pairs" in found.sentence) == ("", True)


def test_below_seven_studies_the_first_look_is_what_settles(tmp_path):
    fill(tmp_path / "runs", {"softmax": [0.5, 0.51, 0.49], "triplet": [0.52, 0.5, 0.51]})
    found = settling(Evidence(gather("toy", tmp_path / "runs")), TASK)
    assert found.command.endswith("--studies 7")
    assert "3 are there" in found.sentence
    assert found.pairs is None


SHORT = ("training.epochs=1", "budget.trials=1", "budget.seeds=1", "budget.studies=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a small finished experiment and its report."""
    folder = tmp_path_factory.mktemp("finished")
    own = folder / "circle.py"
    own.write_text(CIRCLE.read_text().replace("my-circle", "circle-to-extend"))
    plan = tiny_plan(*SHORT, "name=mine", 'recipes=["softmax", "circle-to-extend"]', plugins=(own,))
    sweep(plan, folder / "runs")
    list(report.write("mine", folder / "runs", folder / "reports"))
    return folder


@pytest.mark.slow
def test_the_command_goes_on_where_the_runs_ended(finished, monkeypatch):
    monkeypatch.chdir(finished)
    material = gather("mine", Path("runs"))
    line = settling(Evidence(material), material.tasks[0]).command
    assert "--plugin circle.py" in line
    page = html.unescape(Path("reports/mine/index.html").read_text())
    assert line.partition(" --set")[0] in page
    shown = CliRunner().invoke(main, [*shlex.split(line)[1:], "--dry-run"]).output
    planned, done = map(int, re.search(r"(\d+) planned runs, (\d+) of them done", shown).groups())
    assert done == len(material.table)
    assert planned > done


@pytest.mark.slow
def test_runs_of_another_experiment_bring_no_plugin_file_along(finished, monkeypatch):
    monkeypatch.chdir(finished)
    _, progress = sweep(tiny_plan(*SHORT, "name=plain", 'recipes=["softmax"]'), Path("runs"))
    assert progress.executed == 0
    assert command(gather("plain", Path("runs")), 7) == "lossbench run reports/plain/experiment.toml --studies 7"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "file"),
    [
        ((), "ablation"),
        (("budget.studies=9",), "ablation"),
        (("training.epochs=3",), "reports/ablation/experiment.toml"),
    ],
)
def test_what_ships_goes_by_its_name_whatever_its_number_of_studies(finished, monkeypatch, overrides, file):
    monkeypatch.chdir(finished)
    experiment = launch.prepare(Path("ablation"), overrides, ()).experiment.model_dump(mode="json")
    material = gather("mine", Path("runs"))
    shipped = replace(material, plan={**material.plan, "name": "ablation", "experiment": experiment})
    words = shlex.split(command(shipped, 12))
    assert words[:5] == ["lossbench", "run", file, "--studies", "12"]


def test_another_runs_folder_is_named(finished, monkeypatch):
    monkeypatch.chdir(finished)
    material = gather("mine", Path("runs"))
    elsewhere = replace(material, store=Store(finished / "other"))
    assert "--runs other" in command(elsewhere, 9)
    assert "--runs" not in command(material, 9)


def test_the_steps_take_the_winner_along(finished, monkeypatch):
    monkeypatch.chdir(finished)
    material = gather("mine", Path("runs"))
    evidence = Evidence(material)
    use = steps(evidence, material.tasks[0], answer(evidence, material.tasks[0])).use
    assert "not a winner" in use.standing
    assert executed(use.code)["network"]
    done = CliRunner().invoke(main, shlex.split(use.export)[1:])
    assert done.exit_code == 0, done.output
    found = executed(use.load)
    assert found["embeddings"].shape == (1797, 4)
