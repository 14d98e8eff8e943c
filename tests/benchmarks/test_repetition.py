"""The table of repetitions, from small made-up scores whose answers are known, and from tiny experiments."""

from __future__ import annotations

import math

import pytest

from benchmarks import repetition
from benchmarks.repetition import Outcome, covered, lines, reversals, run, seconds_for
from experiments import DIGITS

STUDIES = range(1, 8)
WAVE = {study: (study * 3) % 7 - 3 for study in STUDIES}  # mean zero


def outcome(differences, what="digits", cpu_s=100.0, spread=0.001, reference=""):
    """Recipes whose scores are these, each with its own luck of sd about two spreads."""
    scores = {
        name: {study: 0.5 + value + spread * WAVE[(study * (place + 1)) % 7 + 1] for study in STUDIES}
        for place, (name, value) in enumerate(differences.items())
    }
    return Outcome(what=what, scores=scores, cpu_s=cpu_s, reference=reference)


def found(*repeated, same=()):
    return "\n".join(lines(repeated, same))


def test_pairs_that_turn_round_are_counted_once():
    up, down = outcome({"a": 0.0, "b": 0.05, "c": 0.1}), outcome({"a": 0.1, "b": 0.05, "c": 0.1})
    assert set(reversals([up.compared(), down.compared()])) == {("a", "b")}
    assert "pairs better in one repetition and worse in another: 1 of 3" in found(up, down)
    assert "worse in another: 0 of 3" in found(up, up)


def test_who_leads_every_time_and_stands_above_the_reference_is_said():
    first = outcome({"a": 0.0, "b": 0.05, "c": 0.0501}, reference="a")
    other = outcome({"a": 0.0, "b": 0.05, "c": 0.0}, reference="a")
    text = found(first, other)
    assert "in the leading group of every repetition: b\n" in text
    assert "b: better than a in 2 of 2, effects +0.050 to +0.050" in text
    assert "c: better than a in 1 of 2, effects +0.000 to +0.050" in text
    assert "  a: " not in text


def test_coverage_counts_ordered_pairs_of_repetitions():
    same = outcome({"a": 0.0, "b": 0.05})
    far = outcome({"a": 0.0, "b": 0.09})
    assert covered([same.compared(), same.compared()]) == 1.0
    assert covered([same.compared(), far.compared()]) == 0.0
    # an interval that is wide covers the narrow one's effect, and not the other way round
    wide = outcome({"a": 0.0, "b": 0.055}, spread=0.004)
    assert covered([same.compared(), wide.compared()]) == 0.5
    assert math.isnan(covered([same.compared()]))


def test_decided_pairs_width_and_price_of_a_half_width():
    text = found(outcome({"a": 0.0, "b": 0.05, "c": 0.0501}, cpu_s=200.0))
    assert "digits, 1 repetitions of 7 studies:" in text
    assert "pairs decided: 2 of 3" in text
    effect = outcome({"a": 0.0, "b": 0.05}).compared().pairs[0].effect
    alone = found(outcome({"a": 0.0, "b": 0.05}, cpu_s=200.0))
    width = effect.high - effect.low
    assert f"median width of an interval: {width:.4f}" in alone
    assert f"CPU seconds: 200; for a half-width of 0.01: {200 * (width / 0.02) ** 2:.0f}" in alone
    assert seconds_for(0.01, 0.02, 50.0) == 200.0


def test_one_loss_under_six_names_is_counted_by_experiments_with_the_exact_interval():
    equal = outcome(dict.fromkeys("abcdef", 0.0), "center on digits")
    wrong = outcome({**dict.fromkeys("abcde", 0.0), "f": 0.05}, "center on digits")
    text = found(same=[equal] * 19 + [wrong])
    assert "1 of 20 experiments call any pair different [0.001, 0.249]" in text
    assert "center on digits: 1 of 20" in text


def test_a_failed_run_is_no_score():
    scores = {"a": dict.fromkeys(STUDIES, math.nan), "b": {study: 0.5 + 0.001 * WAVE[study] for study in STUDIES}}
    assert "pairs decided: 0 of 1" in found(Outcome(what="digits", scores=scores, cpu_s=1.0))


@pytest.mark.slow
def test_a_tiny_repetition_from_runs_to_table_goes_on_where_it_stopped(tmp_path, monkeypatch):
    settings = (DIGITS, "training.epochs=1", "budget.studies=2", "budget.trials=2", "budget.candidates=1",
                "budget.candidate_seeds=1", "budget.seeds=1", "embedding_dim=4")  # fmt: skip
    monkeypatch.setattr(repetition, "NAMES", ("one", "two"))
    first = list(run(tmp_path, 1, 0, settings))
    runs = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/result.json")}
    assert (tmp_path / "table.txt").read_text().splitlines() == first[3:]
    assert "one loss under six names: 0 of 2" in first[3]
    again = list(run(tmp_path, 2, 0, settings))
    assert {path: path.stat().st_mtime_ns for path in runs} == runs, "nothing is run twice"
    assert "2 repetitions of 2 studies" in "\n".join(again)
