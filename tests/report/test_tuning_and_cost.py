"""Figures about tuning and cost: the front, the probe's step table, importances, the surface, the gallery."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report.stored import TASK, fill

from lossbench.report.drawing import task_figures
from lossbench.report.drawing.palette import looks
from lossbench.report.evidence import landscape, pooled
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import VALIDATION, Material, gather
from lossbench.report.evidence.overall import Overall
from lossbench.report.evidence.overall import table as overall_table
from lossbench.report.sections import costs, gallery, importance, too_small
from lossbench.store import Store

SCORES = {"softmax": [0.5, 0.51, 0.49], "triplet": [0.6, 0.62, 0.61]}
SPACE = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "lambda": {"low": 1e-4, "high": 1.0, "log": True},
    "alpha": {"low": 0.01, "high": 1.0, "log": True},
}


def with_trials(tmp_path: Path, score, *, count: int = 24) -> Material:
    """An experiment whose recipe `softmax+center` was tuned; `score` maps unit coordinates (n, 3) to scores."""
    fill(tmp_path, {"softmax": [0.5, 0.51, 0.49], "softmax+center": [0.6, 0.602, 0.598]})
    material = gather("toy", tmp_path)
    next(entry for entry in material.plan["recipes"] if entry["name"] == "softmax+center")["searched"] = SPACE
    unit = np.random.default_rng(0).random((count, 3))
    values = {
        f"param.{name}": np.exp(np.log(found["low"]) + unit[:, i] * np.log(found["high"] / found["low"]))
        for i, (name, found) in enumerate(SPACE.items())
    }
    rows = pd.DataFrame(values).assign(
        task=TASK, recipe="softmax+center", role="trial", study=1, seed=0, trial=range(count), status="ok", run_id="x"
    )
    rows[VALIDATION] = score(unit)
    table = pd.concat([material.table[material.table["role"] != "trial"], rows], ignore_index=True)
    return Material(plan=material.plan, store=material.store, table=table, progress=material.progress)


def afresh(material: Material) -> Material:
    """The same with nothing computed yet: its table was changed."""
    return Material(plan=material.plan, store=material.store, table=material.table, progress=material.progress)


def test_the_parameter_that_decides_is_the_important_one(tmp_path: Path) -> None:
    material = with_trials(tmp_path, lambda unit: 0.5 - (unit[:, 1] - 0.5) ** 2, count=60)
    shares = importance.importances(material, TASK, "softmax+center")
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=lambda name: shares[name]) == "lambda"
    assert importance.importances(material, TASK, "softmax") == {}


def test_the_surface_is_highest_where_the_scores_are(tmp_path: Path) -> None:
    sharp = landscape.landscape(
        with_trials(tmp_path / "sharp", lambda unit: 0.6 - 0.5 * (unit[:, 1] - 0.5) ** 2), TASK, "softmax+center"
    )
    assert sharp is not None
    assert sharp.trials == 24
    lambdas = sharp.ticks[0]
    best = lambdas[np.unravel_index(sharp.mean.argmax(), sharp.mean.shape)[1]]
    assert 3e-3 < best < 3e-2, "the highest point is where the scores are highest: 0.01"


def test_a_handful_of_trials_gives_neither_surface_nor_importances(tmp_path: Path) -> None:
    material = with_trials(tmp_path, lambda unit: 0.6 - unit[:, 1], count=19)
    assert landscape.landscape(material, TASK, "softmax+center") is None
    assert importance.importances(material, TASK, "softmax+center") == {}


def test_trials_of_all_studies_are_pooled_less_the_height_of_their_study(tmp_path: Path) -> None:
    """A study whose deal is easy must not make its points look good."""
    material = with_trials(tmp_path, lambda unit: 0.5 - (unit[:, 1] - 0.5) ** 2, count=60)
    before = importance.importances(material, TASK, "softmax+center")
    rows = material.table["role"] == "trial"
    material.table.loc[rows, "study"] = 1 + material.table.loc[rows, "trial"].astype(int) % 3
    flat = pooled.trials(afresh(material), TASK, "softmax+center", ["param.lambda"])[VALIDATION]
    material.table.loc[rows, VALIDATION] += 0.3 * material.table.loc[rows, "study"]
    again = afresh(material)
    raised = pooled.trials(again, TASK, "softmax+center", ["param.lambda"])[VALIDATION]
    assert np.ptp(raised - flat) == pytest.approx(0, abs=1e-12)
    found = importance.importances(again, TASK, "softmax+center")
    assert max(found, key=lambda name: found[name]) == max(before, key=lambda name: before[name]) == "lambda"


def test_a_recipe_without_lambda_and_alpha_has_no_surface(tmp_path: Path) -> None:
    assert landscape.landscape(with_trials(tmp_path, lambda unit: unit[:, 0]), TASK, "softmax") is None


def test_cost_is_drawn_with_its_intervals_and_no_line_through_noise(tmp_path: Path) -> None:
    """Each recipe is a mark and the two bars of its cross; nothing joins one recipe with another."""
    evidence = Evidence(gather("toy", fill(tmp_path, SCORES)))
    drawn = task_figures.FIGURES["cost"][1](evidence, TASK, "c")
    assert drawn is not None
    assert "wall seconds of training a run" in drawn.svg
    assert "softmax 0.500 at 0.800; triplet 0.610 at 0.800" in drawn.alt
    colors = [look.color for look in looks(list(SCORES)).values()]
    bars = [drawn.svg.count(f'stroke="{color}" stroke-opacity="0.55"') for color in colors]
    assert bars == [2, 2]


def test_memory_that_tells_nothing_apart_is_left_out_with_a_line(tmp_path: Path) -> None:
    material = gather("toy", fill(tmp_path, SCORES))
    figure = task_figures.FIGURES["cost"][1]
    drawn = figure(Evidence(material), TASK, "c")
    assert drawn is not None
    assert "peak memory" not in drawn.svg
    assert list(too_small.left_out(Overall(material))) == [f"peak memory on {TASK}, alike within 0.0 MiB"]
    material.table.loc[material.table["recipe"] == "triplet", "cost.peak_memory_bytes"] = 6e8
    drawn = figure(Evidence(afresh(material)), TASK, "c")
    assert drawn is not None
    assert "peak memory" in drawn.svg
    assert list(too_small.left_out(Overall(afresh(material)))) == []


def test_the_step_table_ranks_by_the_probe_and_pairs_rounds(tmp_path: Path) -> None:
    fill(tmp_path, SCORES)
    noise = np.random.default_rng(0).normal(1.0, 0.01, 12)
    part = {key: list(0.25 * noise) for key in ("forward_s", "loss_s", "backward_s", "optimizer_s")}
    recipes = {
        name: part | {"step_s": list(factor * noise)}
        for name, factor in (("softmax", 1.1), ("triplet", 1.5), ("", 1.0))
    }
    tasks = {TASK: {"recipes": recipes, "rounds": 12, "batch_size": 64, "classes": 3}}
    Store(tmp_path).write_probe("toy", {"schema": 1, "experiment": "toy", "tasks": tasks})
    table = costs.steps(Evidence(gather("toy", tmp_path)), TASK)
    assert [row.cells[0].text for row in table.rows] == ["softmax", "triplet", "backbone alone"]
    assert [row.cells[1].text for row in table.rows] == ["1.10", "1.50", "1.00"]
    assert [row.cells[3].text for row in table.rows[:2]] == ["a", "b"], "shown to differ"


def test_without_a_probe_there_is_no_step_table(tmp_path: Path) -> None:
    fill(tmp_path, SCORES)
    assert not costs.steps(Evidence(gather("toy", tmp_path)), TASK)


def test_overall_figures_of_two_tasks(tmp_path: Path) -> None:
    fill(tmp_path, SCORES | {"contrastive": [0.4, 0.41, 0.39]}, tasks=("toy/closed-set", "toy/open-set"))
    found = Overall(gather("toy", tmp_path))
    assert found.ranks == {"softmax": 2.0, "triplet": 1.0, "contrastive": 3.0}
    assert found.improvements["triplet"].estimate == 1.0
    assert found.improvements["contrastive"].estimate == 0.0
    assert found.means["triplet"].estimate == pytest.approx(0.61, abs=0.005)
    assert found.friedman is not None
    assert found.friedman.statistic == pytest.approx(4.0), "12 n / (k (k + 1)) sum of (rank - 2)^2 = 2 * 2"


def test_rank_groups_wait_for_ten_data_sets(tmp_path: Path) -> None:
    scores = SCORES | {"contrastive": [0.4, 0.41, 0.39]}
    for count, grouped in ((9, False), (10, True)):
        tasks = tuple(f"toy{index}/closed-set" for index in range(count))
        found = Overall(gather("toy", fill(tmp_path / str(count), scores, tasks=tasks, trials=1, baselines=())))
        assert bool(found.groups) == grouped
        labels = [column.label for column in overall_table(found).columns]
        assert ("not told apart" in labels) == grouped
        assert ("critical difference" in overall_table(found).notes[0]) == grouped


def test_the_gallery_shows_each_pair_of_mistakes_once(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 2, 1, 8, 8), dtype=np.uint8)
    arrays = {
        "errors.images": images,
        "errors.labels": np.array([[0, 1], [1, 0], [2, 1]]),
        "errors.distance": np.array([0.1, 0.1, 0.3]),
        "class_names": np.array(["zero", "one", "<b>"]),
    }
    fill(tmp_path, SCORES)
    material = gather("toy", tmp_path)
    material._arrays[material.representative(TASK, "softmax")] = arrays
    (found,) = gallery.galleries(material, TASK)
    assert [(each.query_class, each.nearest_class) for each in found.mistakes] == [("zero", "one"), ("<b>", "one")]
    encoded = found.mistakes[0].query.removeprefix("data:image/png;base64,")
    assert np.array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(encoded)))), images[0, 0, 0])
