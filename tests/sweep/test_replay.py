"""A stored run repeated: bit for bit here, within a tolerance elsewhere."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from experiments import run_spec
from lossbench.cli import main
from lossbench.executors.processes import SerialExecutor
from lossbench.store import Store
from lossbench.sweep.feed import execute_spec
from lossbench.sweep.replay import replay


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    spec = run_spec("softmax+center", "training.epochs=1")
    record, extras = execute_spec(spec)
    Store(root).write(record, **extras)
    return root, spec.run_id


@pytest.mark.slow
def test_a_run_repeats_to_the_bit_from_the_command_line(stored):
    root, run_id = stored
    result = CliRunner().invoke(main, ["replay", run_id, "--runs", str(root)])
    assert result.exit_code == 0, result.output
    assert "code, data, plugins, libraries and kind of machine are those of the stored run" in result.output
    assert "figures agree bit for bit" in result.output


def repeated(stored, change, **options):
    """The replay of a record that `change` altered."""
    root, run_id = stored
    record = json.loads(json.dumps(Store(root).read(run_id)))
    change(record)
    return replay(record, SerialExecutor(), **options)


def test_a_figure_that_does_not_come_out_again_is_named(stored):
    def change(record):
        record["metrics"]["test"]["sphere.map_at_r"] += 1e-9

    found = repeated(stored, change)
    assert not found.agrees
    assert list(found.changed) == ["test.sphere.map_at_r"]
    assert "most of all test.sphere.map_at_r" in "\n".join(found.lines())


@pytest.mark.parametrize(("shift", "agrees"), [(1e-3, True), (0.5, False)])
def test_other_libraries_are_named_and_compared_within_the_tolerance(stored, shift, agrees):
    def change(record):
        record["environment"]["torch"] = "1.0"
        record["environment"]["cpu"] = "VSX"
        record["metrics"]["test"]["sphere.map_at_r"] += shift

    found = repeated(stored, change, tolerance=0.01)
    assert found.agrees is agrees
    text = "\n".join(found.lines())
    assert "torch: 1.0 then, " in text
    assert "cpu: VSX then, " in text
    assert "0.01 of a figure's size" in text


def test_an_unknown_or_damaged_run_is_one_line(stored, tmp_path):
    root, run_id = stored
    near = run_id[:-1] + "_"
    result = CliRunner().invoke(main, ["replay", near, "--runs", str(root)])
    assert result.exit_code == 2
    assert f"did you mean '{run_id}'?" in result.output
    folder = tmp_path / run_id
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    result = CliRunner().invoke(main, ["replay", run_id, "--runs", str(tmp_path)])
    assert result.output == f"lossbench: error: {folder}: what is stored is damaged\n"
