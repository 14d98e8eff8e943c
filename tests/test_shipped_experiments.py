"""Every shipped experiment: it reads, says what it asks, costs and needs, and plans where its data are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lossbench.datasets.sources import SOURCES
from lossbench.plugins import registry
from lossbench.specification.parsing import read_experiment
from lossbench.sweep import launch

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.toml"))
DATA = Path(os.environ.get("LOSSBENCH_DATA", "/nonexistent"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_what_it_asks_how_long_it_takes_and_what_it_needs(path):
    experiment = read_experiment(path, [])
    head = path.read_text("utf-8").partition("\nname = ")[0]
    assert experiment.name == path.stem
    assert experiment.question.endswith("?")
    assert re.search(r"(minute|hour).* on two cores", head)
    for task in experiment.tasks:
        assert task.protocol in registry.find("dataset", task.dataset).protocols
        if task.dataset in SOURCES:
            assert f"lossbench data fetch {task.dataset}" in head


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_plans_where_its_data_are(path):
    wanted = [task.dataset for task in read_experiment(path, []).tasks if task.dataset in SOURCES]
    missing = [name for name in wanted for file in SOURCES[name].files if not (DATA / name / file.name).is_file()]
    if missing:
        pytest.skip(f"set LOSSBENCH_DATA to a folder with the files of {missing[0]}")
    assert launch.prepare(path, [], []).recipes
