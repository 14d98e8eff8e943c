"""Figures of sweeps: a metric against the one parameter in which recipes differ, or against the wrong labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lossbench.report.drawing import figures
from lossbench.report.drawing.figures import WIDTH, Line, Picture, done
from lossbench.report.drawing.palette import Look, looks
from lossbench.report.drawing.svg import FAINT, INK, styled, tip
from lossbench.report.evidence.comparisons import summary
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections import parameter_sweeps
from lossbench.report.sections.parameter_sweeps import Point, Sweep
from lossbench.report.writing import formats

NEAREST = 0.08  # of the axis, between two texts


def picture(material: Material, task: str, name: str, look: Mapping[str, Look]) -> Picture | None:
    """Every sweep of the experiment on one task, side by side: quality above, compactness below."""
    found = [
        sweep for sweep in parameter_sweeps.find(material) if parameter_sweeps.points(material, task, sweep, PRIMARY)
    ]
    return _draw(material, task, name, found, look) if found else None


def noise_picture(material: Material, name: str) -> Picture | None:
    """Quality of each recipe by the share of wrong labels, over tasks that differ in nothing else."""
    for family, shares in parameter_sweeps.families(material):
        lines = []
        for recipe in material.recipes:
            found = [
                one
                for share, task in shares.items()
                if (one := parameter_sweeps.point(material, task, recipe, PRIMARY, share)) is not None
            ]
            if found:
                x, mean, low, high = np.array([(one.value, one.mean, one.low, one.high) for one in found]).T
                lines.append(Line(name=recipe, x=x, mean=mean, low=low, high=high))
        if lines:
            look, label = looks(material.recipes), "share of wrong labels"
            title = "quality by wrong labels"
            drawn = figures.curves(name, family, lines, look, title=title, ylabel="test MAP@R", xlabel=label)
            return replace(drawn, caption="Mean over studies with its 95 % interval. Test labels are right.")
    return None


@styled
def _draw(material: Material, task: str, name: str, found: Sequence[Sweep], look: Mapping[str, Look]) -> Picture:
    figure = Figure(figsize=(WIDTH * (1 + 0.85 * (len(found) - 1)), 3.9), layout="constrained")
    grid = figure.subplots(len(parameter_sweeps.FIGURES), len(found), sharey="row", squeeze=False)
    said = []
    for column, sweep in enumerate(found):
        places = _places([value for value, _ in sweep.points])
        for row, kind in enumerate(parameter_sweeps.FIGURES):
            axes, drawn = grid[row, column], parameter_sweeps.points(material, task, sweep, kind.column)
            color = look[sweep.points[0][1]].color
            _band(
                axes, material, task, kind.column, {recipe for _, recipe in sweep.points}, last=column == len(found) - 1
            )
            _line(axes, drawn, places, color)
            axes.set_xticks(list(places.values()), _labels(places))
            axes.grid(axis="y")
            axes.tick_params(labelbottom=True)
            if column == 0:
                axes.set_ylabel(f"test {kind.label}")
            if row == 0:
                axes.set_title(formats.shortened(sweep.title, 52), fontsize=8, fontweight="normal")
                means = ", ".join(f"{one.value:g}: {formats.score(one.mean)}" for one in drawn)
                said.append(f"{sweep.title}, MAP@R at {means}")
        grid[-1, column].set_xlabel(sweep.parameter)
    shown = done(figure, name, f"{task}: parameter sweeps", f"Sweeps of {'; '.join(said)}.")
    caption = "Dots: studies. Diamonds and bands: means and 95 % intervals. Dashed, grey: the same of "
    return replace(shown, caption=f"{caption}{material.reference}. A value of 0 stands a step left of a log scale.")


def _line(axes: Any, drawn: Sequence[Point], places: Mapping[float, float], color: str) -> None:
    x = [places[one.value] for one in drawn]
    low, high = ([getattr(one, end) for one in drawn] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, [one.mean for one in drawn], "-", color=color, linewidth=1.4)
    for place, one in zip(x, drawn, strict=True):
        axes.plot([place] * len(one.scores), one.scores, "o", color=color, markersize=2.6, alpha=0.45,
                  markeredgewidth=0)  # fmt: skip
        (mark,) = axes.plot([place], [one.mean], "D", color=INK, markerfacecolor=color, markersize=4.5,
                            markeredgewidth=1.0)  # fmt: skip
        tip(mark, f"{one.value:g}: {formats.score(one.mean)} {formats.interval(one.low, one.high)}")


def _band(axes: Any, material: Material, task: str, column: str, swept: set[str], *, last: bool) -> None:
    """The reference recipe's mean and interval behind the sweep, where it is no point of it."""
    found = summary(material, task, material.reference, column)
    if material.reference in swept or not np.isfinite(found.mean):
        return
    if np.isfinite(found.low):
        axes.axhspan(float(found.low), float(found.high), color=FAINT, alpha=0.13, linewidth=0)
    axes.axhline(float(found.mean), color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    if last:
        name = formats.shortened(material.reference)
        axes.text(1.02, float(found.mean), name, transform=axes.get_yaxis_transform(), color=FAINT, fontsize=7,
                  va="center")  # fmt: skip


def _labels(places: Mapping[float, float]) -> list[str]:
    """A text for each value, empty where it would run into that of the next.

    >>> _labels({0.01: -2.0, 0.1: -1.0, 0.9: -0.05, 1.0: 0.0})
    ['0.01', '0.1', '', '1']
    """
    span = max(places.values()) - min(places.values())
    kept: list[float] = []
    for value in sorted(places, key=lambda value: -places[value]):
        if not kept or places[kept[-1]] - places[value] >= NEAREST * span:
            kept.append(value)
    return [f"{value:g}" if value in kept else "" for value in places]


def _places(values: Sequence[float]) -> dict[float, float]:
    """Where values stand: on a logarithmic scale if they span more than a decade, with zero a step to the left.

    >>> _places([0.0, 0.1, 1.0, 10.0])
    {0.0: -2.0, 0.1: -1.0, 1.0: 0.0, 10.0: 1.0}
    >>> _places([0.0, 0.2, 0.4])
    {0.0: 0.0, 0.2: 0.2, 0.4: 0.4}
    """
    positive = sorted(value for value in values if value > 0)
    if not positive or min(values) < 0 or positive[-1] <= 10 * positive[0]:
        return {value: value for value in values}
    logs = np.log10(positive)
    step = float(np.median(np.diff(logs)))
    zero = {0.0: float(logs[0]) - step} if 0.0 in values else {}
    return zero | dict(zip(positive, map(float, logs), strict=True))
