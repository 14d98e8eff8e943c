"""The plain flags of `lossbench run` are `--set` in other words, and say which."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from experiments import ABLATION
from lossbench.cli import main
from lossbench.plugins import PluginError
from lossbench.specification import flags


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("cat's", "dog"):
        (tmp_path / "my pictures" / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(0, 255, (20, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my pictures" / name / f"{number}.png")
    return tmp_path / "my pictures"


def task(dataset: str, size: str = "") -> list[str]:
    return [f'tasks=[{{ dataset = "{dataset}", protocol = "closed-set"{size} }}]']


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"name": "mine"}, ["name=mine"]),
        ({"name": "2026-11-28"}, ['name="2026-11-28"']),
        ({"name": "nan"}, ['name="nan"']),
        ({"name": "[" * 5000}, ["name=" + "[" * 5000]),
        ({"studies": 3}, ["budget.studies=3"]),
        ({"epochs": 20}, ["training.epochs=20"]),
        ({"recipes": "softmax, arcface"}, ['recipes=["softmax", "arcface"]']),
        ({"quick": True}, list(flags.QUICK)),
        ({"quick": True, "epochs": 9}, [*flags.QUICK, "training.epochs=9"]),
        ({"data": "my pictures"}, task("folder:my pictures", ", input_size = 32")),
        ({"data": "rows.csv"}, task("csv:rows.csv", ", input_size = 32")),
        ({"data": "made/points.npz"}, [*task("features:made/points.npz"), "backbone=residual"]),
        ({"data": "points.PARQUET"}, [*task("features:points.PARQUET"), "backbone=residual"]),
        ({"data": "digits"}, task("digits")),
        ({"data": "huggingface:saved"}, task("huggingface:saved")),
    ],
    ids=str,
)
def test_a_flag_is_a_setting(pictures, given, expected):
    assert flags.settings(**given) == expected


def test_what_is_no_data_is_one_line_with_the_nearest_name(pictures):
    with pytest.raises(PluginError, match=r"^digit: is no folder.*did you mean 'digits'\?"):
        flags.settings(data="digit")
    done = CliRunner().invoke(main, ["run", "ablation", "--data", "nowhere"])
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)


def test_flags_and_the_settings_they_show_make_one_plan(pictures):
    shared = ["run", str(ABLATION), "--dry-run", "--plugin", str(ABLATION.parent / "plugins" / "binomial.py")]
    shared += ["--set", "training.batch_size=16"]
    plain = ["--name", "mine", "--data", str(pictures), "--recipes", "softmax,binomial", "--quick", "--epochs", "7"]
    first, *by_flags = CliRunner().invoke(main, [*shared, *plain]).output.splitlines()
    assert first.startswith("same as --set ")
    by_settings = CliRunner().invoke(main, [*shared, *shlex.split(first.removeprefix("same as "))]).output.splitlines()
    assert by_flags == by_settings
    assert "mine: " in by_flags[0]
    assert sum(line.startswith("  recipe ") for line in by_flags) == 2


def test_a_setting_of_ones_own_replaces_that_of_a_flag(pictures):
    done = CliRunner().invoke(main, ["run", str(ABLATION), "--dry-run", "--name", "mine", "--set", "name=other"])
    assert done.output.splitlines()[1].startswith("other: ")


def test_epochs_may_be_auto_and_are_refused_as_those_of_the_file():
    def said(epochs: str) -> str:
        return CliRunner().invoke(main, ["run", str(ABLATION), "--dry-run", "--epochs", epochs]).output

    assert said("auto").splitlines()[0] == "same as --set training.epochs=auto"
    assert "steps a run not known yet" in said("auto")
    assert "--set training.epochs=many: training.epochs: 'many' is " in said("many")


@pytest.mark.parametrize("name", ["2026-11-28", "7", "1e5", "true", "inf", "v2.0"])
def test_a_name_is_text_whatever_it_looks_like(pictures, name):
    done = CliRunner().invoke(main, ["run", str(ABLATION), "--dry-run", "--name", name])
    assert done.output.splitlines()[1].startswith(f"{name}: ")


@pytest.mark.slow
def test_a_quick_run_of_ones_own_pictures_ends_in_a_report(pictures):
    given = ["--data", "my pictures", "--quick", "--name", "mine", "--recipes", "softmax", "--epochs", "1"]
    done = CliRunner().invoke(main, ["run", str(ABLATION), *given, "--workers", "0", "--set", "training.batch_size=16"])
    assert done.exit_code == 0, done.output
    resolved = json.loads((pictures.parent / "reports" / "mine" / "results.json").read_text())["protocol"]["resolved"]
    assert resolved["tasks"][0]["dataset"] == "folder:my pictures"
    assert resolved["training"]["epochs"] == 1
