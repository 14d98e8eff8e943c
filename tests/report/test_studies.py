"""What the page says of studies: who leads for whoever repeats the work, who is kept out, and what is not known yet."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.stored import TASK, fill
from scipy import stats

from lossbench import report
from lossbench.report.document import compose
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import own_interval, top
from lossbench.report.evidence.material import PRIMARY, gather
from lossbench.report.evidence.variance import parts
from lossbench.report.sections import convergence, effects, errors, findings, protocol, ranking, tuned, variance
from lossbench.report.sections.headline import headline
from lossbench.report.sections.verdict import Answer, answer
from lossbench.report.writing import formats
from lossbench.report.writing.results import summary
from lossbench.store import Store

pytestmark = pytest.mark.usefixtures("text_only")


def noise(center: float, spread: float = 0.003, *, seed: int, n: int = 7) -> list[float]:
    return list(center + spread * np.random.default_rng(seed).normal(size=n))


def scores(n: int = 7) -> dict[str, list[float]]:
    return {"softmax": noise(0.5, seed=1, n=n), "triplet": noise(0.55, seed=2, n=n), "center": noise(0.6, seed=3, n=n)}


def evidence(root: Path, recipes: dict[str, list[float]], **options: Any) -> Evidence:
    return Evidence(gather("toy", fill(root, recipes, **options)))


def answered(root: Path, recipes: dict[str, list[float]], **options: Any) -> Answer:
    return answer(evidence(root, recipes, **options), TASK)


def test_a_study_is_the_mean_of_its_final_runs_and_nan_where_one_failed_or_is_missing(tmp_path: Path) -> None:
    recipes = scores()
    material = gather(
        "toy", fill(tmp_path, recipes, seeds=2, missing={("triplet", 3)}, status={("center", 2): "failed"})
    )
    assert len(material.rows(TASK, "softmax")) == 14
    found = material.values(TASK, "softmax", PRIMARY)
    assert list(found.values()) == pytest.approx(recipes["softmax"])
    assert math.isnan(material.values(TASK, "center", PRIMARY)[2])
    assert 3 not in material.complete(TASK, "triplet")
    assert 2 in material.complete(TASK, "center"), "a failed run is there"


def test_a_figure_of_first_runs_only_is_theirs(tmp_path: Path) -> None:
    material = gather("toy", fill(tmp_path, scores(), seeds=2))
    rows = (material.table["role"] == "final") & (material.table["seed"] == 2)
    material.table.loc[rows, "test.sphere.intra_mean"] = math.nan
    assert set(material.values(TASK, "softmax", "test.sphere.intra_mean").values()) == {0.5}
    whole = material.whole(TASK, "softmax")
    assert set(whole["seed"]) == {1}
    assert material.representative(TASK, "softmax") in set(whole["run_id"])


def test_the_first_sentence_promises_what_a_repetition_would_find_and_no_more(tmp_path: Path) -> None:
    found = answered(tmp_path, scores())
    assert (found.kind, found.names) == ("winner", ("center",))
    assert found.sentence.startswith(
        "center is better than every other recipe, also for whoever repeats the whole work:"
    )
    assert found.details[-1] == (
        "To repeat it is to deal train and validation anew, tune anew and take other seeds, on these data, this pool "
        "of recipes and this test set."
    )
    fixed = evidence(tmp_path / "fixed", scores())
    fixed.material.plan["experiment"]["tasks"][0]["splits"] = "fixed"
    assert answer(fixed, TASK).details[-1].startswith("To repeat it is to tune anew and take other seeds, on")


def test_the_interval_of_a_sentence_agrees_with_its_verdict_and_that_of_a_table_is_unadjusted(tmp_path: Path) -> None:
    """Told apart unadjusted, but not after the correction: the sentence's interval has to hold zero."""
    rng = np.random.default_rng(0)
    recipes = {f"r{index}": list(0.5 + 0.01 * rng.normal(size=7)) for index in range(6)}
    recipes["clear"] = list(0.6 + 0.01 * rng.normal(size=7))
    found = evidence(tmp_path, recipes)
    comparison = found.primary[TASK]
    assert comparison is not None
    shown = {frozenset(cell.text for cell in row.cells[:2]): row for row in effects.table(found, TASK).rows}
    told = False
    for pair in comparison.pairs:
        low, high = own_interval(pair)
        assert (low > 0 or high < 0) == (pair.verdict in ("better", "worse")), (pair.a, pair.b)
        told |= pair.verdict == "indistinguishable" and not pair.effect.low < 0 < pair.effect.high
        assert shown[frozenset((pair.a, pair.b))].cells[3].text in {
            formats.interval(pair.effect.low, pair.effect.high),
            formats.interval(-pair.effect.high, -pair.effect.low),
        }
    assert told, "one pair must show the difference"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_below_four_studies_nothing_is_ranked_and_the_page_says_how_many_would_do(tmp_path: Path, count: int) -> None:
    found = answered(tmp_path, scores(count))
    assert (found.kind, found.names) == ("unranked", ())
    assert found.sentence.startswith(
        "This speaks of one tuning only" if count == 1 else f"{count} studies rank nothing"
    )
    assert "From 4 studies on there are intervals to read, from 7 on tests (budget.studies = 7)." in found.sentence
    assert re.search(r"Means only: center 0\.[56]\d\d, triplet 0\.5\d\d and softmax 0\.5\d\d\.", found.sentence)


@pytest.mark.parametrize("count", [4, 6])
def test_from_four_to_six_studies_the_first_look_is_waited_for(tmp_path: Path, count: int) -> None:
    found = answered(tmp_path, scores(count))
    assert (found.kind, found.label) == ("undecided", f"Undecided: {count} studies")
    assert found.sentence.startswith("Pairs are tested for the first time at 7 studies.")


def test_between_looks_the_verdicts_of_the_earlier_one_stand_and_it_is_said(tmp_path: Path) -> None:
    found = answered(tmp_path, scores(8))
    assert "verdicts are those of the look at 7: 8 studies are there, the next look is at 9" in found.caveats
    assert not any("look" in caveat for caveat in answered(tmp_path / "9", scores(9)).caveats)


@pytest.mark.parametrize("status", ["diverged", "collapsed", "failed"])
def test_a_recipe_in_trouble_is_named_and_never_at_the_top(tmp_path: Path, status: str) -> None:
    found = answered(tmp_path, scores(), status={("center", 2): status}, seeds=2)
    assert "center" not in found.names
    assert found.names == ("triplet",)
    (said,) = [caveat for caveat in found.caveats if caveat.startswith("kept out of the leading group: center: ")]
    assert f"2 of 14 final runs {status}" in said
    assert ("RuntimeError: no" in said) == (status == "failed")


def groups(found: Evidence) -> dict[str, Any]:
    """Recipe to what the ranking shows as its tie group, after the same in `results.json` was found equal."""
    table = ranking.table(found, TASK)
    place = next((at for at, column in enumerate(table.columns) if column.label == "group"), None)  # left out if empty
    shown = {
        row.cells[0].text: formats.NONE if place is None else row.cells[place].text
        for row in table.rows
        if row.kind != "baseline"
    }
    (primary,) = [
        each
        for each in summary(found, {TASK: answer(found, TASK)})["tasks"][0]["comparisons"]
        if each["figure"] == PRIMARY
    ]
    assert {name: own or formats.NONE for name, own in primary["letters"].items()} == shown
    return {"shown": shown, **primary}


@pytest.mark.parametrize("status", ["diverged", "collapsed"])
def test_a_recipe_in_trouble_is_in_no_group(tmp_path: Path, status: str) -> None:
    recipes = {"softmax": noise(0.5, 0.05, seed=1), "triplet": noise(0.51, 0.05, seed=2), "center": scores()["center"]}
    found = groups(evidence(tmp_path, recipes, status={("center", 2): status}))
    assert found["shown"] == {"center": formats.NONE, "triplet": "b", "softmax": "b"}
    assert (found["winner"], found["top_group"]) == (None, [])
    tied = recipes | {"center": noise(0.52, 0.05, seed=3)}
    found = groups(evidence(tmp_path / "tied", tied, status={("center", 2): status}))
    assert found["shown"] == {"center": formats.NONE, "triplet": "a", "softmax": "a"}
    assert sorted(found["top_group"]) == ["softmax", "triplet"]


@pytest.mark.parametrize("studies", [1, 2, 3])
def test_below_four_studies_no_recipe_has_a_group(tmp_path: Path, studies: int) -> None:
    found = groups(evidence(tmp_path, scores(studies)))
    assert set(found["shown"].values()) == {formats.NONE}
    assert (found["winner"], found["top_group"], found["tie_groups"]) == (None, [], [])


def test_scores_as_untrained_are_named_before_there_are_tests(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.5, seed=1, n=2), "triplet": [0.105, 0.104], "center": [0.12, 0.11]}
    caveats = answered(tmp_path, recipes, pixels=0.05).caveats
    assert [said.partition(" (")[0] for said in caveats if "not better" in said] == [
        "in trouble: triplet: not better than the untrained network"
    ]


def test_who_is_not_told_apart_is_named_beside_those_in_trouble(tmp_path: Path) -> None:
    """One that collapsed is far below: "no recipe was shown to differ" would be wrong of it."""
    recipes = scores() | {"triplet": [value + 1e-4 * (-1) ** study for study, value in enumerate(scores()["softmax"])]}
    found = answered(tmp_path, recipes, status={("center", 2): "collapsed"}, seeds=2)
    assert found.kind == "indistinguishable"
    assert found.label in {
        f"No difference shown between {both}; 1 other is in trouble"
        for both in ("triplet and softmax", "softmax and triplet")
    }
    assert found.sentence == "No pair of the 2 recipes that trained as they should was shown to differ."
    assert headline(Evidence(gather("toy", tmp_path)), [found]).startswith(f"{TASK}: no difference shown between ")


def test_not_better_than_untrained_is_kept_out_however_high_its_mean(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.5, seed=1), "triplet": noise(0.104, 0.02, seed=2)}
    found = answered(tmp_path, recipes, pixels=0.05)
    assert any("triplet: not better than the untrained network (0.1" in caveat for caveat in found.caveats)
    diverged = {("softmax", 1): "diverged"}
    broken = answered(tmp_path / "broken", {"softmax": noise(0.5, seed=1)}, status=diverged, pixels=0.05)
    assert (broken.kind, broken.label, broken.names) == ("broken", "No recipe trained as it should", ())


def test_where_nothing_beats_the_baselines_the_first_line_says_so(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.09, seed=1), "triplet": noise(0.08, seed=2)}
    found = answered(tmp_path, recipes)
    said = "No recipe is shown to be better than the untrained network and raw pixels"
    assert (found.kind, found.label, found.names) == ("baseline", said, ())
    assert "none of the 2 recipes is shown to be better. The highest mean is that of softmax (0.09" in found.sentence


def test_where_one_recipe_alone_pays_the_first_line_says_so(tmp_path: Path) -> None:
    recipes = {"softmax": noise(0.09, seed=1), "triplet": noise(0.15, seed=2), "center": noise(0.08, seed=3)}
    found = answered(tmp_path, recipes, pixels=0.05)
    assert (found.kind, found.label, found.names) == (
        "only one pays",
        "Training pays with one recipe only",
        ("triplet",),
    )
    assert re.match(r"triplet is better than the untrained network, .* by \+0\.0[45]\d .*: \[0", found.sentence)
    assert found.sentence.endswith("none of the 2 other recipes is shown to be.")
    beaten = answered(tmp_path / "beaten", recipes, pixels=0.3)
    assert (beaten.kind, beaten.label) == ("baseline", "No recipe is shown to be better than raw pixels")


def test_one_that_trained_beside_others_in_trouble_is_not_called_equal_to_them(tmp_path: Path) -> None:
    found = answered(
        tmp_path, {"softmax": noise(0.5, seed=1), "triplet": noise(0.6, seed=2)}, status={("triplet", 1): "diverged"}
    )
    assert (found.kind, found.label, found.names) == ("single", "Only recipe that trained as it should", ("softmax",))


def test_many_that_do_not_pay_or_have_left_are_a_line_each_reason(tmp_path: Path) -> None:
    useless = {f"useless-{number}": noise(0.09, seed=number) for number in range(6)}
    left = {f"left-{number}": noise(0.3, seed=number, n=2) for number in range(14)}
    fill(tmp_path, scores() | useless | left)
    store = Store(tmp_path)
    plan = store.read_plan("toy")
    plan["dropped"] = {TASK: dict.fromkeys(left, 2)}
    store.write_plan(plan)
    found = answer(Evidence(gather("toy", tmp_path)), TASK)
    names = "useless-0, useless-1, useless-2, useless-3, useless-4 and useless-5"
    kept_out = "kept out of the leading group: 6 of 23 recipes are not better than the untrained network"
    assert f"{kept_out}: {names}" in found.caveats
    names = ", ".join(f"left-{number}" for number in range(8))
    assert f"dropped after study 2, not tested: {names} and 6 more" in found.caveats


def test_who_failed_every_time_reads_so_and_its_error_stands_on_the_page(tmp_path: Path) -> None:
    every = {("center", study): "failed" for study in range(1, 8)}
    fill(tmp_path / "runs", scores(), status=every)
    list(report.write("toy", tmp_path / "runs", tmp_path))
    text = (tmp_path / "toy" / "report.md").read_text()
    assert "center: every final run failed (RuntimeError: no)" in text
    assert "no result yet" not in text
    row = next(line for line in text.splitlines() if line.startswith("| center | final | 7 |"))
    assert "RuntimeError: no" in row
    ranking = next(line for line in text.splitlines() if line.startswith("| center | – "))
    assert "| 0 of 7 | 7/7 failed |" in ranking
    found = Evidence(gather("toy", tmp_path / "runs"))
    assert errors.table(Evidence(gather("toy", fill(tmp_path / "fine", scores()))), TASK) is None
    assert answer(found, TASK).names == ("triplet",)


def test_intervals_of_shares_stay_in_their_bounds(tmp_path: Path) -> None:
    recipes = {"softmax": [0.999, 0.9, 0.97], "triplet": [0.001, 0.1, 0.01]}
    fill(tmp_path / "runs", recipes, untrained=0.0)
    list(report.write("toy", tmp_path / "runs", tmp_path))
    found = json.loads((tmp_path / "toy" / "results.json").read_text())["tasks"][0]
    shown = [row for row in found["aggregates"] if row["figure"] in ("test.sphere.map_at_r", "val.sphere.map_at_r")]
    ends = [row[end] for row in shown for end in ("low", "high") if row[end] is not None]
    assert min(ends) == 0.0
    assert max(ends) == 1.0
    pair = next(one for one in found["comparisons"] if one["confirmatory"])["pairs"][0]
    assert -1 <= pair["low"] <= pair["high"] <= 1


def test_what_does_not_beat_a_baseline_is_the_headline_and_the_margin_is_there(tmp_path: Path) -> None:
    found = answered(tmp_path, scores(), pixels=0.602)
    assert found.label == "No recipe is shown to be better than raw pixels"
    assert (found.kind, found.names) == ("baseline", ())
    clear = answered(tmp_path / "clear", scores(), pixels=0.4)
    assert re.fullmatch(
        r"center: 0\.\d{3}, \+0\.\d{3} over raw pixels \(0\.400\) and \+0\.\d{3} over the untrained network "
        r"\(0\.104\)\.",
        clear.margin,
    )


def test_optimism_of_trials_is_measured_on_fresh_candidates(tmp_path: Path) -> None:
    found = evidence(tmp_path, scores(), optimism=0.03)
    table = tuned.table(found, TASK)
    labels = [column.label for column in table.columns]
    cells = dict(zip(labels, [cell.text for cell in table.rows[0].cells], strict=True))
    assert (cells["trial"], cells["again"], cells["optimism"]) == ("0.420", "0.390", "+0.030")
    assert tuned.optimism(found.material, TASK, "softmax")[1] == (pytest.approx(0.42), pytest.approx(0.39))
    assert (cells["default"], cells["lr"]) == ("0 of 7", "0.00200")


def test_a_tuned_point_below_its_own_default_is_named_beside_the_answer(tmp_path: Path) -> None:
    found = answered(tmp_path, scores(), default={"triplet": -0.02})
    (said,) = [caveat for caveat in found.caveats if "default" in caveat]
    assert re.fullmatch(r"below its own default on test: triplet \(0\.\d{3} against 0\.\d{3}, 2 studies\)", said)


def test_the_convergence_check_holds_moves_or_cannot_tell(tmp_path: Path) -> None:
    recipes, jitter = scores(), 2e-4 * np.random.default_rng(8).normal(size=(3, 4))
    alike = {name: list(np.array(recipes[name][:4]) + 0.02 + jitter[i]) for i, name in enumerate(recipes)}
    apart = {name: list(np.array(values) + (0.05 if name == "triplet" else 0)) for name, values in alike.items()}
    noisy = {name: list(np.array(values) + 0.1 * jitter[i] / 2e-4) for i, (name, values) in enumerate(alike.items())}
    for name, longer, expected in (("a", alike, "holds"), ("b", apart, "moves"), ("c", noisy, "cannot tell")):
        found = evidence(tmp_path / name, recipes, longer=longer)
        check = convergence.checked(found, TASK)
        assert check is not None
        assert check.answer == expected
        said = " ".join(answer(found, TASK).caveats)
        assert ("not trained to the end: twice the epochs move center against triplet by −0.050" in said) == (
            name == "b"
        )
        assert ("cannot be told" in said) == (name == "c")
    table = convergence.table(found, TASK)
    assert table is not None
    assert table.rows[0].cells[-1].text == "cannot tell"
    assert convergence.warnings(found, TASK) == [
        "whether training was long enough cannot be told of center against triplet: twice the epochs may move this "
        "effect out of its interval"
    ]
    assert convergence.checked(evidence(tmp_path / "none", recipes), TASK) is None


def test_shares_of_variance_are_those_of_a_recomputation(tmp_path: Path) -> None:
    recipes = scores()
    groups = {name: list(0.01 * np.random.default_rng(i).normal(size=5)) for i, name in enumerate(recipes)}
    found = evidence(tmp_path, recipes, jackknife=groups)
    part = parts(found.material, TASK, "triplet", "softmax")
    assert part is not None
    assert part.classes is not None
    effects_ = np.subtract(recipes["triplet"], recipes["softmax"])
    study = np.var(effects_, ddof=1) / 7
    # Every study has the same deviations by group here: nothing of them is noise within a study.
    deviations = np.subtract(groups["triplet"], groups["softmax"])
    classes = 4 / 5 * np.square(deviations - deviations.mean()).sum()
    assert part.variance == pytest.approx(study + classes)
    assert part.shares["test classes"] == pytest.approx(classes / (study + classes))
    table = variance.table(found, TASK)
    assert table is not None
    assert [row.cells[0].text for row in table.rows] == ["center", "triplet"]
    (said,) = [one for one in findings.findings(found, TASK) if one.question == "Would it hold on other test images?"]
    assert "which is wider" in said.text


def test_a_recipe_with_nothing_to_tune_costs_its_final_runs_only(tmp_path: Path) -> None:
    material = gather("toy", fill(tmp_path, scores(), trials=6))

    def cost() -> float:
        table = variance.table(Evidence(material), TASK)
        assert table is not None
        return next(row.cells[-2].value for row in table.rows if row.cells[0].text == "triplet")

    tuned_s = cost()
    for entry in material.plan["recipes"]:
        entry["searched"] = {}
    assert tuned_s / cost() == pytest.approx(6 + 2 * 2 + 1), "trials, both candidates with two fresh seeds, final run"


def test_where_nothing_is_tuned_protocol_and_table_speak_of_no_trials(tmp_path: Path) -> None:
    material = gather("toy", fill(tmp_path, scores(), seeds=2))
    searched = "task and study 2 trials, 1 candidate beside the default, each with 2 fresh seeds, 2 final runs;"
    assert searched in dict(protocol.protocol(material).facts)["budget"]
    for entry in material.plan["recipes"]:
        entry["searched"] = {}
    assert "task and study 2 final runs, nothing is tuned" in dict(protocol.protocol(material).facts)["budget"]
    table = tuned.table(Evidence(material), TASK)
    assert [column.label for column in table.columns] == ["recipe", "lr"]
    assert table.notes[0] == "Nothing was tuned."


def test_studies_on_folds_of_their_own_have_other_classes_among_them(tmp_path: Path) -> None:
    """People of one fold are no column beside those of another."""
    task, recipes = "toy/verification", scores()
    groups = {name: list(0.01 * np.random.default_rng(i).normal(size=5)) for i, name in enumerate(recipes)}
    fill(tmp_path, recipes, jackknife=groups, tasks=(task,))
    found = Evidence(gather("toy", tmp_path))
    part = parts(found.material, task, "triplet", "softmax")
    assert part is not None
    assert part.classes is None
    assert not any("Would it hold" in one.question for one in findings.findings(found, task))
    table = variance.table(found, task)
    assert table is not None
    assert not any(column.label == "test classes" for column in table.columns)
    assert table.notes == ("Each study tests a fold of its own: that its people are others is part of study.",)


def test_without_a_jackknife_nothing_is_said_of_other_classes(tmp_path: Path) -> None:
    found = evidence(tmp_path, scores())
    assert variance.class_interval(found, TASK) is None
    assert not any("Would it hold" in one.question for one in findings.findings(found, TASK))


def test_a_dropped_recipe_is_dropped_and_not_worse(tmp_path: Path) -> None:
    recipes = scores() | {"left": noise(0.3, seed=9, n=2)}
    fill(tmp_path, recipes)
    store = Store(tmp_path)
    plan = store.read_plan("toy")
    plan["dropped"] = {TASK: {"left": 2}}
    store.write_plan(plan)
    found = answer(Evidence(gather("toy", tmp_path)), TASK)
    assert "left: dropped after study 2, not tested" in found.caveats
    assert (found.kind, found.names) == ("winner", ("center",))
    assert not any("incomplete" in caveat for caveat in found.caveats)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("closed-set", "on these test images of the classes that were trained"),
        ("open-set", "on these test classes, which no training saw"),
        ("verification", "on these test pairs of people whom no training saw"),
    ],
)
def test_the_scope_is_that_of_the_protocol_and_stands_by_what_it_limits(
    tmp_path: Path, protocol: str, words: str
) -> None:
    task = f"toy/{protocol}"
    material = gather("toy", fill(tmp_path, scores(), tasks=(task,)))
    document = compose(material, Evidence(material))
    assert words in document.scope
    for name in ("ranking", "effects", "quality"):
        assert any(words in note for note in document.tasks[0].tables[name].notes), name


def test_long_names_keep_both_ends_and_stay_apart() -> None:
    name = "softmax+center with sixty-eight characters in all and lambda at 0.003"
    assert len(formats.shortened(name)) == 24
    assert formats.shortened(name).endswith("0.003")
    pair = formats.short_names([name.replace("all", "one"), name.replace("all", "two")])
    assert len(set(pair)) == 2


def test_minus_zero_is_printed_nowhere() -> None:
    written = [
        formats.score(-0.0), formats.signed(-1e-9), formats.significant(-0.0), formats.signed_significant(-0.0),
        formats.interval_significant(-0.0, 0.0), formats.share(-1e-9), formats.count(-0.1),
        formats.interval(-1e-9, 0.1),
    ]  # fmt: skip
    assert not any(text.startswith((formats.MINUS, "-", f"[{formats.MINUS}")) for text in written), written


def test_the_top_of_the_comparison_is_over_sound_recipes(tmp_path: Path) -> None:
    found = top(evidence(tmp_path, scores(), status={("center", 1): "diverged"}), TASK)
    assert found is not None
    assert (found.leader, found.alone, found.beats_all) == ("triplet", True, False)


def test_the_p_of_an_effect_is_scipys(tmp_path: Path) -> None:
    recipes = scores()
    comparison = evidence(tmp_path, recipes).primary[TASK]
    assert comparison is not None
    pair = comparison.pair("triplet", "softmax")
    expected = stats.ttest_rel(recipes["triplet"], recipes["softmax"])
    assert pair.effect.p == pytest.approx(expected.pvalue)
    assert (pair.effect.low, pair.effect.high) == pytest.approx(tuple(expected.confidence_interval()))
