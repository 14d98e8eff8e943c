"""Figures of cost: the front of quality against cost, the parts of a step, the growth of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lossbench.report.drawing.figures import WIDTH, Picture, apart, done, frame
from lossbench.report.drawing.palette import COLORS, MARKERS, Look
from lossbench.report.drawing.svg import FAINT, INK, styled, tip
from lossbench.report.writing import formats

LINE = 0.13  # inches of a line of names
Points = Mapping[str, tuple[float, float]]


def front(points: Points) -> list[str]:
    """The names that no other point is both cheaper and at least as high as, or as cheap and higher; cheapest first.

    >>> front({"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (3.0, 0.6)})
    ['a', 'c']
    """
    found: list[str] = []
    for name in sorted(points, key=lambda key: (points[key][0], -points[key][1], key)):
        if not found or points[name][1] > points[found[-1]][1]:
            found.append(name)
    return found


@styled
def fronts(name: str, task: str, panels: Mapping[str, Points], looks: Mapping[str, Look]) -> Picture:
    """Quality against each kind of cost, a panel each; the line joins what nothing is both cheaper and above."""
    height = _height(max(len(points) for points in panels.values()))
    figure = Figure(figsize=(WIDTH, height * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    texts = []
    for axes, (label, points) in zip(grid, panels.items(), strict=True):
        kept = front(points)
        line = [points[key] for key in kept]
        axes.step(*zip(*line, strict=True), where="post", color=FAINT, linewidth=1.0, zorder=1)
        for key, (x, y) in points.items():
            look = looks[key]
            (dot,) = axes.plot([x], [y], marker=look.marker, color=look.color, markersize=6.5, linestyle="none")
            tip(dot, f"{key}: {formats.significant(x)}, {formats.score(y)}")
        axes.margins(0.08, 0.15)
        axes.grid(True)
        axes.set_xlabel(label)
        axes.set_ylabel("test MAP@R")
        low, high = axes.get_ylim()
        ends = {key: ((y - low) / (high - low), looks[key].color) for key, (_, y) in points.items()}
        _beside(axes, ends, height)
        texts.append(f"by {label}: {', '.join(kept)}")
    return done(figure, name, f"{task}: front of quality and cost", f"On the front {'; '.join(texts)}.")


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
            color = COLORS[index % len(COLORS)]
            axes.plot(
                sizes, 1e3 * seconds, marker=MARKERS[index % len(MARKERS)], markersize=3.2, linewidth=1.3, color=color
            )
            for size, value in zip(sizes, seconds, strict=True):
                (dot,) = axes.plot([size], [1e3 * value], "o", markersize=7, alpha=0, color=color)
                tip(dot, f"{loss}, {words} {formats.count(size)}: {formats.significant(1e3 * value)} ms")
            ends.append((loss, color, 1e3 * float(seconds[-1])))
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
        _beside(axes, {loss: ((np.log10(end) - low) / (high - low), color) for loss, color, end in ends}, height)
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


def _beside(axes: Any, ends: Mapping[str, tuple[float, str]], height: float) -> None:
    """Names in a column at the right, each near its place (in axes coordinates) and in its color."""
    places = apart(np.array([place for place, _ in ends.values()]), LINE / (height - 0.55))
    names = formats.short_names(list(ends))
    for name, (_, color), place in zip(names, ends.values(), places, strict=True):
        axes.text(1.02, place, name, transform=axes.transAxes, color=color, fontsize=7, va="center", fontweight="bold")
