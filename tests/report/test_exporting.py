"""What leaves a report: the winner's files, a page that keeps up with its runs, and a page of foreign embeddings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from report.stored import fill

from experiments import sweep, tiny_plan
from lossbench import report
from lossbench.metrics import retrieval_metrics, unit
from lossbench.report.exporting import export
from lossbench.run import scoring
from lossbench.store import Store, StoreError

SCORES = {"softmax": [0.5, 0.51, 0.49, 0.5] * 2, "triplet": [0.6, 0.62, 0.61, 0.6] * 2}


def test_the_exported_run_scores_as_it_did_and_its_network_loads(tmp_path: Path) -> None:
    sweep(tiny_plan("training.epochs=1", "budget.trials=1", 'recipes=["softmax"]'), tmp_path / "runs")
    (written,) = export("ablation", tmp_path / "runs", tmp_path / "out", recipe="softmax")
    folder = written.folder
    assert written.line == f"digits/closed-set: softmax, as asked: {folder}"
    record = json.loads((folder / "run.json").read_text())
    with np.load(folder / "embeddings.npz", allow_pickle=False) as stored:
        points = unit(torch.from_numpy(stored["embeddings"]))
        found = retrieval_metrics(points, torch.from_numpy(stored["labels"]))["map_at_r"]
    assert found == pytest.approx(record["metrics"]["test"]["sphere.map_at_r"])
    state = torch.load(folder / "model.pt", weights_only=True)
    assert {"network", "loss.softmax"} <= set(state)


def test_without_a_winner_the_line_says_so(tmp_path: Path) -> None:
    fill(tmp_path, {"softmax": [0.5, 0.6, 0.4], "triplet": [0.51, 0.59, 0.41]})
    (written,) = export("toy", tmp_path, tmp_path / "out")
    assert "the highest mean, not a winner" in written.line
    assert not written.has_network
    fill(tmp_path / "clear", SCORES)
    (written,) = export("toy", tmp_path / "clear", tmp_path / "out")
    assert written.line.startswith("toy/closed-set: triplet, the winner: ")


def test_an_unknown_recipe_or_task_is_named(tmp_path: Path) -> None:
    fill(tmp_path, SCORES)
    with pytest.raises(StoreError, match="--recipe triplets: is not in this experiment; did you mean 'triplet'"):
        list(export("toy", tmp_path, tmp_path / "out", recipe="triplets"))
    with pytest.raises(StoreError, match="--task toy: is not in this experiment"):
        list(export("toy", tmp_path, tmp_path / "out", task="toy"))


@pytest.mark.slow
def test_watching_writes_the_page_again_until_every_run_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "runs", SCORES)
    store = Store(tmp_path / "runs")
    late = [row["run_id"] for row in store.read_plan("toy")["rows"]][-2:]
    kept = {run: (tmp_path / "runs" / run / "result.json").rename(tmp_path / run) for run in late}

    def arrive(_: float) -> None:
        run = late.pop()
        kept[run].rename(tmp_path / "runs" / run / "result.json")

    monkeypatch.setattr(report.time, "sleep", arrive)
    lines = []
    for line in report.watch("toy", tmp_path / "runs", tmp_path / "reports"):
        lines.append(line)
        page = (tmp_path / "reports" / "toy" / "index.html").read_text()
        assert ('http-equiv="refresh"' in page) == bool(re.match(r"\d+ of \d+ runs", line))
    planned = len(store.read_plan("toy")["rows"])
    assert [line.partition(":")[0] for line in lines[:2]] == [
        f"{planned - 2} of {planned} runs",
        f"{planned - 1} of {planned} runs",
    ]
    assert lines[-1].endswith("index.html")


def test_foreign_embeddings_get_the_same_statistics_and_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, spread in (("near", 1.0), ("far", 0.5)):
        for seed in range(1, 5):
            labels = np.repeat(np.arange(6), 8)
            points = rng.normal(size=(6, 5))[labels] + spread * rng.normal(size=(48, 5))
            np.savez(tmp_path / f"{name}.{seed}.npz", embeddings=points, labels=np.array(list("abcdef"))[labels])
    paths = sorted(tmp_path.glob("*.npz"))
    assert scoring.store_scores(paths, tmp_path / "runs") == "scores"
    *_, page = report.write("scores", tmp_path / "runs", tmp_path / "reports")
    found = json.loads((Path(page).parent / "results.json").read_text())
    (comparison,) = [each for each in found["tasks"][0]["comparisons"] if each["confirmatory"]]
    assert comparison["pairs"][0]["studies"] == 4
    assert (Path(page).parent / "figures" / "t0-histograms.svg").exists()
    one = next(row for row in found["tasks"][0]["aggregates"] if row["figure"] == "test.sphere.map_at_r")
    direct = [
        dict(line.split()[:3:2] for line in scoring.score_file(path).splitlines()[1:])["map_at_r"]
        for path in paths
        if path.name.startswith(one["recipe"])
    ]
    assert one["mean"] == pytest.approx(np.mean([float(value) for value in direct]), abs=1e-4)


def test_two_files_of_one_seed_are_named(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "x.npz", embeddings=np.eye(4), labels=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="there is another file of seed 1 of 'x'"):
        scoring.store_scores([tmp_path / "a" / "x.npz", tmp_path / "b" / "x.npz"], tmp_path / "runs")
