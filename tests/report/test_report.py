"""The report as a reader meets it: right verdicts, honest gaps, one safe file, nothing compared without a test."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from report.reading import visible
from report.stored import TASK, fill

from lossbench import report
from lossbench.report.document import compose
from lossbench.report.evidence.comparisons import QUALITY, Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections.verdict import answer

COMPARING = re.compile(r"\b(better|best|beats?|wins?|winner|outperforms?|superior|leads)\b", re.IGNORECASE)
# Fixed text that may use such a word: keys and legends, never a statement about a recipe.
LEGEND = ("No single winner",)


def noise(center: float, spread: float = 0.004, *, seed: int, n: int = 8) -> list[float]:
    return list(center + spread * np.random.default_rng(seed).normal(size=n))


def clear_winner() -> dict[str, list[float]]:
    return {"softmax": noise(0.5, seed=1), "triplet": noise(0.48, seed=2), "softmax+center": noise(0.6, seed=3)}


def no_difference() -> dict[str, list[float]]:
    rng = np.random.default_rng(3)
    return {name: list(0.5 + 0.02 * rng.normal(size=8)) for name in ("softmax", "triplet", "softmax+center")}


def written(tmp_path: Path, recipes: dict[str, list[float]], **kwargs: object) -> Path:
    fill(tmp_path / "runs", recipes, **kwargs)  # type: ignore[arg-type]
    list(report.write("toy", tmp_path / "runs", tmp_path / "reports"))
    return tmp_path / "reports" / "toy"


@pytest.fixture(scope="session")
def winner_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a clear winner, which tests read and leave as it is."""
    return written(tmp_path_factory.mktemp("winner"), clear_winner())


def test_a_winner_is_named_with_effect_interval_and_p(winner_page: Path) -> None:
    folder = winner_page
    task = json.loads((folder / "results.json").read_text())["tasks"][0]
    assert task["answer"]["kind"] == "winner"
    assert task["answer"]["recipes"] == ["softmax+center"]
    assert re.search(
        r"\+0\.\d{3} \(9\d\.?\d* % interval at this pair's own level: \[0\.\d{3}, 0\.\d{3}\]; adjusted p < 0\.001\)",
        task["answer"]["sentence"],
    )
    assert task["answer"]["sentence"] in visible((folder / "index.html").read_text())


@pytest.mark.usefixtures("text_only")
def test_nothing_is_called_better_without_a_test(tmp_path: Path) -> None:
    folder = written(tmp_path, no_difference() | {"contrastive": list(no_difference()["triplet"])}, baselines=())
    answered = json.loads((folder / "results.json").read_text())["tasks"][0]["answer"]
    assert answered["kind"] == "indistinguishable"
    markdown = (folder / "report.md").read_text()
    for text in (
        visible((folder / "index.html").read_text(), glossary=False),
        markdown[: markdown.index("## Words")],
    ):
        for allowed in LEGEND:
            text = text.replace(allowed, "")
        assert not COMPARING.findall(text)


@pytest.mark.usefixtures("text_only")
@pytest.mark.parametrize(("trials", "words"), [(2, "at this tuned setting"), (1, "which were not tuned")])
def test_the_scope_says_whether_anything_was_tuned(tmp_path: Path, trials: int, words: str) -> None:
    fill(tmp_path, clear_winner(), trials=trials)
    material = gather("toy", tmp_path)
    assert words in compose(material, Evidence(material)).scope


def test_of_many_recipes_the_first_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    many = {"softmax": noise(0.3, spread=0.001, seed=0)}
    many |= {f"loss{index:02}": noise(0.5, spread=0.01, seed=index) for index in range(1, 20)}
    fill(tmp_path, many)
    found = answer(Evidence(gather("toy", tmp_path)), TASK)
    assert len(found.names) == 19
    assert found.shown == (*found.names[:8], "and 11 more")
    assert f"18 others, from {found.names[1]} down to {found.names[-1]}" in found.sentence


def test_indistinguishable_comes_with_the_smallest_effect_that_could_have_shown(tmp_path: Path) -> None:
    fill(tmp_path, no_difference())
    found = answer(Evidence(gather("toy", tmp_path)), TASK)
    assert re.search(r"A difference of 0\.0\d\d .*is found with 80 % power", found.details[0])


def test_a_tie_at_the_top_names_the_group(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.5, seed=1), "a": noise(0.6, 0.01, seed=2), "b": noise(0.601, 0.01, seed=3)}
    fill(tmp_path, recipes)
    found = answer(Evidence(gather("toy", tmp_path)), TASK)
    assert (found.kind, set(found.names)) == ("top group", {"a", "b"})


@pytest.mark.usefixtures("text_only")
def test_center_loss_is_judged_on_compactness_and_on_retrieval(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.5, seed=1), "softmax+center": noise(0.5, 0.02, seed=5)}
    compact = {"softmax": noise(0.8, seed=8), "softmax+center": noise(0.6, seed=9)}
    fill(tmp_path, recipes, compact=compact)
    material = gather("toy", tmp_path)
    texts = [found.text for found in compose(material, Evidence(material)).tasks[0].findings if "pay" in found.question]
    assert "more compact" in texts[0]
    assert "could not be told from" in texts[0]


@pytest.mark.usefixtures("text_only")
def test_a_reversal_in_the_raw_space_is_said(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.5, seed=1), "triplet": noise(0.6, seed=2)}
    fill(tmp_path, recipes, raw={"softmax": noise(0.6, seed=3), "triplet": noise(0.5, seed=4)})
    material = gather("toy", tmp_path)
    texts = [found.text for found in compose(material, Evidence(material)).tasks[0].findings]
    assert any("The raw space reverses triplet is better than softmax" in text for text in texts)


@pytest.mark.usefixtures("text_only")
def test_a_partial_report_says_what_is_missing(tmp_path: Path) -> None:
    folder = written(tmp_path, clear_winner(), missing={("triplet", 3), ("triplet", 4)})
    for name in ("index.html", "report.md"):
        text = (folder / name).read_text()
        assert re.search(r"Partial report: \d+ of \d+ planned runs are there, 2 are missing", text)
        assert "2 of 3 comparisons lack studies" in visible(text)


@pytest.mark.usefixtures("text_only")
def test_failed_runs_leave_comparisons_incomplete_and_are_counted(tmp_path: Path) -> None:
    status = {("triplet", 1): "failed", ("softmax", 2): "diverged", ("softmax", 3): "collapsed"}
    page = visible((written(tmp_path, clear_winner(), status=status) / "index.html").read_text())
    assert "1/8 failed" in page
    assert "1/8 diverged, 1/8 collapsed" in page
    assert "1 run failed" in page


@pytest.mark.parametrize(("recipes", "family", "reference"), [(12, "all pairs", None), (13, "leaders", "softmax")])
def test_a_catalogue_is_tested_as_the_sweep_tested_it(tmp_path, recipes, family, reference):
    names = ["softmax", *(f"recipe {number}" for number in range(1, recipes))]
    fill(tmp_path, {name: [0.5 + 0.01 * place, 0.51 + 0.01 * place] for place, name in enumerate(names)})
    evidence = Evidence(gather("toy", tmp_path))
    comparison = evidence.primary[TASK]
    assert (comparison.family, comparison.reference) == (family, reference)
    with_baselines = evidence.comparison(TASK, QUALITY[0], baselines=True)
    assert with_baselines.family == "against", "whether a recipe beats a baseline is asked of each"


def test_a_diverged_run_stays_in_the_comparison(tmp_path: Path) -> None:
    fill(tmp_path, clear_winner(), status={("softmax", 2): "diverged"})
    comparison = Evidence(gather("toy", tmp_path)).primary[TASK]
    assert comparison is not None
    assert comparison.pair("softmax", "triplet").effect.n == 8


def test_without_finished_runs_the_page_says_just_that(tmp_path: Path) -> None:
    fill(tmp_path / "runs", clear_winner())
    for result in (tmp_path / "runs").glob("*/result.json"):
        result.unlink()
    *_, state, last = report.write("toy", tmp_path / "runs", tmp_path / "reports")
    assert last == str(tmp_path / "reports" / "toy" / "index.html")
    assert state.startswith("No run of this experiment has finished yet")
    assert state in Path(last).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("status", ["failed", "collapsed"])
def test_runs_that_all_end_badly_still_give_a_report(tmp_path: Path, status: str) -> None:
    recipes = {"softmax": noise(0.5, seed=1, n=2), "triplet": noise(0.5, seed=2, n=2)}
    every = {(name, seed): status for name in recipes for seed in (1, 2)}
    assert (written(tmp_path, recipes, status=every) / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_one_recipe_one_seed_gives_a_report(tmp_path: Path) -> None:
    folder = written(tmp_path, {"triplet": [0.5]})
    assert "There is nothing to compare it with." in (folder / "report.md").read_text()


@pytest.mark.slow
def test_two_dimensional_embeddings_are_shown_as_they_are(tmp_path: Path) -> None:
    text = (written(tmp_path, clear_winner(), dim=2) / "report.md").read_text()
    assert "shown as it is" in text


@pytest.mark.slow
def test_many_classes_are_thinned_and_said_so(tmp_path: Path) -> None:
    text = (written(tmp_path, clear_winner(), classes=20) / "report.md").read_text()
    assert "12 of 20 classes are shown" in text


@pytest.mark.slow
def test_a_hostile_name_is_shown_as_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    folder = written(tmp_path, clear_winner() | {name: noise(0.4, seed=6)})
    page = (folder / "index.html").read_text()
    assert "<img" not in page
    assert name in visible(page)
    assert "<img" not in (folder / "report.md").read_text()
    assert not any("<img" in svg.read_text() for svg in (folder / "figures").glob("*.svg"))


class Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, name, value or "") for name, value in attrs]


def test_the_page_is_one_small_file_that_can_request_nothing(winner_page: Path) -> None:
    folder = winner_page
    page = (folder / "index.html").read_text()
    assert len(page.encode()) < 5_000_000
    parser = Attributes()
    parser.feed(page)
    for tag, name, value in parser.found:
        assert name != "style", "the policy forbids style attributes"
        assert not name.startswith("on"), "the policy forbids handlers"
        if name in ("src", "href", "xlink:href"):
            beside = tag == "a" and (folder / value).is_file()
            assert beside or value.startswith(("#", "data:")), (tag, name, value)
    policy = next(value for tag, name, value in parser.found if value.startswith("default-src 'none'"))
    for kind in ("style", "script"):
        inline = re.findall(rf"<{kind}>(.*?)</{kind}>", page, flags=re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    ids = [value for _, name, value in parser.found if name == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path, clear_winner())
    before = {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    list(report.write("toy", tmp_path / "runs", tmp_path / "again"))
    after = {path: (tmp_path / "again" / "toy" / path).read_bytes() for path in before}
    assert before == after


@pytest.mark.usefixtures("text_only")
def test_results_csv_holds_one_row_a_run_with_exact_floats(tmp_path: Path) -> None:
    recipes = clear_winner()
    folder = written(tmp_path, recipes, missing={("triplet", 1)})
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    header = list(rows[0])
    assert header[:5] == ["experiment", "dataset", "protocol", "study", "recipe"]
    assert header[5:10] == ["role", "trial", "seed", "run_id", "status"]
    assert header[-1].startswith("cost.")
    finals = {(row["recipe"], int(row["study"])): row for row in rows if row["role"] == "final"}
    assert ("triplet", 1) not in finals
    assert finals["softmax", 3]["test.sphere.map_at_r"] == repr(float(recipes["softmax"][2]))
    assert {row["test.sphere.map_at_r"] for row in rows if row["role"] == "trial"} == {""}
    assert {row["trial"] for row in rows if row["role"] == "trial"} == {"0", "1"}


@pytest.mark.usefixtures("text_only")
def test_results_json_keeps_its_schema(tmp_path: Path) -> None:
    folder = written(tmp_path, clear_winner(), missing={("triplet", 1)}, tasks=("toy/closed-set", "toy/open-set"))
    found = json.loads((folder / "results.json").read_text())
    schema = json.loads((Path(report.__file__).parent / "writing" / "results.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found, schema)
    assert set(schema["properties"]) == set(found), "every field is documented"


def test_the_resolved_experiment_is_toml(winner_page: Path) -> None:
    folder = winner_page
    found = tomllib.loads((folder / "experiment.toml").read_text())
    assert found["params"] == {"softmax+center": {"alpha": 0.5}}
    assert found["budget"] == {"studies": 8, "trials": 2, "seeds": 1, "candidates": 1, "candidate_seeds": 2}


def test_markdown_figures_are_there_and_small(winner_page: Path) -> None:
    folder = winner_page
    links = re.findall(r"\]\((figures/[^)]+)\)", (folder / "report.md").read_text())
    assert len(links) >= 6
    assert all((folder / link).stat().st_size < 300_000 for link in links)


@pytest.mark.slow
def test_figures_do_not_cut_numbers(tmp_path: Path) -> None:
    folder = written(tmp_path, {"softmax": [0.5] * 8, "triplet": [0.4567] * 8})
    assert ">0.457 " in (folder / "figures" / "t0-headline.svg").read_text()


@pytest.mark.usefixtures("text_only")
def test_bad_practice_is_recounted_from_the_sealed_scores(tmp_path: Path) -> None:
    text = (written(tmp_path, {"softmax": [0.5, 0.6], "triplet": [0.4, 0.4]}) / "report.md").read_text()
    row = next(line for line in text[text.index("Under bad practice") :].splitlines() if line.startswith("| softmax"))
    assert "0.550, 1" in row
    assert "0.560 (+0.010), 1" in row
    assert "0.600 (+0.050), 1" in row
    assert "0.500 (−0.050), 1" in row


@pytest.mark.slow
def test_torch_is_never_imported(tmp_path: Path) -> None:
    fill(tmp_path, {"softmax": [0.5, 0.6], "triplet": [0.4, 0.5]})
    code = (
        "import sys; from lossbench.report import write;"
        f"list(write('toy', {str(tmp_path)!r}, {str(tmp_path / 'out')!r}));"
        "assert not {'torch', 'lossbench.run.training', 'lossbench.run.execution'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
