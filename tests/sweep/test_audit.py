"""A folder audited: the same share of its runs for the same seed, and every one that does not come out again named."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from experiments import run_spec
from lossbench.cli import main
from lossbench.executors.processes import SerialExecutor
from lossbench.plugins.mistakes import SpecError
from lossbench.store import Store
from lossbench.store.records import dump, with_checksum
from lossbench.sweep.audit import audit, parsed_share, sample
from lossbench.sweep.feed import execute_spec
from lossbench.sweep.replay import TOLERANCE


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Four runs: one sound, one with an edited figure, one damaged, one of data that are not here."""
    store = Store(tmp_path_factory.mktemp("runs"))
    ids = []
    for seed in (1, 2, 3, 4):
        record, _ = execute_spec(run_spec("softmax", "training.epochs=1", seed=seed, final=False))
        store.write(record)
        ids.append(record["run_id"])
    edited = json.loads(json.dumps(store.read(ids[1])))
    edited["metrics"]["val"]["sphere.map_at_r"] += 1e-9
    (store.folder(ids[1]) / "result.json").write_bytes(with_checksum(dump(edited)))
    (store.folder(ids[2]) / "result.json").write_text("{")
    away = json.loads(json.dumps(store.read(ids[3])))
    away["spec"]["task"]["dataset"] = "folder:/nowhere"
    (store.folder(ids[3]) / "result.json").write_bytes(with_checksum(dump(away)))
    return store.root, ids


@pytest.mark.slow
def test_what_differs_is_damaged_or_cannot_be_repeated_is_named(stored):
    root, ids = stored
    found = audit(root, 1.0, 0, SerialExecutor(), tolerance=TOLERANCE, check=lambda record: None)
    assert not found.agrees
    assert [each.spec.run_id for each in found.found if not each.agrees] == [ids[1]]
    assert set(found.broken) == {ids[2], ids[3]}
    text = "\n".join(found.lines())
    assert f"run {ids[2]}: not repeated: " in text
    assert "most of all val.sphere.map_at_r" in text
    assert text.splitlines()[-1] == (
        "4 of 4 stored runs repeated (seed 0): 1 agree bit for bit, 1 differ, 2 could not be repeated"
    )


def test_a_sample_is_a_share_that_its_seed_alone_decides(stored):
    store = Store(stored[0])
    assert sample(store, 0.5, 7) == sample(store, 0.5, 7)
    chosen, count = sample(store, 0.5, 0)
    assert (len(chosen), count) == (2, 4)
    assert len({tuple(sample(store, 0.5, seed)[0]) for seed in range(20)}) > 1
    assert len(sample(store, 1e-9, 0)[0]) == 1, "never none"


@pytest.mark.parametrize("text", ["0", "0%", "101%", "1.5", "x", "", "nan", "-5%", "5%%"])
def test_a_share_that_is_none_is_a_mistake(text):
    with pytest.raises(SpecError, match="is no share; 5% and"):
        parsed_share(text)


@pytest.mark.slow
def test_the_command_needs_a_run_or_a_sample_and_fails_where_runs_differ(stored, tmp_path):
    for arguments in ([], ["0123", "--sample", "5%"]):
        result = CliRunner().invoke(main, ["replay", *arguments, "--runs", str(stored[0])])
        assert result.exit_code == 2
        assert "name a run, or say how many with --sample 5%" in result.output
    result = CliRunner().invoke(main, ["replay", "--sample", "5%", "--runs", str(tmp_path)])
    assert result.exit_code == 2
    assert "no run is stored here" in result.output
    result = CliRunner().invoke(main, ["replay", "--sample", "100%", "--runs", str(stored[0])])
    assert result.exit_code == 1, result.output
    assert "4 of 4 stored runs repeated" in result.output
