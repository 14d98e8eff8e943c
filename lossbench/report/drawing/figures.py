"""Figures of one task, drawn from values that were computed elsewhere; each returns SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lossbench.report.drawing.palette import Look
from lossbench.report.drawing.svg import CARD, FAINT, GRID, INK, render, styled, tip
from lossbench.report.writing import formats

Scale = Literal["linear", "log", "symlog"]
_LOG_TICKS = ((0.5, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)), (1.7, (1.0, 2.0, 5.0)), (3.0, (1.0, 3.0)))  # up to decades
SPAN = 30  # times the smallest value from which values of both signs need a symmetric-log axis
MANY_ROWS = 12
WIDTH = 4.1  # inches; a page shows two beside each other, a phone one


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A finished figure: its name, its title, what it shows in words, and the SVG."""

    name: str
    title: str
    alt: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One row of a strip plot: scores by study, their mean and interval, and a letter."""

    name: str
    scores: Mapping[int, float]
    mean: float
    low: float
    high: float
    letters: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A curve with its band: `mean`, `low`, `high` over `x`."""

    name: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One effect of a forest plot; `clear` where the test called a difference."""

    name: str
    mean: float
    low: float
    high: float
    clear: bool


@styled
def headline(
    name: str, task: str, strips: Sequence[Strip], looks: Mapping[str, Look], baselines: Mapping[str, float]
) -> Picture:
    """Every study as a dot, mean and interval, one row a recipe, highest mean on top; baselines as lines."""
    low, high = _limits([value for strip in strips for value in (*strip.scores.values(), strip.low, strip.high)])
    shown = {key: value for key, value in baselines.items() if low - 0.6 * (high - low) <= value <= high}
    low = min([low, *[value - 0.04 * (high - low) for value in shown.values()]])
    figure, axes = frame(rows=len(strips), extra=1.05)
    for row, strip in enumerate(strips):
        _strip(axes, row, strip, looks[strip.name])
    axes.set_xlim(low, high)
    name_rows(axes, [strip.name for strip in strips])
    right_labels(axes, [f"{formats.score(strip.mean)} {strip.letters}".rstrip() for strip in strips])
    for level, (key, value) in enumerate(sorted(shown.items(), key=lambda item: -item[1])):
        line = axes.axvline(value, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
        tip(line, f"{key}: {formats.score(value)}")
        axes.annotate(f"{key} {formats.score(value)}", (value, 1.0), (0, 1 + 9 * level), textcoords="offset points",
                      xycoords=axes.get_xaxis_transform(), color=FAINT, fontsize=7, va="bottom",
                      ha="left" if value < (low + high) / 2 else "right")  # fmt: skip
    far = {key: value for key, value in baselines.items() if key not in shown and np.isfinite(value)}
    if far:
        text = "off the scale: " + ", ".join(f"{key} {formats.score(value)}" for key, value in far.items())
        axes.text(0, -0.5 / len(strips), f"← {text}" if max(far.values()) < low else text, fontsize=7, color=FAINT,
                  transform=axes.transAxes, ha="left", va="top").set_y(_below(axes, 30))  # fmt: skip
    axes.set_xlabel("test MAP@R on the sphere")
    order = ", ".join(f"{strip.name} {formats.score(strip.mean)}" for strip in strips)
    alt = f"{task}: test MAP@R of every study by recipe; means: {order}."
    return done(figure, name, f"{task}: every study", alt)


@styled
def forest(
    name: str, task: str, reference: str, bars: Sequence[Bar], looks: Mapping[str, Look], equivalence: float | None
) -> Picture:
    """Paired effects against the reference with their intervals; filled where the test calls a difference."""
    figure, axes = frame(rows=len(bars), extra=0.95)
    if equivalence:
        band = axes.axvspan(-equivalence, equivalence, color=GRID, alpha=0.55, linewidth=0)
        tip(band, f"region of practical equivalence, ±{equivalence:g}")
    axes.axvline(0, color=FAINT, linewidth=0.9)
    for row, bar in enumerate(bars):
        look = looks[bar.name]
        if np.isfinite(bar.low):
            axes.plot([bar.low, bar.high], [row, row], color=look.color, linewidth=2, solid_capstyle="round")
        face = look.color if bar.clear else CARD
        (dot,) = axes.plot([bar.mean], [row], marker=look.marker, markersize=6, color=look.color, markerfacecolor=face,
                           markeredgewidth=1.3, linestyle="none")  # fmt: skip
        tip(dot, f"{bar.name}: {formats.signed(bar.mean)} {formats.interval(bar.low, bar.high)}")
    low, high = _limits([value for bar in bars for value in (bar.low, bar.high, bar.mean)] + [0.0])
    axes.set_xlim(low, high)
    name_rows(axes, [bar.name for bar in bars])
    right_labels(axes, [formats.signed(bar.mean) for bar in bars])
    axes.set_xlabel(f"difference in test MAP@R\nfrom {formats.shortened(reference)}")
    found = ", ".join(f"{bar.name} {formats.signed(bar.mean)} {formats.interval(bar.low, bar.high)}" for bar in bars)
    return done(figure, name, f"{task}: paired effects against {reference}", f"Effects: {found}.")


@styled
def curves(
    name: str,
    task: str,
    lines: Sequence[Line],
    looks: Mapping[str, Look],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "epoch",
    scale: Scale = "linear",
) -> Picture:
    """Means with 95 % bands; names stand at the ends of their lines. `scale` is that of the upright axis."""
    figure, axes = frame(height=2.7)
    frames = [pd.DataFrame({"x": line.x, "mean": line.mean, "name": line.name}) for line in lines]
    table = pd.concat(frames, ignore_index=True)
    palette = {line.name: looks[line.name].color for line in lines}
    seaborn.lineplot(table, x="x", y="mean", hue="name", palette=palette, estimator=None, legend=False, linewidth=1.6,
                     ax=axes)  # fmt: skip
    for line in lines:
        axes.fill_between(line.x, line.low, line.high, color=palette[line.name], alpha=0.15, linewidth=0)
    if scale == "log":
        axes.set_yscale("log")
        plain_log(axes.yaxis)
    elif scale == "symlog":
        axes.set_yscale("symlog", linthresh=_linear_within(lines))
    if xlabel in ("epoch", "trials"):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    _end_labels(axes, lines, looks)
    axes.grid(axis="y")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    ends = ", ".join(f"{line.name} {formats.significant(_last(line.mean))}" for line in lines)
    return done(figure, name, f"{task}: {title}", f"{title} by {xlabel}; at the end: {ends}.")


def dots(axes: Any, points: np.ndarray, color: str, *, size: float = 2.0, alpha: float = 0.6) -> None:
    """Points as strokes of no length with round ends: a tenth of the SVG that as many markers make."""
    vertices = np.repeat(points, 2, axis=0)
    codes = np.tile([Outline.MOVETO, Outline.LINETO], len(points))
    if len(points):
        outline = Outline(vertices, codes)
        outline.should_simplify = False
        axes.add_patch(PathPatch(outline, fill=False, edgecolor=color, linewidth=size, capstyle="round", alpha=alpha))
        axes.autoscale_view()  # which a patch does not ask for


def plain_log(axis: Any) -> None:
    """A few ticks with plain numbers on a logarithmic axis whose limits are set: fewer a decade, the more decades."""
    low, high = np.log10(axis.get_view_interval())
    subs = next((subs for decades, subs in _LOG_TICKS if high - low <= decades), (1.0,))
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def frame(
    *, rows: int | None = None, row: float | None = None, extra: float = 0.0, height: float | None = None
) -> tuple[Figure, Any]:
    """A figure of the page's width with one axes: so many inches high, or so many rows and something extra.

    Of many rows each is lower, as long as names stand apart.
    """
    row = row or (0.3 if (rows or 1) <= MANY_ROWS else 0.19)
    figure = Figure(figsize=(WIDTH, height or row * (rows or 1) + extra), layout="constrained")
    return figure, figure.subplots()


def done(
    figure: Figure,
    name: str,
    title: str,
    alt: str,
) -> Picture:
    """The figure rendered."""
    return Picture(name=name, title=title, alt=alt, svg=render(figure, name=name, alt=alt))


def _strip(axes: Any, row: int, strip: Strip, look: Look) -> None:
    spread = np.linspace(-0.16, 0.16, len(strip.scores)) if len(strip.scores) > 1 else [0.0]
    for offset, (study, score) in zip(spread, sorted(strip.scores.items()), strict=True):
        dot = Line2D([score], [row + offset], linestyle="none", marker="o", markersize=3.6, color=look.color,
                     alpha=0.55, markeredgewidth=0, in_layout=False)  # fmt: skip
        axes.add_artist(dot)
        tip(dot, f"{strip.name}, study {study}: {formats.score(score)}")
    if np.isfinite(strip.low):
        axes.plot([strip.low, strip.high], [row, row], color=INK, linewidth=1.6, solid_capstyle="round")
    (mark,) = axes.plot([strip.mean], [row], marker="D", markersize=5, color=INK, markerfacecolor=look.color,
                        markeredgewidth=1.1, linestyle="none")  # fmt: skip
    tip(mark, f"{strip.name}: mean {formats.score(strip.mean)} {formats.interval(strip.low, strip.high)}")


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """A name left of each row, the first on top."""
    axes.set_yticks(range(len(names)), formats.short_names(names))
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))


def right_labels(axes: Any, texts: Sequence[str]) -> None:
    """A text right of each row."""
    twin = axes.secondary_yaxis("right")
    twin.set_yticks(range(len(texts)), texts)
    twin.tick_params(length=0, colors=INK)
    twin.spines["right"].set_visible(False)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def _below(axes: Any, points: float) -> float:
    """That many points under the axes, in axes coordinates."""
    height = axes.figure.get_size_inches()[1] * 72 * 0.7
    return float(-points / height)


def _last(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else float("nan")


def _end_labels(axes: Any, lines: Sequence[Line], looks: Mapping[str, Look]) -> None:
    """Names right of the last points, moved apart so that none covers another."""
    found = [(line, _last(line.mean)) for line in lines if np.isfinite(_last(line.mean))]
    if not found:
        return
    upright = axes.transScale + axes.transLimits  # data to axes coordinates, whatever the scale of the axis
    left = axes.get_xlim()[0]
    ends = np.array([float(upright.transform((left, y))[1]) for _, y in found])
    names = formats.short_names([line.name for line, _ in found])
    for (line, _), name, end, place in zip(found, names, ends, apart(ends, 0.085), strict=True):
        color = looks[line.name].color
        axes.plot([1.0, 1.035], [end, place], transform=axes.transAxes, color=color, linewidth=0.7, clip_on=False)
        axes.text(1.05, place, name, transform=axes.transAxes, color=color, fontsize=7.5, va="center", ha="left",
                  fontweight="bold")  # fmt: skip


def scale_of(values: np.ndarray) -> Scale:
    """`log` for positive values; with any at or below zero `symlog`, or `linear` where they span little.

    >>> scale_of(np.array([2.0, 0.1])), scale_of(np.array([2.0, 0.001, -0.5])), scale_of(np.array([0.0, 0.0]))
    ('log', 'symlog', 'linear')
    """
    finite = values[np.isfinite(values)]
    if finite.size and (finite > 0).all():
        return "log"
    sizes = np.abs(finite[finite != 0])
    return "symlog" if sizes.size and sizes.max() >= SPAN * sizes.min() else "linear"


def _linear_within(lines: Sequence[Line]) -> float:
    """Up to which size a symmetric-log axis is linear: the power of ten below all but the smallest tenth of values."""
    values = np.abs(np.concatenate([line.mean for line in lines]))
    return float(10.0 ** np.floor(np.log10(np.quantile(values[np.isfinite(values) & (values > 0)], 0.1))))


def apart(places: np.ndarray, gap: float) -> np.ndarray:
    """The places moved as little as a pass up and a pass down need for a gap between neighbors."""
    order = np.argsort(places, kind="stable")
    moved = places[order].astype(float)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    overflow = max(0.0, moved[-1] - 1.0) if len(moved) else 0.0
    moved -= overflow
    for index in range(len(moved) - 2, -1, -1):
        moved[index] = min(moved[index], moved[index + 1] - gap)
    result = np.empty_like(moved)
    result[order] = moved
    return result
