"""Fine-tuning: a network that has learnt one script goes on with another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import report_of, sweep, tiny_plan
from lossbench.plugins.mistakes import SpecError
from lossbench.report.evidence.material import gather
from lossbench.report.sections.settling import command
from lossbench.run import network as trial
from lossbench.run.clock import Clock
from lossbench.run.data import task_data
from lossbench.run.execution import build, execute
from lossbench.run.training import train
from lossbench.specification.spec import RunSpec, from_json, to_json
from lossbench.sweep import trying

SCRIPTS = '''
import numpy as np

from lossbench import datasets
from lossbench.datasets.dataset import Dataset
from lossbench.plugins import registry


@registry.dataset("script", protocols=("closed-set",))
def script(request):
    """`script:NAME`: its first letters, 16 pixels."""
    glyphs = datasets.load("glyphs", 16)
    classes = [label for label, name in enumerate(glyphs.class_names) if name.startswith(request.path)][:48]
    rows = np.flatnonzero(np.isin(glyphs.labels, classes))
    return Dataset(
        images=glyphs.images[rows],
        labels=np.searchsorted(classes, glyphs.labels[rows]),
        class_names=tuple(glyphs.class_names[label] for label in classes),
    )
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    (folder / "scripts.py").write_text(SCRIPTS)
    return folder


def plan_on(place: Path, script: str, *overrides: str):
    tasks = f'tasks=[{{dataset="script:{script}", protocol="closed-set"}}]'
    return tiny_plan(
        tasks, "claims=[]", "embedding_dim=16", "training.batch_size=32", *overrides, plugins=(place / "scripts.py",)
    )


def spec_on(place: Path, script: str, *overrides: str, lr: float = 2e-3) -> RunSpec:
    plan = plan_on(place, script, 'recipes=["softmax"]', *overrides)
    values = {**plan.recipes[0].defaults, "lr": lr}
    return plan.run_spec(plan.experiment.tasks[0], plan.recipes[0], values, seed=1, final=True)


@pytest.fixture(scope="module")
def latin(place):
    """The file that a run on Latin letters leaves."""
    result = execute(spec_on(place, "LATIN", "training.epochs=12", "training.validations=4"))
    assert result.record["status"] == "ok", result.record
    (place / "latin.pt").write_bytes(result.checkpoint)
    return f"pretrained.weights={place}/latin.pt"


def test_what_was_learnt_on_one_script_helps_on_another(place, latin):
    short = ("training.epochs=3", "training.validations=3")
    nothing, tuned = (execute(spec_on(place, "GREEK", *short, *more)).record for more in ((), (latin,)))
    before, after = (record["curves"]["val_map_at_r"] for record in (nothing, tuned))
    assert after[0] > before[0] + 0.1  # as it came
    assert tuned["metrics"]["test"]["sphere.map_at_r"] > nothing["metrics"]["test"]["sphere.map_at_r"] + 0.05
    assert after[-1] > after[0]  # and it goes on learning


def trained(spec: RunSpec) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The network's state before and after training."""
    data = task_data(spec)
    model = build(spec, data)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    train(model, data.train.images, data.train.labels, spec, Clock(), lambda epoch: {"val_map_at_r": 0.0})
    return before, model.network.state_dict()


def test_a_frozen_trunk_stays_to_the_bit_while_the_last_layer_learns(place, latin):
    before, after = trained(spec_on(place, "GREEK", latin, "embedding_dim=8", "pretrained.freeze=true"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"embed.weight", "embed.bias"}
    source = torch.load(place / "latin.pt", weights_only=True)["network"]
    assert all(torch.equal(after[name], source[name]) for name in before.keys() - moved)


@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_the_factor_is_that_of_the_learning_rate_of_the_trunk(place, latin, decay):
    """One SGD step moves the trunk by a tenth of what it moves at the full rate, and the new layer as far."""
    settings = (
        latin, "embedding_dim=8", "training.optimizer=sgd", "training.momentum=0.0", "training.epochs=1",
        "training.batch_size=360", f"training.weight_decay={decay}",
    )  # fmt: skip
    steps = {}
    for factor in (1.0, 0.1):
        before, after = trained(spec_on(place, "GREEK", *settings, f"pretrained.lr_factor={factor}", lr=0.1))
        steps[factor] = {name: after[name] - before[name] for name in before if "num_batches" not in name}
    assert torch.equal(steps[1.0]["embed.weight"], steps[0.1]["embed.weight"])
    for name in ("features.0.weight", "features.1.weight", "features.6.weight"):
        assert steps[1.0][name].abs().max() > 1e-5
        assert torch.allclose(steps[0.1][name], 0.1 * steps[1.0][name], atol=1e-6), name


def test_the_content_of_the_weights_is_part_of_a_run_and_their_place_is_not(place, latin, tmp_path):
    there, none = spec_on(place, "GREEK", latin), spec_on(place, "GREEK")
    (tmp_path / "copy.pt").write_bytes((place / "latin.pt").read_bytes())
    assert spec_on(place, "GREEK", f"pretrained.weights={tmp_path}/copy.pt").run_id == there.run_id
    others = {
        none.run_id,
        spec_on(place, "GREEK", latin, "pretrained.lr_factor=0.5").run_id,
        spec_on(place, "GREEK", latin, "pretrained.freeze=true").run_id,
    }
    state = torch.load(place / "latin.pt", weights_only=True)["network"]
    torch.save({**state, "embed.bias": state["embed.bias"] + 1}, tmp_path / "copy.pt")
    others.add(spec_on(place, "GREEK", f"pretrained.weights={tmp_path}/copy.pt").run_id)
    assert len(others | {there.run_id}) == 5
    assert from_json(to_json(there)) == there
    assert from_json(to_json(there)).weights_file == there.weights_file == f"{place}/latin.pt"
    assert not {"start", "weights_file", "then"} & to_json(none).keys()


def test_how_a_trunk_would_be_trained_is_no_part_of_the_untrained_network(place, latin):
    plan = plan_on(place, "GREEK", latin)
    task = plan.experiment.tasks[0]
    plain = plan.baseline_spec(task, "untrained", seed=1)
    assert replace(plain, start=replace(plain.start, freeze=True, lr_factor=0.1)).run_id == plain.run_id
    assert replace(plain, start=replace(plain.start, weights="other")).run_id != plain.run_id
    assert plan.baseline_spec(task, "pixels", seed=0).start is None


def test_weights_that_change_while_the_experiment_runs_fail_the_run(place, latin, tmp_path):
    (tmp_path / "copy.pt").write_bytes((place / "latin.pt").read_bytes())
    spec = spec_on(place, "GREEK", f"pretrained.weights={tmp_path}/copy.pt")
    (tmp_path / "copy.pt").write_bytes(b"other")
    record = execute(spec).record
    assert record["status"] == "failed"
    assert "copy.pt: changed while the experiment ran; start it again" in record["error"]


def test_every_recipe_searches_the_factor_or_none_does(place, latin):
    searched = plan_on(place, "GREEK", latin, "pretrained.lr_factor={low=0.01, high=1.0, log=true}")
    assert all("lr_factor" in recipe.searched for recipe in searched.recipes)
    assert {recipe.defaults["lr_factor"] for recipe in searched.recipes} == {0.1}
    fixed = plan_on(place, "GREEK", latin, "pretrained.lr_factor=0.3")
    assert not any("lr_factor" in recipe.space for recipe in fixed.recipes)
    spec = fixed.run_spec(fixed.experiment.tasks[0], fixed.recipes[0], fixed.recipes[0].defaults, seed=1, final=True)
    assert spec.start.lr_factor == 0.3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pretrained.lr_factor=-1", "pretrained.lr_factor: -1 is outside [0, 1000]"),
        ("pretrained.lr_factor={low=0, high=1, log=true}", "pretrained.lr_factor: a logarithmic range starts above 0"),
        ("pretrained.lr_factor={low=2, high=1}", "pretrained.lr_factor: low, 2, is more than high, 1"),
        ("pretrained.lr_factor='fast'", "pretrained.lr_factor: 'fast' is neither a number nor a table"),
        ("pretrained.weights=no.pt", "pretrained.weights: no.pt: is not a file, beside the experiment or here"),
        ("pretrained.weight=1", "pretrained.weight: unknown key; did you mean 'weights'?"),
        ("pretrained={freeze=true, lr_factor=0.5, weights='w'}", "lr_factor is that of a trunk that is trained"),
        ("backbone=convnet:x", "backbone: 'convnet:x': 'convnet' is one network; nothing follows its name"),
        ("backbone=timm", "backbone: 'timm': say which one: `timm:NAME`"),
    ],
)
def test_mistakes_are_said(place, latin, override, said):
    with pytest.raises(SpecError) as raised:
        plan_on(place, "GREEK", latin, override)
    assert said in str(raised.value)


def test_weights_that_do_not_fit_are_said_before_anything_runs(place, latin):
    plan = plan_on(place, "GREEK", latin, "backbone=convnet4")
    specs = [plan.baseline_spec(plan.experiment.tasks[0], "untrained", seed=0)]
    (said,) = trial.mistakes(specs)
    assert said.startswith(f"script:GREEK/closed-set: convnet4: weights: {place}/latin.pt: features.0.weight is (16, 1")


def test_what_starts_anew_is_said(place, latin):
    whole, other = plan_on(place, "GREEK", latin), plan_on(place, "GREEK", latin, "embedding_dim=8")
    assert trial.note(whole.baseline_spec(whole.experiment.tasks[0], "untrained", seed=0)) == (
        "latin.pt fills 17 of the 17 tensors of convnet, all that it has"
    )
    assert trial.note(other.baseline_spec(other.experiment.tasks[0], "untrained", seed=0)) == (
        "latin.pt fills 15 of the 17 tensors of convnet; anew: embed.weight, embed.bias"
    )


@pytest.mark.slow
def test_a_driver_tries_the_network_in_a_process_of_its_own(place, latin):
    assert trying.try_network(plan_on(place, "GREEK", latin)) == [
        "latin.pt fills 17 of the 17 tensors of convnet, all that it has"
    ]
    assert trying.try_network(plan_on(place, "GREEK")) == []
    with pytest.raises(SpecError, match="freeze: the file fits the whole network"):
        trying.try_network(plan_on(place, "GREEK", latin, "pretrained.freeze=true"))


def test_a_report_says_what_the_network_started_from(place, latin, tmp_path):
    plan = plan_on(
        place, "GREEK", latin, "pretrained.lr_factor={low=0.01, high=1.0, log=true}", 'recipes=["softmax"]',
        "budget.seeds=1", "training.epochs=1",
    )  # fmt: skip
    store, _ = sweep(plan, tmp_path / "runs")
    text, resolved = report_of(store.root, tmp_path)
    assert f"SHA-256 {plan.weights}; what it fills learns at 0.01 to 1 times the rate" in text
    assert "lr_factor = { low = 0.01, high = 1.0, log = true }" in resolved
    again = command(gather("ablation", store.root), 12)  # the resolved file lies elsewhere than the weights
    assert f"--set pretrained.weights={place}/latin.pt" in again
