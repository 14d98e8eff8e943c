"""Every figure in a real Chromium: no two texts overlap, none leaves the frame, however many recipes and long names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from report.browser import CHROMIUM, DRIVER, Browser
from report.stored import TASK, fill
from report.test_paper_sections import change, swept

from lossbench.report.drawing import (
    cost_figures,
    panels,
    sweep_figures,
    task_figures,
    variance_figures,
)
from lossbench.report.drawing.figures import Picture
from lossbench.report.drawing.palette import looks
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.landscape import GRID, Landscape
from lossbench.report.evidence.material import gather
from lossbench.report.evidence.variance import Parts
from lossbench.statistics.components import variance_components
from lossbench.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")]

COUNTS = (2, 6, 12, 40)
WIDE, NARROW = 620, 345  # pixels of a figure on a desk and on a phone
FAULTS = """
    const faults = [], slack = 1.5;
    for (const svg of document.querySelectorAll("svg")) {
      const frame = svg.getBoundingClientRect(), name = svg.parentNode.id, texts = [];
      for (const text of svg.querySelectorAll("text")) {
        const box = text.getBoundingClientRect();
        if (!box.width || !text.textContent.trim()) continue;
        if (box.left < frame.left - slack || box.right > frame.right + slack || box.top < frame.top - slack ||
            box.bottom > frame.bottom + slack) faults.push(name + ": leaves the frame: " + text.textContent);
        for (const [other, said] of texts)
          if (Math.min(box.right, other.right) - Math.max(box.left, other.left) > slack &&
              Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 0.3 * box.height)
            faults.push(name + ": overlap: " + said + " / " + text.textContent);
        texts.push([box, text.textContent]);
      }
    }
    return faults"""


def names(count: int) -> list[str]:
    """As many names of 68 down to 4 characters, the reference's the longest; they differ in their middle."""
    long = "recipe {:02} with lambda 0.{:03} and alpha 0.5, on the balanced sampler, warm"
    lengths = np.linspace(68, 4, count).round().astype(int).tolist()
    return [*(long.format(index, index)[:length].strip() for index, length in enumerate(lengths[:-1])), "soft"]


def scores(count: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(count)
    height = np.linspace(0.905, 0.952, count)
    return {name: list(mean + 0.004 * rng.normal(size=7)) for name, mean in zip(names(count), height, strict=True)}


def with_probe(root: Path, recipes: list[str]) -> None:
    rng = np.random.default_rng(0)
    parts = ("forward_s", "loss_s", "backward_s", "optimizer_s")
    found = {
        name: {part: list(4e-4 * factor * rng.normal(1, 0.01, 12)) for part in parts}
        for name, factor in zip(["", *recipes], np.linspace(1.0, 2.0, len(recipes) + 1), strict=True)
    }
    for own in found.values():
        own["step_s"] = np.sum([own[part] for part in parts], axis=0).tolist()
    task = {"recipes": found, "rounds": 12, "batch_size": 64, "classes": 3}
    Store(root).write_probe("toy", {"schema": 1, "experiment": "toy", "tasks": {TASK: task}})


def of_a_report(root: Path, count: int) -> Mapping[str, Picture]:
    """The figures of a task with so many recipes, as the report draws them."""
    found = scores(count)
    compact = {name: list(1.2 - np.array(own)) for name, own in found.items()}
    fill(
        root,
        found,
        compact=compact,
        untrained=0.235,
        pixels=0.532,
        jackknife={name: [0.001, -0.002, 0.001] for name in found},
    )
    with_probe(root, list(found))
    drawn, left_out = task_figures.pictures(Evidence(gather("toy", root)), TASK)
    assert left_out == ()
    return drawn


def alone(count: int) -> Mapping[str, Picture]:
    """Figures that a small experiment has no data for, from values made up here."""
    rng, recipes = np.random.default_rng(0), names(min(count, 12))
    timed = {
        name: {scale: [(10.0**power, (index + 1) * 1e-4 * 10 ** (0.3 * power)) for power in range(1, 7)] for scale in
               ("batch_size", "embedding_dim", "classes")}
        for index, name in enumerate(recipes)
    }  # fmt: skip
    axis = np.geomspace(1e-4, 1.0, GRID), np.geomspace(0.01, 1.0, GRID)
    land = Landscape(recipe=recipes[-1], ticks=np.stack(axis), mean=rng.normal(0.9, 0.01, (GRID, GRID)), trials=42)
    points = [(*10 ** rng.uniform([-4, -2], 0), 0.9) for _ in range(42)]
    ranks = {name: float(rank) for rank, name in enumerate(names(count), 1)}
    parts = [
        Parts(
            a=name,
            b=recipes[0],
            components=variance_components(rng.normal(0, 0.004, (7, 2)), classes=1e-5),
            classes=None,
        )
        for name in recipes[1:]
    ]
    return {
        "scaling": cost_figures.scaling("s", timed, {"batch_size": "batch size", "embedding_dim": "dimension",
                                                    "classes": "classes"}),
        "surface": panels.surface("l", TASK, recipes[-1], points, ("lambda", "alpha"), [0, 5], land),
        "ranks": panels.critical_difference("r", ranks, [names(count)[:2]], 1.9, looks(names(count))),
        "variance": variance_figures.variance("v", TASK, recipes[0], parts),
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), width=1300) as found:
        yield found


def faults_of(browser: Browser, page: Path, drawn: Mapping[str, Picture]) -> list[str]:
    """What is wrong with figures as wide as on a desk and on a phone."""
    boxes = [
        f'<div id="{kind}, {width} px" style="width:{width}px">{picture.svg}</div>'
        for kind, picture in drawn.items()
        for width in (WIDE, NARROW)
    ]
    page.write_text("<!doctype html><meta charset=utf-8><style>svg{width:100%;height:auto}</style>" + "".join(boxes))
    browser.open(page)
    found: list[str] = browser.run(FAULTS)
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_no_text_overlaps_another_or_leaves_the_frame(tmp_path: Path, browser: Browser, count: int) -> None:
    faults = faults_of(browser, tmp_path / "page.html", {**of_a_report(tmp_path / "runs", count), **alone(count)})
    assert not faults, "\n".join(faults)


def test_sweeps_and_features_keep_their_texts_apart(tmp_path: Path, browser: Browser) -> None:
    values = (0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    fixed = {"softmax": {"head": "affine"}} | {f"lambda {value:g}": {"lambda": value, "alpha": 0.5} for value in values}
    fixed |= {f"alpha {value:g}": {"lambda": 0.003, "alpha": value} for value in (0.01, 0.1, 0.5, 0.9, 1.0)}
    tasks = tuple(f"toy/closed-set/noise={share:g}" for share in (0.0, 0.1, 0.2, 0.4))
    means = dict(zip(fixed, np.linspace(0.5, 0.6, len(fixed)), strict=True))
    material = swept(tmp_path / "swept", means, fixed=fixed, tasks=tasks, dim=2)
    drawn = {"noise": sweep_figures.noise_picture(material, "noise")}
    drawn["sweeps"] = sweep_figures.picture(material, tasks[0], "sweeps", looks(material.recipes))
    long = ["softmax", "softmax+center-with-a-name-that-goes-on-for-much-longer-than-a-panel"]
    fill(tmp_path / "flat", {name: [0.5, 0.6] for name in long}, dim=2)
    for name in long:
        change(tmp_path / "flat", name, arrays=True)
    flat = gather("toy", tmp_path / "flat")
    drawn["features"] = task_figures.FIGURES["features"][1](Evidence(flat), TASK, "features")
    faults = faults_of(browser, tmp_path / "page.html", drawn)
    assert not faults, "\n".join(faults)
