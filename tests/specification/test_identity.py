"""What makes two runs one run: settings that differ from their defaults, the deal, and the content of the data."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from experiments import run_spec
from lossbench.specification.spec import RunSpec, from_json, to_json
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return run_spec("softmax+center")


class Later(Training):
    """The settings of a release to come, with one more key."""

    warmup: int = 0


class LaterTask(Task):
    crops: int | None = None


@pytest.mark.parametrize(
    "changed",
    [
        lambda spec: {"training": Later(**spec.training.model_dump())},
        lambda spec: {"task": LaterTask(**spec.task.model_dump())},
        lambda spec: {"training": Training(**spec.training.model_dump() | {"time_limit_s": 5.0})},
        lambda spec: {"plugin_files": ("elsewhere.py",)},
        lambda spec: {"task": spec.task.model_copy(update={"dataset": "digits:/some/where"})},
    ],
)
def test_what_is_at_its_default_or_no_part_of_a_run_changes_no_identity(spec, changed):
    other = replace(spec, **changed(spec))
    assert (other.run_id, other.key) == (spec.run_id, spec.key)


@pytest.mark.parametrize(
    "changed",
    [
        lambda spec: {"training": Later(**spec.training.model_dump(), warmup=3)},
        lambda spec: {"task": LaterTask(**spec.task.model_dump(), crops=2)},
        lambda spec: {"training": Training(**spec.training.model_dump() | {"momentum": 0.8})},
        lambda spec: {"deal": 0},
        lambda spec: {"deal": 17},
        lambda spec: {"fold": 0},
        lambda spec: {"whole": False},
        lambda spec: {"audit": False},
        lambda spec: {"seed": 0},
        lambda spec: {"task": spec.task.model_copy(update={"dataset": "glyphs"})},
        lambda spec: {"provenance": replace(spec.provenance, data="other")},
    ],
)
def test_everything_else_is_another_run(spec, changed):
    other = replace(spec, **changed(spec))
    assert other.run_id != spec.run_id
    assert other.key != spec.key


def test_code_and_libraries_are_in_the_run_id_and_not_in_the_key(spec):
    for provenance in (replace(spec.provenance, code="other"), replace(spec.provenance, libraries=())):
        other = replace(spec, provenance=provenance)
        assert other.run_id != spec.run_id
        assert other.key == spec.key


def test_how_much_a_final_run_measures_is_no_part_of_a_trial(spec):
    trial = replace(spec, final=False)
    assert replace(trial, whole=False, audit=False).run_id == trial.run_id


def test_how_a_network_would_be_trained_is_no_part_of_a_baseline(spec):
    baseline = replace(spec, terms=())
    longer = spec.training.model_copy(update={"epochs": 99})
    assert replace(baseline, training=longer).run_id == baseline.run_id
    noisy = spec.training.model_copy(update={"label_noise": 0.2})  # validation has wrong labels then
    assert replace(baseline, training=noisy).run_id != baseline.run_id


def test_one_folder_under_two_names_is_one_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for label in "abcde":
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / label / f"{number}.png")
    shutil.copytree(tmp_path / "mine", tmp_path / "theirs")
    monkeypatch.chdir(tmp_path)
    names = [f"{tmp_path}/mine", f".{os.sep}mine", "theirs"]
    specs = [
        run_spec("softmax", f'tasks=[{{dataset="folder:{name}", protocol="closed-set"}}]', "training.batch_size=16")
        for name in names
    ]
    assert len({spec.run_id for spec in specs}) == len({spec.key for spec in specs}) == 1
    assert [to_json(spec)["task"]["dataset"] for spec in specs] == [f"folder:{name}" for name in names]


def test_what_a_record_keeps_is_explicit_and_gives_the_run_back(spec):
    dealt = replace(spec, deal=2**62 + 1, whole=False, audit=False)
    plain = to_json(dealt)
    assert plain["training"] == dealt.training.model_dump()  # defaults included
    assert from_json(plain) == dealt
    assert from_json(plain).run_id == dealt.run_id


def test_a_record_from_before_the_deals_reads_as_what_it_was(spec):
    plain = {name: value for name, value in to_json(spec).items() if name not in ("deal", "whole", "audit")}
    assert from_json(plain).run_id == spec.run_id


def test_the_defaults_are_part_of_every_stored_identity():
    # An identity leaves out what is at its default. A default that changes needs a key of another name.
    settings = {
        "epochs": 15, "batch_size": 64, "samples_per_class": 4, "optimizer": "adam", "momentum": 0.9,
        "weight_decay": 0.0, "schedule": "constant", "label_noise": 0.0, "augment": "none", "input_size": None,
        "device": "cpu", "processes": 1, "precision": "float32", "time_limit_s": None, "validations": None,
    }  # fmt: skip
    task = {"train_classes": None, "input_size": None, "label_noise": None, "splits": "dealt"}
    assert settings.items() <= Training().model_dump().items()
    assert task.items() <= Task(dataset="digits", protocol="closed-set").model_dump().items()
