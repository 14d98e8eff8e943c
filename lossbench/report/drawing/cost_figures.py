"""Figures of cost: quality against cost, the parts of a step, the growth of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lossbench.report.drawing.figures import WIDTH, Picture, apart, done, frame
from lossbench.report.drawing.palette import COLORS, MARKERS, Look
from lossbench.report.drawing.svg import INK, styled, tip
from lossbench.report.writing import formats
from lossbench.statistics.effects import MeanInterval

LINE = 0.13  # inches of a line of names


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A recipe's cost and score with their 95 % intervals."""

    name: str
    cost: MeanInterval
    score: MeanInterval


@styled
def quality_by_cost(name: str, task: str, panels: Mapping[str, Sequence[Priced]], looks: Mapping[str, Look]) -> Picture:
    """Test MAP@R against each kind of cost, a panel each, with the intervals of both.

    No line joins the recipes of a front: which of two is higher is for the tests to say.
    """
    height = _height(max(len(points) for points in panels.values()))
    figure = Figure(figsize=(WIDTH, height * len(panels) + 0.1), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (label, points) in zip(grid, panels.items(), strict=True):
        for point in points:
            _cross(axes, point, looks[point.name])
        axes.margins(0.08, 0.12)
        axes.grid(True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(label)
        axes.set_ylabel("test MAP@R")
        low, high = axes.get_ylim()
        ends = {point.name: (float(point.score.mean) - low) / (high - low) for point in points}
        _beside(axes, ends, looks, height)
    said = "; ".join(
        f"{point.name} {formats.score(float(point.score.mean))} at {formats.significant(float(point.cost.mean))}"
        for point in next(iter(panels.values()))
    )
    return done(figure, name, f"{task}: quality and cost", f"Test MAP@R by {next(iter(panels))}: {said}.")


def _cross(axes: Any, point: Priced, look: Look) -> None:
    x, y = float(point.cost.mean), float(point.score.mean)
    for xs, ys in (([point.cost.low, point.cost.high], [y, y]), ([x, x], [point.score.low, point.score.high])):
        if np.isfinite([*xs, *ys]).all():
            axes.plot(xs, ys, color=look.color, linewidth=1.2, alpha=0.55)
    (dot,) = axes.plot([x], [y], marker=look.marker, color=look.color, markersize=6.5, linestyle="none")
    tip(dot, f"{point.name}: {formats.significant(x)}, {formats.score(y)} "
        f"{formats.interval(float(point.score.low), float(point.score.high))}")  # fmt: skip


@styled
def parts(name: str, task: str, found: Mapping[str, Mapping[str, float]]) -> Picture:
    """The parts of a training step of each recipe in milliseconds, as stacked bars."""
    figure, axes = frame(rows=len(found), extra=0.95)
    labels = list(next(iter(found.values())))
    left = np.zeros(len(found))
    for index, part in enumerate(labels):
        values = np.array([1e3 * each[part] for each in found.values()])
        bars = axes.barh(range(len(found)), values, left=left, height=0.62, color=COLORS[index], label=part, alpha=0.85)
        for bar, recipe, value in zip(bars, found, values, strict=True):
            tip(bar, f"{recipe}, {part}: {formats.significant(value)} ms")
        left += values
    for row, total in enumerate(left):
        axes.text(total, row, f" {formats.significant(total)}", va="center", fontsize=7, color=INK)
    axes.set_yticks(range(len(found)), formats.short_names(list(found)))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("ms a training step")
    figure.legend(loc="outside upper left", ncols=len(labels), handlelength=1.1, columnspacing=1.2)
    totals = ", ".join(f"{recipe} {formats.significant(total)}" for recipe, total in zip(found, left, strict=True))
    return done(figure, name, f"{task}: the parts of a step", f"Milliseconds a training step: {totals}.")


@styled
def scaling(
    name: str, found: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], scales: Mapping[str, str]
) -> Picture:
    """Milliseconds of each loss against batch size, dimension and number of classes, on log axes."""
    height = _height(len(found))
    figure = Figure(figsize=(WIDTH, height * len(scales)), layout="constrained")
    grid = figure.subplots(len(scales), 1, squeeze=False)[:, 0]
    for axes, (scale, words) in zip(grid, scales.items(), strict=True):
        ends = []
        for index, (loss, points) in enumerate(found.items()):
            sizes, seconds = (np.array(column) for column in zip(*points[scale], strict=True))
            color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
            axes.plot(sizes, 1e3 * seconds, marker=marker, markersize=3.2, linewidth=1.3, color=color)
            for size, value in zip(sizes, seconds, strict=True):
                (dot,) = axes.plot([size], [1e3 * value], "o", markersize=7, alpha=0, color=color)
                tip(dot, f"{loss}, {words} {formats.count(size)}: {formats.significant(1e3 * value)} ms")
            ends.append((loss, color, marker, 1e3 * float(seconds[-1])))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(True)
        known = sorted({size for points in found.values() for size, _ in points[scale]})
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(known, [_short(size) for size in known])
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(words)
        axes.set_ylabel("ms")
        low, high = np.log10(axes.get_ylim())
        found_looks = {loss: Look(color, marker) for loss, color, marker, _ in ends}
        _beside(axes, {loss: (np.log10(end) - low) / (high - low) for loss, *_, end in ends}, found_looks, height)
    largest = "; ".join(
        f"{loss} {formats.significant(1e3 * seconds)} ms at {formats.count(size)} classes"
        for loss, points in found.items()
        for size, seconds in points.get("classes", [])[-1:]
    )
    return done(
        figure, name, "Time of each loss by size", f"Milliseconds by batch size, dimension and classes; {largest}."
    )


def _short(size: float) -> str:
    """A size for an axis.

    >>> _short(512.0), _short(10_000.0), _short(1e6)
    ('512', '10k', '1M')
    """
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if size >= unit and size % unit == 0:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"


def _height(names: int) -> float:
    """Inches of a panel that so many names stand beside."""
    return max(1.75, 0.6 + LINE * names)


def _beside(axes: Any, ends: Mapping[str, float], looks: Mapping[str, Look], height: float) -> None:
    """Marks and names in a column at the right, each near its place (in axes coordinates) and in its color."""
    places = apart(np.array(list(ends.values())), LINE / (height - 0.55))
    names = formats.short_names(list(ends))
    for name, key, place in zip(names, ends, places, strict=True):
        look = looks[key]
        axes.plot([1.035], [place], marker=look.marker, color=look.color, markersize=4, transform=axes.transAxes,
                  clip_on=False, linestyle="none")  # fmt: skip
        axes.text(1.06, place, name, transform=axes.transAxes, color=look.color, fontsize=7, va="center",
                  fontweight="bold")  # fmt: skip
