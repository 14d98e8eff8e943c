"""Claims are answered by tests against their own smallest effect, and by nothing else."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.reading import visible
from report.stored import TASK, fill
from scipy import stats

from lossbench import report
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections.claim_answers import Answer, answers, sentence
from lossbench.specification.experiment import Claim
from lossbench.store import Store

pytestmark = pytest.mark.usefixtures("text_only")


def claim(direction: str, effect: float, **changes: Any) -> Claim:
    fields = {
        "text": "It helps",
        "metric": "test.sphere.map_at_r",
        "comparison": ["triplet", "softmax"],
        "direction": direction,
        "smallest_effect": effect,
    }
    return Claim(**(fields | changes))


def noise(center: float, spread: float = 0.004, *, seed: int) -> list[float]:
    return list(center + spread * np.random.default_rng(seed).normal(size=8))


def answered(tmp_path: Path, *claims: Claim, scores: dict[str, list[float]] | None = None, **options: Any) -> Answer:
    scores = scores or {"softmax": noise(0.5, seed=1), "triplet": noise(0.55, seed=2)}
    fill(tmp_path, scores, claims=claims, **options)
    (found,) = answers(Evidence(gather("toy", tmp_path)))
    return found


@pytest.mark.parametrize(
    ("direction", "effect", "verdict"),
    [
        ("higher", 0.0, "supported"),
        ("higher", 0.03, "supported"),
        ("higher", 0.05, "undecided"),
        ("higher", 0.07, "refuted"),
        ("lower", 0.0, "refuted"),
        ("lower", 0.01, "refuted"),
        ("not higher", 0.01, "refuted"),
        ("not higher", 0.07, "supported"),
        ("not lower", 0.01, "supported"),
        ("equal", 0.01, "refuted"),
        ("equal", 0.05, "undecided"),
        ("equal", 0.08, "supported"),
    ],
)
def test_a_difference_of_a_twentieth_answers_each_direction(
    tmp_path: Path, direction: str, effect: float, verdict: str
) -> None:
    assert answered(tmp_path, claim(direction, effect)).verdict == verdict


FIRST = slice(0, 7)  # the first look, of eight studies, may spend seven tenths of the error
SHARE = 0.7


def test_the_p_is_scipys_against_the_smallest_effect(tmp_path: Path) -> None:
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.51, seed=2)}
    (check,) = answered(tmp_path, claim("higher", 0.005), scores=scores).checks
    differences = np.subtract(scores["triplet"], scores["softmax"])
    assert check.p == pytest.approx(stats.ttest_1samp(differences[FIRST], 0.005).pvalue / SHARE)
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (check.low, check.high) == pytest.approx(tuple(interval))


def test_equality_takes_the_larger_of_two_one_sided_ps(tmp_path: Path) -> None:
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.501, seed=2)}
    (check,) = answered(tmp_path, claim("equal", 0.006), scores=scores).checks
    differences = np.subtract(scores["triplet"], scores["softmax"])
    sides = [
        stats.ttest_1samp(differences[FIRST], bound, alternative=way).pvalue
        for bound, way in ((-0.006, "greater"), (0.006, "less"))
    ]
    assert check.p == pytest.approx(max(sides) / SHARE)


def test_a_number_is_a_side_too(tmp_path: Path) -> None:
    assert answered(tmp_path, claim("higher", 0.0, comparison=["triplet", 0.5])).verdict == "supported"
    assert answered(tmp_path, claim("higher", 0.0, comparison=["triplet", 0.6])).verdict == "refuted"


def test_holm_corrects_over_all_claims_of_scores(tmp_path: Path) -> None:
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.505, seed=2)}
    alone = answered(tmp_path / "one", claim("higher", 0.0), scores=scores)
    assert alone.checks[0].p == alone.checks[0].p_holm < 0.05
    more = [claim("higher", 0.001 * extra, text="It helps") for extra in range(1, 8)]
    together = answered(tmp_path / "more", claim("higher", 0.0), *more, scores=scores)
    assert together.checks[0].p_holm > 0.05
    assert together.checks[0].verdict == "undecided"


def test_one_refuted_part_refutes_and_an_unanswerable_part_leaves_it_undecided(tmp_path: Path) -> None:
    good, wrong = claim("higher", 0.0), claim("lower", 0.0)
    unknown = claim("higher", 0.0, comparison=["nobody", "softmax"])
    assert answered(tmp_path / "a", good, wrong).verdict == "refuted"
    assert answered(tmp_path / "b", good, unknown).verdict == "undecided"
    found = answered(tmp_path / "c", unknown)
    assert found.verdict == "unanswerable"
    assert "nobody is no recipe of this experiment" in sentence(found.checks[0])


def test_a_claim_speaks_of_its_task_only(tmp_path: Path) -> None:
    tasks = ("toy/closed-set", "toy/open-set/30")
    for wanted, expected in (
        ("open-set", ["toy/open-set/30"]),
        ("toy/closed-set", ["toy/closed-set"]),
        ("toy", list(tasks)),
        (None, list(tasks)),
        ("mnist", [""]),
    ):
        found = answered(tmp_path / str(wanted).replace("/", "-"), claim("higher", 0.0, task=wanted), tasks=tasks)
        assert [check.task for check in found.checks] == expected


def test_steps_to_a_fixed_score_come_from_the_curves(tmp_path: Path) -> None:
    # The curves are 0.1, score - 0.1, score, score - 0.01, an epoch has 100 // 16 steps, the reference ends at 0.49:
    # triplet, at 0.55, is above 95 % of that after two epochs, as softmax is.
    found = answered(tmp_path, claim("not higher", 1.0, metric="curve.steps_to_score"))
    assert (found.checks[0].first, found.checks[0].second) == (12.0, 12.0)
    assert found.verdict == "supported"
    assert found.checks[0].reason == ""


def test_steps_are_counted_to_the_epochs_that_were_validated(tmp_path: Path) -> None:
    found = answered(tmp_path, claim("not higher", 1.0, metric="curve.steps_to_score"), epochs=(0, 5, 10, 15))
    assert (found.checks[0].first, found.checks[0].second) == (60.0, 60.0)  # ten epochs of 100 // 16 steps


@pytest.mark.parametrize(("direction", "verdict"), [("not higher", "undecided"), ("higher", "supported")])
def test_who_never_reaches_the_score_is_censored_and_not_dropped(tmp_path: Path, direction: str, verdict: str) -> None:
    """At 0.4 triplet ends below 95 % of 0.49: its steps are at least 18, so a claim that they are few cannot stand."""
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.4, seed=2)}
    smallest = 10.0 if direction == "not higher" else 1.0
    found = answered(tmp_path, claim(direction, smallest, metric="curve.steps_to_score"), scores=scores)
    (check,) = found.checks
    assert (check.first, check.second, check.n) == (18.0, 12.0, 8)
    assert check.verdict == verdict
    assert "triplet never reached the score in 8 studies: counted as the last step, it may be more" in sentence(check)


STEPS = {"metric": "curve.steps_to_score", "direction": "not higher", "effect": 1.0}
ACCURACY = {
    "metric": "test.head_accuracy",
    "direction": "higher",
    "effect": 0.0,
    "comparison": ["softmax", 0.9],
}


@pytest.mark.parametrize(
    ("gains", "asked", "found"),
    [
        ({"softmax": 0.01, "triplet": 0.01}, STEPS, ""),
        ({"softmax": 0.06, "triplet": 0.0}, STEPS, "twice the epochs move triplet against softmax by −0.060"),
        ({"softmax": 0.0, "triplet": 0.06}, ACCURACY, ""),
        ({"softmax": 0.06, "triplet": 0.06}, ACCURACY, "twice the epochs move softmax by +0.060"),
    ],
)
def test_claims_of_trained_networks_wait_for_a_check_of_what_they_compare(
    tmp_path: Path, gains: dict[str, float], asked: dict[str, Any], found: str
) -> None:
    """Whatever twice the epochs do to others: the difference of two must stand still, of one its own score."""
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.55, seed=2), "center": noise(0.7, seed=3)}
    jitter = np.random.default_rng(5).normal(scale=1e-4, size=8)
    twice = {name: list(np.array(own) + gains.get(name, 0.0)) for name, own in scores.items()}
    twice["softmax"] = list(twice["softmax"] + jitter)
    (check,) = answered(tmp_path, claim(**asked), scores=scores, longer=twice).checks
    assert ("speaks of trained networks" in check.reason) == bool(found)
    assert found in check.reason
    if found:
        assert check.verdict == "unanswerable"


def test_where_it_was_not_asked_for_twice_the_epochs_claims_of_trained_networks_are_answered(tmp_path: Path) -> None:
    assert answered(tmp_path, claim(**STEPS)).verdict == "supported"


def test_of_three_studies_no_claim_of_trained_networks_is_shown(tmp_path: Path) -> None:
    """Not moved by anything that shows, nor shown to stand still."""
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.55, seed=2)}
    twice = {name: list(np.array(own[:3]) + noise(0, 0.01, seed=7)[:3]) for name, own in scores.items()}
    twice["triplet"] = list(np.add(scores["triplet"][:3], [0.02, -0.01, 0.005]))
    (check,) = answered(tmp_path, claim(**STEPS), scores=scores, longer=twice).checks
    assert check.verdict == "unanswerable"
    assert "whether twice the epochs move triplet against softmax cannot be told: " in check.reason


def test_a_cost_claim_is_answered_by_the_rounds_of_the_probe(tmp_path: Path) -> None:
    cost = claim("higher", 0.05, metric="probe.step_relative")
    assert answered(tmp_path, cost).verdict == "unanswerable"
    slow, bare = np.random.default_rng(0).normal(2.0, 0.05, 12), np.random.default_rng(1).normal(1.0, 0.02, 12)
    steps = {"softmax": bare * 1.1, "triplet": slow, "": bare}
    recipes = {name: {"step_s": list(values)} for name, values in steps.items()}
    Store(tmp_path).write_probe("toy", {"schema": 1, "experiment": "toy", "tasks": {TASK: {"recipes": recipes}}})
    (found,) = answers(Evidence(gather("toy", tmp_path)))
    assert found.verdict == "supported"
    assert found.checks[0].n == 12
    assert found.checks[0].mean == pytest.approx(np.mean(slow / bare - 1.1))


def test_scores_and_times_are_corrected_apart(tmp_path: Path) -> None:
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.505, seed=2)}
    score = claim("higher", 0.0)
    times = [claim("higher", effect, metric="probe.step_s") for effect in (0.0, 0.01, 0.02)]
    alone = answered(tmp_path / "alone", score, scores=scores).checks[0]
    fill(tmp_path / "both", scores, claims=(score, *times))
    recipes = {"softmax": {"step_s": noise(1.0, 0.1, seed=3)}, "triplet": {"step_s": noise(1.2, 0.1, seed=4)}}
    probe = {"schema": 1, "experiment": "toy", "tasks": {TASK: {"recipes": recipes}}}
    Store(tmp_path / "both").write_probe("toy", probe)
    (found,) = answers(Evidence(gather("toy", tmp_path / "both")))
    assert (found.checks[0].p_holm, found.checks[0].verdict) == (alone.p, "supported")
    p = [check.p for check in found.checks[1:]]
    assert found.checks[1].p_holm == pytest.approx(3 * p[0])
    assert p[0] < p[1] < p[2]


@pytest.mark.parametrize("post_hoc", [False, True])
def test_the_report_shows_verdict_figures_and_standing(tmp_path: Path, post_hoc: bool) -> None:
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.55, seed=2)}
    fill(tmp_path / "runs", scores, claims=[claim("higher", 0.01, source="<b>")], post_hoc=post_hoc)
    list(report.write("toy", tmp_path / "runs", tmp_path))
    found = json.loads((tmp_path / "toy" / "results.json").read_text())["claims"][0]
    assert (found["verdict"], found["post_hoc"]) == ("supported", post_hoc)
    for name in ("report.md", "index.html"):
        text = (tmp_path / "toy" / name).read_text()
        assert "<b>" not in text.replace("<b>toy</b>", "")
        text = visible(text)
        assert ("post hoc: stated or changed after a final run of this folder was stored" in text) == post_hoc
        assert (f"stated before the runs of this folder ({date.today():%Y-}" in text) != post_hoc
    assert found["checks"][0]["sentence"] in visible((tmp_path / "toy" / "index.html").read_text())


def test_an_edited_claim_is_post_hoc(tmp_path: Path) -> None:
    answered(tmp_path, claim("higher", 0.01))
    assert answered(tmp_path, claim("higher", 0.001), post_hoc=True).post_hoc
    assert not answered(tmp_path, claim("higher", 0.01), post_hoc=True).post_hoc, "registered the first time"


def test_nothing_is_answered_before_the_first_look_nor_below_four_studies(tmp_path: Path) -> None:
    """Six studies would tell 0.55 from 0.5 beyond doubt, but a look there was not set aside for."""
    scores = {"softmax": noise(0.5, seed=1), "triplet": noise(0.55, seed=2)}
    six = {name: values[:6] for name, values in scores.items()}
    assert answered(tmp_path / "6", claim("higher", 0.01), scores=six).verdict == "undecided"
    three = {name: values[:3] for name, values in scores.items()}
    found = answered(tmp_path / "3", claim("higher", 0.01), scores=three)
    assert "fewer than 4 common studies" in sentence(found.checks[0])


def test_an_answer_of_an_early_look_stays(tmp_path: Path) -> None:
    """The second look has a fifteenth of the error; what the first one showed is not taken back."""
    scores = {"softmax": [0.5] * 9, "triplet": [0.53, 0.52, 0.535, 0.525, 0.53, 0.524, 0.531, 0.4, 0.6]}
    first = {name: values[:7] for name, values in scores.items()}
    assert answered(tmp_path / "7", claim("higher", 0.0), scores=first).verdict == "supported"
    (later,) = answered(tmp_path / "9", claim("higher", 0.0), scores=scores).checks
    assert (later.verdict, later.n) == ("supported", 9)


def test_true_borders_are_crossed_in_at_most_67_of_1000_repetitions() -> None:
    from lossbench.report.sections.claim_answers import _tested
    from lossbench.statistics.effects import paired_effect

    rng = np.random.default_rng(5)
    for direction in ("higher", "not lower", "equal"):
        truth = {"higher": 0.01, "not lower": -0.01, "equal": 0.01}[direction]
        called = 0
        for _ in range(1000):
            one, other = rng.normal(truth, 0.01, 8), rng.normal(0, 0.01, 8)
            scores = (list(one), list(other))
            settings = {"direction": direction, "smallest_effect": 0.01}
            verdict, p = _tested(scores, paired_effect(*scores), settings)
            called += p < 0.05 and (direction != "equal" or verdict == "supported")
        assert called <= 67
