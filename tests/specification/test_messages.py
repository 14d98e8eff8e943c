"""Mistakes in a file are told in this project's words, and by what put the value there."""

from __future__ import annotations

import json
import math
import typing
from pathlib import Path

import pydantic_core
import pytest
from click.testing import CliRunner

from experiments import ABLATION
from lossbench.cli import main
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.budget import Budget
from lossbench.specification.experiment import Claim, Experiment, Resources
from lossbench.specification.parsing import RULES, blamed, read_experiment
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training

TABLES = {"training": Training, "budget": Budget, "resources": Resources}
KEYS = [*Experiment.model_fields, *(f"{name}.{key}" for name, table in TABLES.items() for key in table.model_fields)]
TASK = {"dataset": "digits", "protocol": "closed-set"}
CLAIM = {"text": "x", "metric": "m", "comparison": ["a", "b"], "direction": "higher", "smallest_effect": 0.1}
VALUES = [
    True, -1, 0, 3, 1.5, 10**9, 10**30, "", "word", "x" * 200, "a/b", [], [3], ["x"], ["x", 3], {}, {"x": 1},
    {"x": {"y": 1}}, [[]], [{}], [{"name": 3}],
]  # fmt: skip
CASES = [
    *((key, value) for key in KEYS for value in VALUES),
    *(("tasks", [TASK | {key: value}]) for key in Task.model_fields for value in VALUES),
    *(("claims", [CLAIM | {key: value}]) for key in Claim.model_fields for value in VALUES),
    *(("claims", [{name: value for name, value in CLAIM.items() if name != key}]) for key in CLAIM),
]


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def mistakes(*overrides: str) -> list[str]:
    try:
        read_experiment(ABLATION, overrides)
    except SpecError as error:
        return list(error.mistakes)
    return []


def test_no_wrong_value_for_any_key_is_told_in_the_words_of_the_validator():
    said = [line for key, value in CASES for line in mistakes(f"{key}={toml(value)}")]
    said += mistakes("training.momentum=nan", "training.weight_decay=inf", "resources.cpus=-inf")
    assert len(said) > 400
    theirs = [line for line in said if any(word in line.lower() for word in ("should", " valid", "unable"))]
    assert not theirs


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tasks=3", "tasks: 3 is not a list"),
        ("question=3", "question: 3 is not text"),
        ('name=""', "name: '' is not a name: letters, digits, '.', '_' and '-', a letter or digit first"),
        (f"name={'x' * 101}", f"name: '{'x' * 56}... is longer than 100 characters"),
        ('backbone=""', "backbone: must not be empty"),
        ("training.epochs=2.5", "training.epochs: 2.5 is not a whole number"),
        ("training.momentum=high", "training.momentum: 'high' is not a number"),
        ("training.momentum=1", "training.momentum: 1 is not less than 1"),
        ("training.momentum=nan", "training.momentum: nan is not a finite number"),
        ("training.time_limit_s=0", "training.time_limit_s: 0 is not more than 0"),
        ("budget.trials=0", "budget.trials: 0 is less than 1"),
        ("budget.trials=20000", "budget.trials: 20000 is more than 10000"),
        ("params=3", "params: 3 is not a table"),
        ("params.softmax=3", "params.softmax: 3 is not a table"),
        ("training.schedule=cosin", "'cosine', 'step' or 'warmup-cosine'; did you mean 'cosine'?"),
    ],
)
def test_a_mistake_says_place_value_and_rule(override, said):
    (line,) = mistakes(override)
    assert line.endswith(said)


def test_every_rule_is_one_of_the_validator():
    assert RULES.keys() <= set(typing.get_args(pydantic_core.core_schema.ErrorType))


def test_a_wrong_setting_blames_set_and_a_wrong_file_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(ABLATION.read_text().replace('backbone = "convnet"', 'backbone = "nothing"'))
    given = ["training.epochs=0", "training.epohs=3", "colour.tint=3"]
    result = CliRunner().invoke(main, ["run", str(path), *(part for each in given for part in ("--set", each))])
    assert result.output.splitlines() == [
        "lossbench: error: --set training.epochs=0: training.epochs: 0 is less than 1",
        "lossbench: error: --set training.epohs=3: training.epohs: unknown key; did you mean 'epochs'?",
        "lossbench: error: --set colour.tint=3: colour: unknown key",
    ]
    given = ['recipes=["softmx"]', "training.batch_size=6", 'params."centre".lr=1']
    result = CliRunner().invoke(main, ["run", str(path), *(part for each in given for part in ("--set", each))])
    assert [line.removeprefix("lossbench: error: ").partition(": ")[0] for line in result.output.splitlines()] == [
        '--set recipes=["softmx"]', '--set params."centre".lr=1', "--set training.batch_size=6", str(path)
    ]  # fmt: skip


def test_the_last_of_two_settings_of_one_key_is_to_blame():
    path = Path("x.toml")
    assert blamed(["x.toml: name: wrong"], path, ["name=a", "name=b"]) == ["--set name=b: name: wrong"]
    assert blamed(["x.toml: names: wrong"], path, ["name=a"]) == ["x.toml: names: wrong"]
    assert blamed(["elsewhere"], path, ["name=a", "nothing"]) == ["elsewhere"]
