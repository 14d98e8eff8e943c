"""Folders of several machines united by content: halves give the whole to the byte, and nothing else gets in."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import Future
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import Quiet, sweep, tiny_plan
from lossbench import report
from lossbench.cli import main
from lossbench.executors.processes import SerialExecutor
from lossbench.plugins.mistakes import SpecError
from lossbench.store import Store
from lossbench.store.records import dump, with_checksum
from lossbench.sweep import dry_run, launch
from lossbench.sweep.merging import Source, merge
from lossbench.sweep.plan_union import merged_claims
from lossbench.sweep.sweep import Sweep

SETTINGS = ("training.epochs=1", "budget.studies=4", "budget.seeds=1", 'recipes=["softmax", "triplet"]')


class From(SerialExecutor):
    """Gives every run as another folder has it, files and costs included: what other machines made, at once."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def submit(self, fn, spec):
        future: Future = Future()
        record = dict(self.store.read(spec.run_id))
        files = {name: (self.store.folder(spec.run_id) / name) for name in record.pop("files")}
        future.set_result(
            (
                record,
                {
                    "arrays": self.store.arrays(spec.run_id),
                    "audit": self.store.audit(spec.run_id),
                    "checkpoint": files["model.pt"].read_bytes() if "model.pt" in files else None,
                },
            )
        )
        return future


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The whole in one folder, and the odd and the even studies of it in two others."""
    root = tmp_path_factory.mktemp("merge")
    plan = tiny_plan(*SETTINGS)
    store, _ = sweep(plan, root / "one")
    for name, share in (("a", "1/2"), ("b", "2/2")):
        sweep(launch.shared(plan, share), root / name, From(store))
    return root


@pytest.fixture
def folders(halves, tmp_path):
    """Copies of the two halves that a test may spoil."""
    for name in ("a", "b"):
        shutil.copytree(halves / name, tmp_path / name)
    return tmp_path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def resigned(store: Store, run_id: str, change) -> None:
    """A result with something changed, and a checksum that fits again."""
    record = json.loads(json.dumps(store.read(run_id)))
    change(record)
    (store.folder(run_id) / "result.json").write_bytes(with_checksum(dump(record)))


def runs_of(root: Path, role: str) -> list[str]:
    return [row["run_id"] for row in Store(root).read_plan("ablation")["rows"] if row["role"] == role]


def test_each_half_has_its_studies_only_and_says_what_is_missing(halves):
    plans = {name: Store(halves / name).read_plan("ablation") for name in ("one", "a", "b")}
    assert {row["study"] for row in plans["a"]["rows"]} == {1, 3}
    assert {row["study"] for row in plans["b"]["rows"]} == {2, 4}
    assert len({plan["planned_runs"] for plan in plans.values()}) == 1
    assert (
        plans["one"]["planned_runs"] == len(plans["one"]["rows"]) == len(plans["a"]["rows"]) + len(plans["b"]["rows"])
    )


@pytest.mark.slow
def test_halves_merged_give_the_report_of_one_folder_to_the_byte(halves, tmp_path, monkeypatch):
    found = merge([Source(halves / "a"), Source(halves / "b")], tmp_path / "c")
    assert found.problems == []
    plan = "experiments/ablation.json"
    assert (tmp_path / "c" / plan).read_bytes() == (halves / "one" / plan).read_bytes()
    for name, runs in (("one", halves / "one"), ("c", tmp_path / "c")):
        (tmp_path / f"at-{name}").mkdir()
        (tmp_path / f"at-{name}" / "runs").symlink_to(runs)  # a report's commands name the folder
        monkeypatch.chdir(tmp_path / f"at-{name}")
        list(report.write("ablation", Path("runs"), tmp_path / f"reports-{name}"))
    one, merged = files_of(tmp_path / "reports-one"), files_of(tmp_path / "reports-c")
    assert [name for name in one.keys() | merged.keys() if one.get(name) != merged.get(name)] == []
    swapped = merge([Source(halves / "b"), Source(halves / "a")], tmp_path / "d")
    assert swapped.problems == []
    assert (tmp_path / "d" / plan).read_bytes() == (halves / "one" / plan).read_bytes()
    _, progress = sweep(tiny_plan(*SETTINGS), tmp_path / "c")
    assert progress.executed == 0, "the whole experiment goes on from a merged folder"


@pytest.mark.slow
def test_who_computed_what_is_kept_and_shown_also_after_a_second_merge(halves, tmp_path):
    first = CliRunner().invoke(
        main, ["merge", f"ann={halves / 'a'}", f"<b>={halves / 'b'}", "--into", str(tmp_path / "c")]
    )
    assert first.exit_code == 0, first.output
    runs = {name: len(list((halves / name).glob("*/result.json"))) for name in ("a", "b")}
    assert f"  ann: {runs['a']} runs on python " in first.output
    assert f"  <b>: {runs['b']} runs on python " in first.output
    again = merge([Source.given(f"late={tmp_path / 'c'}"), Source(halves / "one")], tmp_path / "d")
    assert again.agreed == again.taken == sum(runs.values())
    known = Store(tmp_path / "d").read_submitters()
    assert {name: len(own) for name, own in known.items()} == {"ann": runs["a"], "<b>": runs["b"]}
    list(report.write("ablation", tmp_path / "d", tmp_path / "reports"))
    page = (tmp_path / "reports" / "ablation" / "index.html").read_text()
    assert f"ann: {runs['a']} runs on Linux" in page or f"ann: {runs['a']} runs on" in page
    assert "&lt;b&gt;: " in page
    assert "<b>: " not in page


def test_copies_that_differ_are_a_conflict_with_both_figures_and_neither_is_taken(halves, folders):
    shutil.rmtree(folders / "b")
    shutil.copytree(folders / "a", folders / "b")
    run_id, store = runs_of(folders / "b", "final")[0], Store(folders / "b")
    before = store.read(run_id)["metrics"]["test"]["sphere.map_at_r"]
    resigned(store, run_id, lambda record: record["metrics"]["test"].update({"sphere.map_at_r": before + 1e-9}))
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    (problem,) = found.problems
    assert problem.startswith(f"conflict: run {run_id}: test.sphere.map_at_r is {before} in {folders / 'a'} and ")
    assert str(before + 1e-9) in problem
    assert Store(folders / "c").read(run_id) is None
    assert found.taken == found.agreed == len(list((folders / "a").glob("*/result.json"))) - 1


def test_a_network_or_arrays_that_differ_are_a_conflict_and_costs_are_none(folders):
    shutil.rmtree(folders / "b")
    shutil.copytree(folders / "a", folders / "b")
    store, (first, second, *_) = Store(folders / "b"), runs_of(folders / "b", "final")
    record = dict(store.read(first)) | {"cost": {"run_wall_s": 99.0}}
    arrays = store.arrays(first)
    store.write(record, arrays=arrays, audit=store.audit(first), checkpoint=b"other")
    resigned(store, second, lambda record: record["cost"].update(run_wall_s=99.0))
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    assert found.problems == [f"conflict: run {first}: model.pt differs; neither is taken"]


def test_a_run_that_failed_on_one_machine_is_taken_from_the_other(folders):
    shutil.rmtree(folders / "b")
    shutil.copytree(folders / "a", folders / "b")
    store, run_id = Store(folders / "a"), runs_of(folders / "a", "trial")[0]
    resigned(store, run_id, lambda record: record.update(status="failed", error="time", metrics={}, curves={}))
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    assert found.problems == []
    assert found.notes == [f"run {run_id}: failed in {folders / 'a'}; taken from {folders / 'b'}"]
    assert Store(folders / "c").read(run_id)["status"] == "ok"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pipe(path):
    path.unlink()
    os.mkfifo(path)


SPOILED = {
    "truncated": (cut, "is truncated"),
    "edited": (lambda path: path.write_text(path.read_text().replace('"ok"', '"collapsed"')), "was edited"),
    "foreign": (lambda path: path.write_text("[1, 2]"), "is no result"),
    "a pipe": (pipe, "is no regular file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is no regular file"),
    "arrays cut": (lambda path: cut(path.parent / "embeddings.npz"), "embeddings.npz is not what was written"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_spoiled_file_is_refused_by_name_and_the_rest_is_merged(folders, what):
    run_id = runs_of(folders / "a", "final")[0]
    spoil, said = SPOILED[what]
    spoil(folders / "a" / run_id / "result.json")
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    (problem,) = found.problems
    assert problem.startswith(f"refused: {folders / 'a'}: {run_id}/result.json ")
    assert said in problem
    assert not (folders / "c" / run_id).exists()
    assert found.taken == sum(len(list((folders / name).glob("*/result.json"))) for name in "ab") - 1


SIGNED = {
    "other settings": lambda record: record["spec"].update(lr=0.5),
    "of another version": lambda record: record["spec"].update(warmup=3),
    "no figures": lambda record: record["metrics"].update(test={"sphere.map_at_r": "high"}),
    "outside": lambda record: record["files"].update({"../../escaped": {"bytes": 1, "sha256": "0"}}),
    "another schema": lambda record: record.update(schema=2),
    "infinite": lambda record: record["metrics"].update(test={"sphere.map_at_r": 1e300}),
}


@pytest.mark.parametrize("what", SIGNED)
def test_a_signed_result_that_is_not_what_it_says_is_refused(folders, what):
    run_id = runs_of(folders / "a", "trial")[0]
    resigned(Store(folders / "a"), run_id, SIGNED[what])
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    (problem,) = found.problems
    assert problem.startswith(f"refused: {folders / 'a'}: {run_id}/result.json ")
    assert not (folders / "escaped").exists()


def test_other_code_is_kept_apart_and_said(halves, folders):
    """The plan of the other half as other code left it: its runs have other ids, its plan another name."""
    path = folders / "b" / "experiments" / "ablation.json"
    plan = json.loads(path.read_bytes())
    plan["provenance"]["digits/closed-set"]["code"] = "0" * 16
    path.write_text(json.dumps(plan))
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    (note,) = [note for note in found.notes if "apart" in note]
    assert note.startswith(f"ablation of {folders / 'b'} has other code: kept apart as ablation.")
    other = note.rpartition(" ")[2]
    store = Store(folders / "c")
    assert {row["study"] for row in store.read_plan("ablation")["rows"]} == {1, 3}
    assert {row["study"] for row in store.read_plan(other)["rows"]} == {2, 4}
    assert not store.table(store.read_plan(other))["status"].eq("missing").any()


def test_data_of_one_content_in_another_place_are_the_same_task(folders):
    for name, place in (("a", "folder:/home/ann/letters"), ("b", "folder:/data/letters")):
        path = folders / name / "experiments" / "ablation.json"
        path.write_bytes(path.read_bytes().replace(b'"digits', f'"{place}'.encode()))
    found = merge([Source(folders / "a"), Source(folders / "b")], folders / "c")
    assert found.problems == found.notes == []
    rows = Store(folders / "c").read_plan("ablation")["rows"]
    assert {row["study"] for row in rows} == {1, 2, 3, 4}
    assert {row["dataset"] for row in rows} == {"folder:/home/ann/letters"}


def test_claims_are_post_hoc_where_any_folder_could_have_seen_their_answer():
    early, late = ({"text": "x", "post_hoc": False, "date": date} for date in ("2026-01-01", "2026-02-01"))
    assert merged_claims([({"k": late}, True), ({"k": early}, True)]) == {"k": early}
    assert merged_claims([({"k": early}, True), ({"k": {**late, "post_hoc": True}}, True)])["k"]["post_hoc"]
    assert merged_claims([({"k": early}, True), ({}, True)])["k"]["post_hoc"], "the other had final runs without it"
    assert not merged_claims([({"k": early}, True), ({}, False)])["k"]["post_hoc"]


def test_where_it_cannot_begin_a_merge_says_why_in_a_line(halves, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for arguments, said in (
        ([str(halves / "a"), "--into", str(tmp_path / "full")], "is not empty; name a folder that is new"),
        ([str(halves / "a"), "--into", str(halves / "a" / "c")], "which is only read; name another folder"),
        ([str(tmp_path), "--into", str(tmp_path / "c")], "is no runs folder: no experiment was run here"),
    ):
        result = CliRunner().invoke(main, ["merge", *arguments])
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
        assert said in result.output


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_share_that_is_none_is_a_mistake(text):
    with pytest.raises(SpecError, match="is not K/N"):
        launch.shared(tiny_plan(), text)


def test_shares_need_a_number_of_studies():
    with pytest.raises(SpecError, match="needs a number of studies"):
        launch.shared(tiny_plan("budget.studies={least=6, most=9}"), "1/2")


def test_every_study_is_of_one_share():
    plans = [launch.shared(tiny_plan(), f"{part}/3") for part in (1, 2, 3)]
    for study in range(1, 20):
        assert sum(plan.makes(study) for plan in plans) == 1
    assert launch.shared(tiny_plan(), "1/3").makes(1)


def test_names_with_every_byte_are_refused_in_printable_lines(folders):
    place = os.fsencode(folders / "a")
    names = [bytes([byte]) + b"x" for byte in range(1, 256) if byte not in b"/."]
    for name in names:
        Path(os.fsdecode(place + b"/" + name)).mkdir()
    result = CliRunner().invoke(main, ["merge", str(folders / "a"), str(folders / "b"), "--into", str(folders / "c")])
    assert result.exit_code == 1, result.output
    refused = [line for line in result.output.splitlines() if line.startswith("refused: ")]
    assert len(refused) == len(names)
    assert all(line.isascii() and line.isprintable() for line in refused)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
trees = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)


def any_place(content, path):
    """The container and key that a list of numbers leads to, somewhere in nested JSON."""
    *_, last = path
    for step in path:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        if not keys:
            return None
        key = list(keys)[step % len(keys)]
        if not isinstance(content[key], dict | list) or step == last:
            return content, key
        content = content[key]
    return None


@given(
    st.sampled_from(["result", "plan", "claims", "probe"]),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
    trees,
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_put_anywhere_into_a_signed_file_it_is_merged_or_refused(
    tmp_path_factory, halves, kind, path, value
):
    root = tmp_path_factory.mktemp("fuzz")
    run_id = runs_of(halves / "a", "trial")[0]
    for name in (run_id, "experiments", "claims"):  # one run is enough, and quick
        shutil.copytree(halves / "a" / name, root / "a" / name)
    file = {
        "result": root / "a" / run_id / "result.json",
        "plan": root / "a" / "experiments" / "ablation.json",
        "claims": root / "a" / "claims" / "ablation.json",
        "probe": root / "a" / "probes" / "ablation.json",
    }[kind]
    content = orjson.loads(file.read_bytes()) if file.exists() else {"schema": 1, "experiment": "ablation", "tasks": {}}
    if (place := any_place(content, path)) is not None:
        place[0][place[1]] = value
    stored = json.dumps(content).encode()
    if kind == "result":
        content.pop("sha256", None)
        stored = with_checksum(json.dumps(content, indent=2).encode())
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(stored)
    found = merge([Source(root / "a"), Source(root / "a")], root / "c")
    assert all("\n" not in line for line in found.lines())
    store = Store(root / "c")
    for path in (root / "c" / "experiments").glob("*.json"):
        assert len(store.table(store.read_plan(path.stem)))
    shutil.rmtree(root)


def test_progress_counts_the_share(halves, tmp_path):
    plan, progress = launch.shared(tiny_plan(*SETTINGS), "2/2"), Quiet()
    Sweep(plan, Store(tmp_path), From(Store(halves / "one")), progress).run()
    assert progress.total == progress.executed == len(Store(tmp_path).read_plan("ablation")["rows"])
    line = dry_run.describe(plan, Store(tmp_path), 1).splitlines()[-2]
    assert line == f"{progress.total} planned runs in part 2 of 2 of the studies, {progress.total} of them done"
