"""Figures that describe rather than compare: distances, cost, trials of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from lossbench.report.drawing.figures import WIDTH, Picture, done, frame, plain_log
from lossbench.report.drawing.palette import Look
from lossbench.report.drawing.svg import INK, styled, tip
from lossbench.report.evidence.landscape import Landscape
from lossbench.report.writing import formats

GENUINE, IMPOSTOR = "#0f7ac0", "#e07b00"
RIM, PAPER, PICKED = "#1f2328", "#ffffff", "#ff9a1f"  # on a surface whose colors are the same in light and dark


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Densities of genuine and impostor distances of one recipe; each has area 1 over `edges`."""

    name: str
    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@styled
def surface(
    name: str,
    task: str,
    recipe: str,
    points: Sequence[tuple[float, float, float]],
    labels: tuple[str, str],
    chosen: Sequence[int],
    found: Landscape,
) -> Picture:
    """Trials of a recipe over two of its parameters, both on log axes, on the surface through them if there is one."""
    figure, axes = frame(height=2.7)
    x, y, scores = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    known = np.isfinite(scores)
    drawn = axes.contourf(*found.ticks, found.mean, levels=10, cmap="viridis", alpha=0.85)
    # White with a dark rim: a trial of any score is seen on any part of the surface.
    axes.plot(x[known], y[known], "o", color=RIM, markerfacecolor=PAPER, markersize=4.5, markeredgewidth=0.9)
    axes.plot(x[~known], y[~known], "x", color=RIM, markersize=6)
    for across, up, score in points:
        (dot,) = axes.plot([across], [up], "o", markersize=8, alpha=0)
        where = f"{labels[0]} {formats.significant(across)}, {labels[1]} {formats.significant(up)}"
        tip(dot, f"{where}: {formats.score(score)}")
    picked = list(chosen)
    axes.plot(x[picked], y[picked], "o", color=RIM, markerfacecolor=PICKED, markersize=7, markeredgewidth=1.1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.08, 0.12)
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)
    axes.grid(True)
    axes.set_xlabel(f"{labels[0]} (orange: chosen)")
    axes.set_ylabel(labels[1])
    bar = figure.colorbar(drawn, ax=axes, label="validation MAP@R", pad=0.02)
    bar.outline.set_visible(False)
    alt = f"{len(points)} trials of {recipe} over {labels[0]} and {labels[1]}; validation MAP@R from "
    alt += f"{formats.score(float(np.nanmin(scores)))} to {formats.score(float(np.nanmax(scores)))}."
    return done(figure, name, f"{task}: trials of {recipe}", alt)


@styled
def histograms(name: str, task: str, found: Sequence[Histogram]) -> Picture:
    """Genuine and impostor distances on the sphere, a row for each recipe on one axis, so that rows compare."""
    figure = Figure(figsize=(WIDTH, 0.85 + 0.4 * len(found)), layout="constrained")
    axes = figure.subplots()
    for row, item in enumerate(found):
        highest = max(float(item.genuine.max()), float(item.impostor.max())) or 1.0
        for values, color, kind in (
            (item.genuine, GENUINE, "same class"),
            (item.impostor, IMPOSTOR, "different classes"),
        ):
            heights = row - 0.86 * values / highest
            axes.stairs(heights, item.edges, baseline=row, fill=True, color=color, alpha=0.35, linewidth=0)
            axes.stairs(heights, item.edges, baseline=None, color=color, linewidth=1.1, label=None if row else kind)
    axes.set_yticks(range(len(found)), formats.short_names([item.name for item in found]))
    axes.set_ylim(len(found) - 0.9, -1.0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("distance on the unit sphere")
    figure.legend(loc="outside upper right", ncols=2, handlelength=1.2)
    names = ", ".join(item.name for item in found)
    alt = f"Distributions of distances between samples of the same and of different classes for {names}."
    return done(figure, name, f"{task}: genuine and impostor distances", alt)


@styled
def critical_difference(
    name: str,
    ranks: Mapping[str, float],
    groups: Sequence[Sequence[str]],
    difference: float,
    looks: Mapping[str, Look],
) -> Picture:
    """Demsar's diagram: recipes on an axis of average ranks; a bar joins those that were not told apart."""
    ordered = sorted(ranks, key=lambda key: (ranks[key], key))
    figure, axes = frame(rows=len(ordered) + len(groups), extra=0.75)
    for row, key in enumerate(ordered):
        color = looks[key].color
        axes.plot([ranks[key], ranks[key]], [-0.5, row + len(groups)], color=color, linewidth=0.9)
        (dot,) = axes.plot([ranks[key]], [row + len(groups)], marker=looks[key].marker, color=color, markersize=6)
        tip(dot, f"{key}: average rank {formats.score(ranks[key], 2)}")
    for row, group in enumerate(groups):
        places = [ranks[key] for key in group]
        (bar,) = axes.plot([min(places) - 0.04, max(places) + 0.04], [row, row], color=INK, linewidth=3.2,
                           solid_capstyle="round", alpha=0.8)  # fmt: skip
        tip(bar, f"not told apart: {', '.join(group)}")
    axes.set_xlim(0.8, len(ordered) + 0.2)
    axes.set_ylim(len(ordered) + len(groups) - 0.4, -0.6)
    axes.set_yticks(np.arange(len(ordered)) + len(groups), formats.short_names(ordered))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    tested = f"\ncritical difference {formats.score(difference, 2)}" if groups else ""
    axes.set_xlabel(f"average rank (1 is highest){tested}")
    found = ", ".join(f"{key} {formats.score(ranks[key], 2)}" for key in ordered)
    return done(figure, name, "Average ranks over all data sets", f"Average ranks: {found}.")
