"""The first screen: what its line and its cards say follows from the tests, and nothing is said without one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.stored import TASK, fill
from report.test_rendering import with_probe

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections import acting, card, headline, ranking, setting
from lossbench.report.sections.verdict import answer
from lossbench.store import Store

BOTH = (TASK, "toy/open-set")


def noise(center: float, *, seed: int, spread: float = 0.004) -> list[float]:
    return list(center + spread * np.random.default_rng(seed).normal(size=7))


CLEAR = {"softmax": noise(0.5, seed=1), "center": noise(0.6, seed=2), "triplet": noise(0.45, seed=3)}
TIED = {"softmax": noise(0.5, seed=1), "center": noise(0.6, seed=2), "triplet": noise(0.606, seed=3, spread=0.01)}
ALIKE = {name: noise(0.5, seed=seed, spread=0.02) for seed, name in enumerate(("softmax", "center", "triplet"))}


def evidence_of(root: Path, *args: object, **options: object) -> Evidence:
    return Evidence(gather("toy", fill(root, *args, **options)))  # type: ignore[arg-type]


def line(evidence: Evidence) -> str:
    return headline.headline(evidence, [answer(evidence, task) for task in evidence.material.tasks])


def test_a_winner_on_every_task_is_named(tmp_path: Path) -> None:
    assert line(evidence_of(tmp_path, CLEAR, tasks=BOTH)) == (
        "center wins on both tasks. It is better than softmax on each."
    )


def test_of_those_that_tie_the_cheapest_by_test_is_named_with_its_cost_and_that_of_the_dearest(tmp_path: Path) -> None:
    fill(tmp_path, TIED)
    with_probe(tmp_path, ["softmax", "center", "triplet"])  # steps of 1.33, 1.67 and 2 bare ones
    evidence = Evidence(gather("toy", tmp_path))
    assert answer(evidence, TASK).names[0] == "triplet", "the higher mean, and the dearer one"
    assert line(evidence) == (
        f"center ties for first on {TASK} at 1.7 times the bare step; triplet costs 2.0. It is better than softmax."
    )


def test_a_cost_that_reads_alike_is_said_once(tmp_path: Path) -> None:
    fill(tmp_path, TIED)
    with_probe(tmp_path, ["triplet", "center", "softmax"][::-1])
    evidence = Evidence(gather("toy", tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headline, "relative_step", lambda material, task, recipe: 1.21 + 0.01 * len(recipe))
        assert line(evidence).startswith(f"center ties for first on {TASK} at 1.3 times the bare step. It")


def test_tasks_without_the_leader_come_last_and_those_alike_together(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path / "clear", CLEAR)
    alike = answer(evidence_of(tmp_path / "alike", ALIKE, baselines=()), TASK)
    others = [replace(alike, task=task) for task in ("a/open-set", "b/open-set")]
    assert headline.headline(evidence, [others[0], answer(evidence, TASK), others[1]]) == (
        f"center wins on {TASK}. It is better than softmax. On a/open-set and b/open-set no recipe was shown to differ."
    )


def test_what_was_not_told_from_the_reference_is_not_called_better(tmp_path: Path) -> None:
    wide = {"softmax": noise(0.5, seed=1), "center": noise(0.51, seed=2, spread=0.02), "triplet": noise(0.45, seed=3)}
    evidence = evidence_of(tmp_path, wide)
    assert "center" in answer(evidence, TASK).names
    assert "better" not in line(evidence)


@pytest.mark.parametrize(
    ("recipes", "options", "said"),
    [
        (ALIKE, {"baselines": ()}, f"{TASK}: no recipe was shown to differ."),
        ({name: own[:2] for name, own in CLEAR.items()}, {}, f"{TASK}: so few repetitions rank nothing."),
        ({name: own[:5] for name, own in CLEAR.items()}, {}, f"{TASK}: the first test is still to come."),
        (CLEAR, {"pixels": 0.9}, f"{TASK}: no recipe is shown to be better than raw pixels."),
    ],
)
def test_without_a_leader_the_line_says_why(
    tmp_path: Path, recipes: dict[str, list[float]], options: dict[str, float], said: str
) -> None:
    assert line(evidence_of(tmp_path, recipes, **options)) == said


def test_where_training_pays_with_one_recipe_only_the_line_says_so(tmp_path: Path) -> None:
    low = {"softmax": noise(0.09, seed=1), "center": noise(0.15, seed=2), "triplet": noise(0.08, seed=3)}
    assert line(evidence_of(tmp_path / "1", low, pixels=0.05)) == (
        f"Training pays with center only, on {TASK}. It is better than softmax."
    )
    assert line(evidence_of(tmp_path / "2", low, pixels=0.05, tasks=BOTH)).startswith(
        "Training pays with center only, on both tasks."
    )
    nothing = {"softmax": noise(0.09, seed=1), "center": noise(0.07, seed=2)}
    said = "no recipe is shown to be better than the untrained network and raw pixels"
    assert line(evidence_of(tmp_path / "3", nothing)) == f"{TASK}: {said}."


def test_one_that_trained_beside_others_in_trouble_is_not_the_only_recipe(tmp_path: Path) -> None:
    evidence = evidence_of(
        tmp_path, {"softmax": CLEAR["softmax"], "center": CLEAR["center"]}, status={("center", 1): "diverged"}
    )
    assert line(evidence) == f"{TASK}: only recipe that trained as it should."


def test_a_card_says_effect_certainty_cost_and_catch(tmp_path: Path) -> None:
    fill(tmp_path, TIED, default={"softmax": -0.02})
    with_probe(tmp_path, ["softmax", "center", "triplet"])
    evidence = Evidence(gather("toy", tmp_path))
    found = card.card(evidence, TASK, answer(evidence, TASK))
    rows = dict(found.rows)
    means = {name: evidence.material.mean(TASK, name, "test.sphere.map_at_r") for name in TIED}
    assert f"+{means['triplet'] - means['softmax']:.3f} over softmax ({means['softmax']:.3f})" in rows["Effect"]
    assert f"+{means['triplet'] - 0.2:.3f} over pixels (0.200)" in rows["Effect"]
    assert rows["How sure"].startswith("7 studies: softmax is worse than triplet (adjusted p < 0.001)")
    assert "which of the 2 is highest is open" in rows["How sure"]
    said = r"A training step takes this many bare steps: 1\.6\d center and (1\.9|2\.0)\d triplet\."
    assert re.fullmatch(said, rows["Cost"])
    assert any(text.startswith("below its own default on test: softmax") for text in found.beware)
    assert "whether training was long enough was not checked" in found.beware


def test_without_a_catch_a_card_says_what_was_looked_for_and_no_more(tmp_path: Path) -> None:
    longer = {name: [*own[:2]] for name, own in CLEAR.items()}
    catches = {}
    for trials in (0, 1, 2):
        for checked in (None, longer):
            evidence = evidence_of(tmp_path / f"{trials}{checked is None}", CLEAR, trials=trials, longer=checked)
            catches[trials, checked is not None] = card.card(evidence, TASK, answer(evidence, TASK)).beware
    unchecked = ("whether training was long enough was not checked",)
    assert catches[2, False] == catches[1, False] == unchecked
    assert catches[2, True] == (
        "nothing found: no trouble, twice the epochs move no effect at the top, none below its default",
    )
    assert catches[1, True] == ("nothing found: no trouble, twice the epochs move no effect at the top",)
    assert catches[0, False] == ("nothing found: no trouble",), "embeddings from elsewhere"


@pytest.mark.parametrize(
    ("settled", "said"),
    [
        (True, "nothing found: no trouble, trained as long as the pilot found, none below its default"),
        (False, "the pilot's longest training was not enough for triplet"),
    ],
)
def test_a_pilot_tells_how_long_to_train(tmp_path: Path, settled: bool, said: str) -> None:
    fill(tmp_path, CLEAR)
    plan = Store(tmp_path).read_plan("toy")
    needs = [{"task": TASK, "recipe": name, "epochs": 4, "settled": settled or name != "triplet"} for name in CLEAR]
    Store(tmp_path).write_plan({**plan, "pilot": {"epochs": 4, "needs": needs}})
    evidence = Evidence(gather("toy", tmp_path))
    assert card.card(evidence, TASK, answer(evidence, TASK)).beware == (said,)


def test_where_nothing_beats_a_baseline_more_studies_settle_nothing(tmp_path: Path) -> None:
    steps = {}
    for name, pixels in (("below", 0.9), ("above", 0.2)):
        evidence = evidence_of(tmp_path / name, TIED, pixels=pixels)
        steps[name] = acting.steps(evidence, TASK, answer(evidence, TASK)).settle
    assert steps["above"].command.startswith("lossbench run")
    assert (steps["below"].command, steps["below"].pairs) == ("", None)
    assert "lossbench embed" in steps["below"].sentence


def test_where_nothing_was_tuned_no_table_has_a_default(tmp_path: Path) -> None:
    for trials, said in ((1, False), (2, True)):
        table = ranking.table(evidence_of(tmp_path / str(trials), CLEAR, trials=trials), TASK)
        assert any(column.header.startswith("default") for column in table.columns) is said
        assert any(note.startswith("Default") for note in table.notes) is said


def test_leaders_like_the_reference_are_a_catch(tmp_path: Path) -> None:
    scores = {
        "softmax": noise(0.56, seed=1, spread=0.012),
        "center": noise(0.59, seed=2, spread=0.03),
        "triplet": noise(0.6, seed=3, spread=0.004),
    }
    evidence = evidence_of(tmp_path, scores)
    found = answer(evidence, TASK)
    assert set(found.names) == {"triplet", "center"}
    assert evidence.primary[TASK].pair("center", "softmax").verdict == "indistinguishable"
    assert "not told from softmax either: center" in card.card(evidence, TASK, found).beware


def test_the_setting_has_date_studies_machine_and_the_size_of_each_split(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path, CLEAR)
    date, *rest = setting.setting(evidence.material)
    assert len(date.split("-")) == 3
    assert rest == ["7 studies", "1 final run a study", "3 recipes", "test"]
    assert setting.data(evidence.material, TASK) == "Test: 3 classes, 18 samples", "an older plan: what runs kept"
    parts = {part: {"classes": 3, "samples": 1100 + place} for place, part in enumerate(("train", "val", "test"))}
    evidence.material.plan["splits"] = {TASK: parts}
    assert setting.data(evidence.material, TASK) == (
        "Training: 3 classes, 1,100 samples; Validation: 3 classes, 1,101 samples; Test: 3 classes, 1,102 samples"
    )
