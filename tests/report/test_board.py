"""The board: what compares is joined and tested together, what does not stands apart and says why, names are text."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from report.browser import CHROMIUM, DRIVER, Browser
from report.stored import fill

from lossbench.cli import main
from lossbench.report import board
from lossbench.report.evidence.boards import gather
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.sections.tiers import apart, coverage, history, tiers
from lossbench.store import Store, StoreError
from lossbench.store.foreign import check_figures
from lossbench.store.records import dump, with_checksum

HOSTILE = '</script><img src=x onerror=alert(1)>" onmouseover="x'


def scores(mean: float, *, seed: int, studies: int = 8) -> list[float]:
    return list(mean + 0.004 * np.random.default_rng(seed).normal(size=studies))


FIRST = {"softmax": scores(0.5, seed=1), "triplet": scores(0.6, seed=2)}
SECOND = {"softmax": scores(0.5, seed=1), "contrastive": scores(0.6, seed=3), HOSTILE: scores(0.4, seed=4)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    return fill(root / "a", FIRST), fill(root / "b", SECOND)


def changed(folder: Path, change) -> None:
    path = folder / "experiments" / "toy.json"
    plan = json.loads(path.read_bytes())
    change(plan)
    path.write_text(json.dumps(plan))


def with_other_runs(source: Path, target: Path, shift: float) -> Path:
    """The same experiment as other code left it: other ids, and every figure a little higher."""
    new = {
        row["run_id"]: hashlib.sha256(row["run_id"].encode()).hexdigest()[:16]
        for row in Store(source).read_plan("toy")["rows"]
    }
    for old, own in new.items():
        record = json.loads(json.dumps(Store(source).read(old))) | {"run_id": own, "files": {}}
        record["metrics"].get("test", {})["sphere.map_at_r"] = (
            record["metrics"].get("test", {}).get("sphere.map_at_r", 0) + shift
        )
        (target / own).mkdir(parents=True)
        (target / own / "result.json").write_bytes(with_checksum(dump(record)))
    plan = Store(source).read_plan("toy")
    plan["rows"] = [{**row, "run_id": new[row["run_id"]]} for row in plan["rows"]]
    plan["provenance"]["toy/closed-set"]["code"] = "n" * 16
    (target / "experiments").mkdir()
    Store(target).write_plan(plan)
    return target


def text_of(table) -> str:
    return "\n".join(" | ".join(cell.text for cell in row.cells) for row in table.rows)


def test_comparable_results_are_tested_together(folders):
    (group,) = gather(folders, check_figures).groups()
    evidence = Evidence(group.material)
    assert set(group.material.recipes) == {*FIRST, *SECOND}
    found = tiers(evidence, group.task)
    assert found["triplet"] == found["contrastive"] == 1
    assert found["softmax"] == 2
    assert found[HOSTILE] == 3
    comparison = evidence.primary[group.task]
    assert comparison.tests == 6, "all pairs of four recipes are one family"
    assert comparison.pair("triplet", "softmax").verdict == "better"


def test_what_both_have_is_there_once_and_named_with_both(folders):
    (group,) = gather(folders, check_figures).groups()
    both = [version for version in group.versions if version.recipe == "softmax"]
    assert len(both) == 1
    finals = group.material.table.query("role == 'final' and recipe == 'softmax'")
    assert len(finals) == 8
    assert finals["run_id"].is_unique


@pytest.mark.parametrize("neck", [{}, {"neck": "batchnorm", "before_neck": ["triplet"]}])
def test_one_rule_under_two_names_of_an_experiment_is_two_recipes_and_no_history(folders, tmp_path, neck):
    def alike(plan):
        one, other = plan["recipes"]
        other |= {**one, "name": other["name"], **neck}
        plan["experiment"]["recipes"][1]["use"] = plan["experiment"]["recipes"][0]["use"]

    shutil.copytree(folders[0], tmp_path / "a")
    changed(tmp_path / "a", alike)
    (group,) = gather([tmp_path / "a"], check_figures).groups()
    assert set(group.material.recipes) == set(FIRST)
    assert all(version.newest for version in group.versions)


def test_below_seven_studies_there_are_no_tiers(tmp_path):
    root = fill(tmp_path, {name: found[:5] for name, found in FIRST.items()})
    (group,) = gather([root], check_figures).groups()
    assert tiers(Evidence(group.material), group.task) == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda plan: plan["experiment"]["training"].update(epochs=9), "setting.training.epochs 3, here 9"),
        (lambda plan: plan["experiment"]["budget"].update(trials=9), "budget.trials 2, here 9"),
        (lambda plan: plan["provenance"]["toy/closed-set"].update(data="e" * 16), "other data"),
        (lambda plan: plan["experiment"].update(seed=3), "setting.seed 0, here 3"),
    ],
)
def test_what_does_not_compare_stands_apart_with_the_reason(folders, tmp_path, change, why):
    shutil.copytree(folders[1], tmp_path / "b")
    changed(tmp_path / "b", change)
    groups = gather([folders[0], tmp_path / "b"], check_figures).groups()
    assert len(groups) == 2
    assert why in text_of(apart(groups))


def test_names_questions_and_resources_keep_nothing_apart(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "b")
    changed(tmp_path / "b", lambda plan: plan["experiment"].update(question="Or which?", resources={"cpus": 2.0}))
    assert len(gather([folders[0], tmp_path / "b"], check_figures).groups()) == 1


def test_the_newest_version_takes_part_and_history_has_all_of_them_with_the_paired_change(folders, tmp_path):
    new = with_other_runs(folders[0], tmp_path / "new", 0.01)
    for path in folders[0].glob("*/result.json"):
        os.utime(path, (1e9, 1e9))
    (group,) = gather([new, folders[0]], check_figures).groups()
    assert [version.newest for version in group.versions if version.recipe == "triplet"] == [False, True]
    assert group.material.mean(group.task, "triplet", "test.sphere.map_at_r") == pytest.approx(
        np.mean(FIRST["triplet"]) + 0.01
    )
    rows = text_of(history([group]))
    assert rows.count("+0.010 | [") == 2
    assert "2001-09-09 | " + "c" * 16 in rows


def test_a_name_that_two_recipes_share_is_told_apart_by_the_experiment(folders, tmp_path):
    new = with_other_runs(folders[0], tmp_path / "new", 0.0)
    changed(new, lambda plan: plan["recipes"][1].update(sampler="balanced"))
    (group,) = gather([new, folders[0]], check_figures).groups()
    labels = {version.label for version in group.versions if version.recipe == "triplet"}
    assert labels == {"triplet (toy)", "triplet (toy)′"}
    assert len(group.material.recipes) == len(set(group.material.recipes)) == 3


def test_coverage_says_where_each_recipe_was_tried(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "b")
    changed(tmp_path / "b", lambda plan: plan["experiment"]["training"].update(epochs=9))
    groups = gather([folders[0], tmp_path / "b"], check_figures).groups()
    found = {group.entries[0].key: tiers(Evidence(group.material), group.task) for group in groups}
    rows = {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in coverage(groups, found).rows}
    assert rows["softmax"][:2] == ["2", "0"]
    assert rows["triplet"][:2] == ["1", "1"]
    assert sorted(rows["triplet"][2:]) == ["1 (leading)", "–"]


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    into = tmp_path_factory.mktemp("page")
    lines = list(board.write(folders, into, check=check_figures))
    return into, lines


def attributes(page: str) -> set[str]:
    """Names of every attribute of every element, as a browser reads them."""
    found: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.update(name for name, _ in attrs)
    parser.feed(page)
    return found


def test_a_hostile_name_is_text_and_the_page_makes_no_request(written):
    into, lines = written
    page = (into / "index.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 1
    assert "<img" not in page.lower()
    assert not {name for name in attributes(page) if name.startswith("on")}
    assert "default-src 'none'" in html.unescape(page)
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "<img" not in (into / "board.md").read_text(encoding="utf-8").lower()
    assert lines[-1] == str(into / "index.html")


def test_the_page_filters_by_task_modality_and_budget(written):
    page = (written[0] / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<select data-choice="(\w+)">', page) == ["task", "modality", "budget"]
    assert 'data-task="toy/closed-set" data-modality="images" data-budget="8 studies of 2 trials"' in page


def test_the_tidy_table_has_one_row_a_method_task_and_seed(written):
    table = pd.read_csv(written[0] / "results.csv")
    assert not table.duplicated(["method", "task", "group", "study", "seed"]).any()
    own = table[table["method"] == "triplet"].sort_values("study")
    assert own["test.sphere.map_at_r"].tolist() == pytest.approx(FIRST["triplet"])
    assert {"untrained", "pixels", HOSTILE} <= set(table["method"])
    assert (table["data_sha256"] == "d" * 16).all()


def test_runs_whose_specification_is_not_theirs_are_refused_unless_told_otherwise(folders, tmp_path):
    result = CliRunner().invoke(main, ["board", str(folders[0]), "--into", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "its specification is of another version of lossbench" in result.output
    with pytest.raises(StoreError, match="is no runs folder"):
        list(board.write([tmp_path / "none"], tmp_path))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
trees = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.booleans(), st.lists(st.integers(0, 10**6), min_size=1, max_size=6), trees)
@settings(max_examples=60, deadline=None)
def test_whatever_stands_anywhere_in_a_signed_file_there_is_a_page_or_a_line(
    folders, tmp_path_factory, plan, path, value
):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "a").mkdir()
    for one in folders[0].iterdir():
        (root / "a" / one.name).symlink_to(one)
    run_id = Store(folders[0]).read_plan("toy")["rows"][path[0] % 40]["run_id"]
    changing = root / "a" / ("experiments" if plan else run_id)
    changing.unlink()
    shutil.copytree(folders[0] / changing.name, changing)
    file = changing / ("toy.json" if plan else "result.json")
    content = orjson.loads(file.read_bytes())
    content.pop("sha256", None)
    inner = content
    for step in path:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if step == path[-1] or not isinstance(inner[key], dict | list):
            inner[key] = value
            break
        inner = inner[key]
    stored = json.dumps(content, indent=2).encode()
    file.write_bytes(stored if plan else with_checksum(stored))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board.task_figures, "run_costs", lambda *_: None)  # drawing takes a second
        try:
            lines = list(board.write([root / "a"], root / "page", check=check_figures))
        except StoreError as error:
            lines = [str(error)]
        assert all("\n" not in line for line in lines)
    shutil.rmtree(root)


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver")
def test_a_filter_hides_what_it_leaves_out_and_the_console_stays_empty(folders, tmp_path):
    shutil.copytree(folders[1], tmp_path / "b")
    changed(tmp_path / "b", lambda plan: plan["experiment"]["budget"].update(trials=9))
    list(board.write([folders[0], tmp_path / "b"], tmp_path / "page", check=check_figures))
    pick = """
        const select = document.querySelector("[data-choice=budget]");
        select.value = arguments[0];
        select.dispatchEvent(new Event("change"));
        const shown = document.getElementById("shown").textContent;
        return [document.querySelectorAll("[data-group]:not([hidden])").length, shown]"""
    with Browser(tmp_path / "profile", width=1200) as browser:
        browser.open(tmp_path / "page" / "index.html")
        assert browser.run(pick, "8 studies of 9 trials") == [1, "1 of 2 groups shown"]
        assert browser.run(pick, "") == [2, "2 of 2 groups shown"]
        assert browser.run("return document.images.length") == 0
        assert HOSTILE in browser.run("return document.body.innerText")
        assert browser.console() == []
