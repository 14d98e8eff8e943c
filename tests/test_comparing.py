"""`lossbench.compare` is the command line in Python: the same runs, the same figures, and losses of a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from plugins.test_identity import cell
from sklearn.datasets import load_digits

import lossbench
from lossbench.cli import main
from lossbench.plugins.mistakes import SpecError
from lossbench.report.reading import Results
from lossbench.store import StoreError

mpl.use("Agg")
TINY = {"quick": True, "epochs": 1, "embedding_dim": 4, "workers": 0}
LOSS = """
import torch

margin = {}

def squares(embeddings, labels):
    "Pairs of one class near, others beyond a margin."
    distance = torch.cdist(embeddings, embeddings)
    same = labels[:, None] == labels
    return distance[same].mean() + torch.relu(margin - distance[~same]).mean()
"""


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    points, labels = load_digits(return_X_y=True)
    return points[:400], labels[:400]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def found(vectors, folder) -> Results:
    """Two losses by name and one of a notebook."""
    losses = ["softmax", "triplet", cell(LOSS.format(0.5))["squares"]]
    return lossbench.compare(vectors, losses, runs=folder / "runs", studies=4, **TINY)


def stored(runs: Path) -> set[str]:
    return {path.parent.name for path in runs.glob("*/result.json")}


@pytest.mark.slow
def test_it_is_the_command_line_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = lossbench.compare("digits", ["softmax", "triplet"], name="both", budget={"trials": 1}, **TINY)
    runs = stored(tmp_path / "runs")
    line = "run ablation --data digits --recipes softmax,triplet --name both --quick --epochs 1 --dry-run"
    done = CliRunner().invoke(main, [*line.split(), "--set", "embedding_dim=4", "--set", "budget.trials=1"])
    assert f"{len(results.runs)} planned runs, {len(results.runs)} of them done" in done.output
    assert len(runs) <= len(results.runs)


@pytest.mark.slow
def test_a_loss_of_a_notebook_is_found_again_and_changed_is_another(vectors, found, folder):
    runs = stored(folder / "runs")
    losses = ["softmax", "triplet", cell("# the cell again\n" + LOSS.format(0.5))["squares"]]
    again = lossbench.compare(vectors, losses, runs=folder / "runs", studies=4, **TINY)
    assert stored(folder / "runs") == runs
    assert again.table.equals(found.table)
    losses[2] = cell(LOSS.format(0.6))["squares"]
    other = lossbench.compare(vectors, losses, runs=folder / "runs", studies=1, name="other", **TINY)
    new = [json.loads((folder / "runs" / run / "result.json").read_text()) for run in stored(folder / "runs") - runs]
    assert {term["loss"] for record in new for term in record["spec"]["terms"]} == {"squares"}
    missing = other.verdicts[["low", "high", "p_adjusted"]]  # of one study there are none
    assert missing.isna().all(axis=None)
    assert set(missing.dtypes) == {np.dtype(float)}


@pytest.mark.slow
def test_its_loss_is_nowhere_afterwards_and_the_process_as_before(found):
    assert "squares" not in lossbench.plugins.registry.names("loss")
    assert torch.get_num_threads() >= 1


def test_the_frames_are_tidy(found):
    (task,) = found.tasks
    assert set(found.table["recipe"]) == {"softmax", "triplet", "squares", "untrained", "features"}
    assert list(found.table["mean"]) == sorted(found.table["mean"], reverse=True)
    assert set(found.table.loc[found.table["kind"] == "baseline", "recipe"]) == {"untrained", "features"}
    means = found.scores.groupby("recipe")["score"].mean()
    for row in found.table.itertuples():
        assert row.mean == pytest.approx(means[row.recipe])
    assert len(found.verdicts) == 3
    rank = {name: number for number, name in enumerate(found.table["recipe"])}
    for pair in found.verdicts.itertuples():
        assert rank[pair.a] < rank[pair.b]
        assert pair.effect == pytest.approx(means[pair.a] - means[pair.b])
        assert pair.low < pair.effect < pair.high
    assert set(found.runs.columns) >= {"recipe", "study", "test.sphere.map_at_r"}
    assert set(found.figures["task"]) == {task}


@pytest.mark.slow
def test_saved_and_read_again_it_is_the_same(found, tmp_path):
    page = found.save(tmp_path / "reports")
    assert page == tmp_path / "reports" / "comparison" / "index.html"
    assert (tmp_path / "reports" / "index.html").is_file()
    of_the_page = json.loads((page.parent / "results.json").read_text())
    for one, other in zip(found.content["tasks"], of_the_page["tasks"], strict=True):
        assert one == {key: other[key] for key in one}
    read = lossbench.read_report(page.parent)
    for name in ("table", "verdicts", "figures", "scores"):
        pd.testing.assert_frame_equal(getattr(read, name), getattr(found, name))
    assert repr(read) == repr(found)
    copied = read.save(tmp_path / "elsewhere")
    assert lossbench.read_report(copied.parent).table.equals(found.table)
    strange = json.loads((page.parent / "results.json").read_text()) | {"experiment": "../../strange"}
    (copied.parent / "results.json").write_text(json.dumps(strange))
    again = lossbench.read_report(copied.parent).save(tmp_path / "deep" / "er")
    assert again.parent == tmp_path / "deep" / "er" / "comparison"
    with pytest.raises(StoreError, match="is no report"):
        lossbench.read_report(tmp_path)


def test_it_shows_itself_as_text_and_as_html(found):
    for shown in (repr(found), found._repr_html_()):
        assert "squares" in shown
        assert found.content["tasks"][0]["answer"]["sentence"].split(".")[0] in shown
    hostile = {**found.content, "question": "<script>", "experiment": "a&b"}
    assert "<script>" not in Results(hostile, found.runs, Path)._repr_html_()


def test_figures_are_drawn_on_the_axes_that_are_given(found):
    figure, (left, right) = mpl.pyplot.subplots(1, 2)
    assert found.plot.effects(ax=left) is left
    drawn = {label.get_text() for label in left.get_yticklabels()}
    assert drawn == {"triplet", "squares"}
    points = sorted(float(line.get_xdata()[0]) for line in left.lines if line.get_marker() not in ("None", None, ""))
    verdicts = found.verdicts
    against = [
        pair.effect if pair.b == "softmax" else -pair.effect
        for pair in verdicts.itertuples()
        if "softmax" in (pair.a, pair.b)
    ]
    assert points == pytest.approx(sorted(against))
    assert found.plot.scores(ax=right) is right
    assert [label.get_text() for label in right.get_yticklabels()] == list(found.table["recipe"])
    assert found.plot.effects(against="triplet") is mpl.pyplot.gca()
    with pytest.raises(StoreError, match="tripled: is no recipe of this experiment; did you mean 'triplet'"):
        found.plot.effects(against="tripled")
    with pytest.raises(StoreError, match="is no task"):
        found.plot.scores(task="digits")
    mpl.pyplot.close("all")
    assert figure


@pytest.mark.parametrize(
    ("losses", "settings", "said"),
    [
        (["softmaxx"], {}, "unknown loss 'softmaxx'; did you mean 'softmax'"),
        (["softmax"], {"budgets": {"trials": 2}}, "budgets: unknown key; did you mean 'budget'"),
        (["softmax"], {"training": {"epochs": "x"}}, "training.epochs"),
        (["softmax"], {"protocol": "open"}, "protocol 'open' is not offered"),
        ([cell("def far(e, y):\n    return e\n")["far"]], {}, "losses: far: .*where a scalar belongs"),
        ([cell(LOSS.format(1))["squares"]], {"workers": 2}, "workers: 2 processes cannot find squares"),
    ],
)
def test_mistakes_are_said_as_those_of_a_file(vectors, tmp_path, losses, settings, said):
    with pytest.raises(SpecError, match=said):
        lossbench.compare(vectors, losses, runs=tmp_path / "runs", **{**TINY, **settings})
    assert not stored(tmp_path / "runs")


def test_images_keep_their_size_and_settings_reach_the_task(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (120, 9, 9), dtype=np.uint8)
    results = lossbench.compare(
        (images, np.arange(120) % 12), ["softmax"], runs=tmp_path / "runs", studies=1, protocol="open-set",
        training={"batch_size": 32}, baselines=["pixels"], **TINY,
    )  # fmt: skip
    record = json.loads(next((tmp_path / "runs").glob("*/result.json")).read_text())
    assert (record["spec"]["task"]["input_size"], record["spec"]["task"]["protocol"]) == (9, "open-set")
    assert record["spec"]["training"]["batch_size"] == 32
    assert set(results.table["recipe"]) == {"softmax", "pixels"}
