"""`lossbench diff`: what changed in the settings and in the results, with the paired effect and its interval."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from report.stored import fill

from lossbench import report
from lossbench.report.differing import diff
from lossbench.store import Store, StoreError


def scores(center: float, *, seed: int) -> list[float]:
    return list(center + 0.004 * np.random.default_rng(seed).normal(size=8))


def line_of(lines: list[str], *words: str) -> str:
    (found,) = [line for line in lines if all(word in line.split() for word in words)]
    return re.sub(r"\s+", " ", found.strip())


def test_the_same_runs_differ_in_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"softmax": scores(0.5, seed=1), "triplet": scores(0.6, seed=2)})
    lines = list(diff(tmp_path / "a", tmp_path / "a"))
    assert "Specification: the same" in lines
    assert lines[-1] == "Provenance: the same"
    assert line_of(lines, "softmax", "final").endswith("identical")


def test_a_changed_recipe_is_called_with_its_paired_effect(tmp_path: Path) -> None:
    before, after = scores(0.5, seed=1), scores(0.53, seed=3)
    fill(tmp_path / "a", {"softmax": before, "triplet": scores(0.6, seed=2)})
    fill(tmp_path / "b", {"softmax": after, "contrastive": scores(0.6, seed=2)})
    plan = tmp_path / "b" / "experiments" / "toy.json"
    changed = json.loads(plan.read_text())
    changed["experiment"]["training"]["epochs"] = 9
    changed["provenance"]["code"] = "1"
    plan.write_text(json.dumps(changed))
    lines = list(diff(tmp_path / "a", tmp_path / "b"))
    assert "  training.epochs: 3 -> 9" in lines
    order = [line.partition(":")[0] for line in lines if line.startswith(("Specification", "Results", "Provenance"))]
    assert order == ["Specification", "Results, test MAP@R on the sphere", "Provenance"]
    assert lines[-1] == '  code: absent -> "1"'
    mean = np.mean(np.subtract(after, before))
    found = line_of(lines, "softmax", "final")
    assert f"+{mean:.4f} [" in found
    assert found.endswith("8 higher")
    assert any(line.startswith("Only in A: ") and "triplet" in line for line in lines)
    assert any(line.startswith("Only in B: ") and "contrastive" in line for line in lines)


def test_another_kind_of_machine_is_named(tmp_path: Path) -> None:
    for side in ("a", "b"):
        fill(tmp_path / side, {"softmax": scores(0.5, seed=1)})
    store = Store(tmp_path / "b")
    for record in list(store.records()):
        environment = record["environment"] | {"processor": "Another CPU"}
        store.write(record | {"environment": environment})
    lines = list(diff(tmp_path / "a", tmp_path / "b"))
    assert lines[-2:] == ["Provenance: 1 differ", "  processor: absent -> Another CPU"]


@pytest.mark.slow
def test_reports_are_compared_as_their_runs_are(tmp_path: Path) -> None:
    for side, seed in (("a", 1), ("b", 3)):
        fill(tmp_path / side, {"softmax": scores(0.5, seed=seed), "triplet": scores(0.6, seed=2)})
        list(report.write("toy", tmp_path / side, tmp_path / f"{side}-report"))
    runs = list(diff(tmp_path / "a", tmp_path / "b"))
    reports = list(diff(tmp_path / "a-report" / "toy", tmp_path / "b-report" / "toy" / "results.json"))
    mixed = list(diff(tmp_path / "a-report" / "toy", tmp_path / "b"))
    for lines in (reports, mixed):
        assert line_of(lines, "softmax", "final") == line_of(runs, "softmax", "final")
        assert "Specification: the same" in lines
        assert lines[-1] == "Provenance: the same"
    assert any(line.startswith("Answer on toy/closed-set") for line in reports)
    (tmp_path / "b-report" / "toy" / "results.json").unlink()  # as published
    published = list(diff(tmp_path / "a-report" / "toy", tmp_path / "b-report" / "toy"))
    assert line_of(published, "softmax", "final") == line_of(runs, "softmax", "final")
    assert "Specification: the same" in published
    assert published[-1] == "Provenance: not known of B"
    both = list(diff(tmp_path / "b-report" / "toy", tmp_path / "b-report" / "toy"))
    assert both[-1] == "Provenance: not known of A and B"


def test_what_is_no_side_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is neither a report nor a runs folder"):
        list(diff(tmp_path, tmp_path))
