"""What a sweep says on the way: the phase, the time left by kind of run, the highest mean with its interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from experiments import run_spec
from lossbench.sweep import progress
from lossbench.sweep.jobs import Job
from lossbench.sweep.progress import Board


@pytest.fixture(scope="module")
def spec():
    return run_spec("softmax")


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    made = Board()
    made.expect({"pilot": 0, "trials": 10, "finals": 8, "longer": 2}, 5)
    made.start(2)
    return made


def arrive(board: Board, spec: Any, role: str, *, study: int = 1, recipe: str = "softmax", score: float = 0.5,
           seconds: float | None = 2.0, reused: bool = False, dataset: str = "digits") -> None:  # fmt: skip
    where = replace(spec, task=spec.task.model_copy(update={"dataset": dataset}))
    job = Job(spec=where, study=study, recipe=recipe, role=role, trial=0, number=1)
    metrics = {"val": {"sphere.map_at_r": score}, "test": {"sphere.map_at_r": score}}
    board.finished(job, {"status": "ok", "metrics": metrics, "cost": {"run_wall_s": seconds}}, reused=reused)


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("pilot", "pilot: how long to train"),
        ("trial", "tuning study 2 of 5"),
        ("candidate", "tuning study 2 of 5"),
        ("final", "final runs of study 2 of 5"),
        ("default", "final runs of study 2 of 5"),
        ("baseline", "final runs of study 2 of 5"),
        ("longer", "twice the epochs in study 2 of 5"),
    ],
)
def test_the_phase_is_named_with_its_study(board, spec, role, said):
    arrive(board, spec, role, study=2)
    assert board.doing == said


def test_what_was_there_before_does_not_hide_what_runs_now(board, spec):
    arrive(board, spec, "trial", study=1)
    arrive(board, spec, "final", study=4, reused=True)
    assert board.doing == "tuning study 1 of 5"


def test_time_is_left_by_kind_of_run_each_from_its_own_mean(board, spec):
    arrive(board, spec, "baseline", seconds=1.0)
    assert board.left == ""  # what trains nothing does not say how long training takes
    for _ in range(4):
        arrive(board, spec, "trial", seconds=10.0)
    arrive(board, spec, "final", seconds=30.0, reused=True)  # a stored run says how long one takes, too
    assert board.left_s == {
        "trials": 6 * 10 / 2,
        "finals": 6 * 30 / 2,
        "longer": 2 * 2 * (4 * 10 + 30) / 5 / 2,  # none is there yet: twice the mean of all
    }
    assert board.left == "about 2 min 28 s left: tuning 30 s, final runs 1 min 30 s, twice the epochs 28 s"
    for _ in range(6):
        arrive(board, spec, "final", seconds=30.0)
    assert set(board.left_s) == {"trials", "longer"}


def test_more_studies_are_more_to_do(board, spec):
    arrive(board, spec, "trial", seconds=10.0)
    before = sum(board.left_s.values())
    board.expect({"trials": 20, "finals": 16, "longer": 2}, 9)
    assert board.total == 38
    assert sum(board.left_s.values()) > before
    arrive(board, spec, "trial", study=7)
    assert board.doing == "tuning study 7 of 9"


def test_before_final_runs_the_highest_validation_counts(board, spec):
    arrive(board, spec, "trial", score=0.3)
    arrive(board, spec, "trial", recipe="triplet", score=0.4)
    arrive(board, spec, "trial", score=0.35)
    assert list(board.highest()) == [("digits/closed-set", "triplet", "0.400", "", "validation, one trial")]


def test_the_highest_mean_comes_with_its_interval_over_studies(board, spec):
    arrive(board, spec, "trial", recipe="triplet", score=0.9)
    arrive(board, spec, "final", score=0.5)
    assert list(board.highest()) == [("digits/closed-set", "softmax", "0.500", "", "test, 1 study")]
    for study, scores in enumerate([(0.6, 0.62), (0.58, 0.6), (0.66, 0.64)], 1):
        for score in scores:
            arrive(board, spec, "final", recipe="triplet", study=study, score=score)
    arrive(board, spec, "default", recipe="softmax", score=0.99)  # no final run of the chosen point
    means = [0.61, 0.59, 0.65]
    low, high = stats.t.interval(0.95, 2, loc=sum(means) / 3, scale=stats.sem(means))
    assert list(board.highest()) == [
        ("digits/closed-set", "triplet", f"{sum(means) / 3:.3f}", f"[{low:.3f}, {high:.3f}]", "test, 3 studies")
    ]


def test_without_a_terminal_it_is_one_plain_line(board, spec, capsys):
    arrive(board, spec, "trial", score=0.25)
    arrive(board, spec, "trial", score=0.5, dataset="glyphs")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "2/20 runs, tuning study 1 of 5, about 20 s left: tuning 8 s, final runs 8 s, twice the epochs 4 s; "
        "highest mean so far, digits/closed-set: softmax 0.250 (validation, one trial), "
        "glyphs/closed-set: softmax 0.500 (validation, one trial)"
    )


def test_a_failed_run_counts_and_scores_nothing(board, spec):
    job = Job(spec=spec, study=1, recipe="softmax", role="final", trial=0, number=1)
    board.finished(job, {"status": "failed", "cost": {}}, reused=False)
    assert board.done.total() == 1
    assert list(board.highest()) == []


@pytest.mark.parametrize(("evaluation_s", "said"), [(6.2, True), (1.9, False)])
def test_evaluation_that_outlasts_training_is_said_with_what_shortens_it(spec, evaluation_s, said, capsys):
    job = Job(spec=spec, study=1, recipe="softmax", role="trial", trial=0, number=0)
    cost = {"run_wall_s": 8.0, "evaluation_s": evaluation_s, "train_wall_s": 2.0}
    record = {"status": "ok", "metrics": {"val": {"sphere.map_at_r": 0.5}}, "cost": cost}
    with Board() as board:
        board.finished(job, record, reused=False)
        board.finished(job, {**record, "cost": {**cost, "evaluation_s": 99.0}}, reused=True)
    line = "evaluation took 3.1 times the training of softmax; fewer training.validations or val_classes shorten it"
    assert (line in " ".join(capsys.readouterr().out.split())) == said
