"""Distances within and between classes of every recipe, in both spaces, on one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from lossbench.report.drawing.figures import Picture, done, frame, name_rows, plain_log, right_labels
from lossbench.report.drawing.palette import MUTED, Look
from lossbench.report.drawing.svg import CARD, FAINT, INK, styled, tip
from lossbench.report.writing import formats

SPACES = ("sphere", "raw")
APART = 0.19  # of a row between the two spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of one recipe in one space: distance to the own class's mean, to the nearest other class mean, and their ratio.

    `low` and `high` are the ratio's 95 % interval.
    """

    intra: float
    inter: float
    ratio: float
    low: float
    high: float


@styled
def compactness(name: str, task: str, found: Mapping[str, Mapping[str, Spread]], looks: Mapping[str, Look]) -> Picture:
    """One row a recipe: a bar from the distance within to that between classes, of the sphere above that of raw.

    The axis is logarithmic, so the length of a bar is the ratio, whatever the scale of the embeddings.
    """
    figure, axes = frame(rows=len(found), row=0.38, extra=1.0)
    for row, (recipe, spreads) in enumerate(found.items()):
        color = looks[recipe].color if recipe in looks else MUTED
        for space, spread in spreads.items():
            _bar(axes, row + APART * (1 if space == "raw" else -1), recipe, space, spread, color)
    axes.set_xscale("log")
    axes.margins(x=0.04)
    plain_log(axes.xaxis)
    name_rows(axes, list(found))
    right_labels(axes, [_ratios(spreads) for spreads in found.values()])
    axes.set_xlabel("distance, log scale\nright: intra/inter, sphere | raw")
    figure.legend(handles=_legend(), loc="outside upper left", ncols=2, handletextpad=0.3, columnspacing=1.0)
    said = "; ".join(f"{recipe} {_ratios(spreads)}" for recipe, spreads in found.items())
    alt = f"Distances within and between classes; intra/inter on the sphere and raw: {said}."
    return done(figure, name, f"{task}: how compact classes are", alt)


def _bar(axes: Any, y: float, recipe: str, space: str, spread: Spread, color: str) -> None:
    face = color if space == "sphere" else CARD
    axes.plot([spread.intra, spread.inter], [y, y], color=color, linewidth=1.5, alpha=0.75)
    for value, marker, kind in ((spread.intra, "o", "intra"), (spread.inter, "s", "inter")):
        (mark,) = axes.plot([value], [y], marker=marker, markersize=5, color=color, markerfacecolor=face,
                            markeredgewidth=1.2, linestyle="none")  # fmt: skip
        ratio = f"intra/inter {formats.score(spread.ratio)} {formats.interval(spread.low, spread.high)}"
        tip(mark, f"{recipe}, {space}: {kind} {formats.significant(value)}; {ratio}")


def _ratios(spreads: Mapping[str, Spread]) -> str:
    return " | ".join(formats.score(spreads[space].ratio, 2) if space in spreads else formats.NONE for space in SPACES)


def _legend() -> Sequence[Line2D]:
    """Marks say which distance, their filling in which space."""
    return [
        Line2D([], [], linestyle="none", marker=marker, color=color, markerfacecolor=face, label=label, markersize=5)
        for marker, color, face, label in (
            ("o", INK, INK, "intra: to the own class's mean"),
            ("s", INK, INK, "inter: to the nearest other class"),
            ("D", FAINT, FAINT, "filled: on the sphere"),
            ("D", FAINT, CARD, "hollow: raw"),
        )
    ]
