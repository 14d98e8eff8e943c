"""The parts of the variance of each effect as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lossbench.report.drawing.figures import Picture, done, frame
from lossbench.report.drawing.palette import COLORS
from lossbench.report.drawing.svg import INK, styled, tip
from lossbench.report.evidence.variance import Parts
from lossbench.report.writing import formats


@styled
def variance(name: str, task: str, reference: str, found: Sequence[Parts]) -> Picture:
    """One bar an effect, of the length of its variance; its parts are studies, seeds and test classes."""
    figure, axes = frame(rows=len(found), extra=0.95)
    sources = list(found[0].shares)
    drawn = {source: np.array([part.variance * part.shares[source] for part in found]) for source in sources}
    drawn = {source: values for source, values in drawn.items() if values.any()}
    left = np.zeros(len(found))
    for index, (label, values) in enumerate(drawn.items()):
        bars = axes.barh(
            range(len(found)), values, left=left, height=0.62, color=COLORS[index], label=label, alpha=0.85
        )
        for bar, part, value in zip(bars, found, values, strict=True):
            tip(bar, f"{part.a}, {label}: {formats.share(value / part.variance)}")
        left += values
    for row, part in enumerate(found):
        axes.text(part.variance, row, f"  {formats.score(part.variance**0.5, 4)}", va="center", fontsize=7, color=INK)
    axes.set_yticks(range(len(found)), formats.short_names([part.a for part in found]))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{1e6 * value:g}")
    axes.set_xlabel("variance of the effect, 10⁻⁶\n(right: standard error)")
    figure.legend(loc="outside upper left", ncols=len(drawn), handlelength=1.1, columnspacing=1.2)
    shown = "; ".join(
        f"{part.a}: "
        + ", ".join(f"{label} {formats.share(values[row] / part.variance)}" for label, values in drawn.items())
        for row, part in enumerate(found)
    )
    picture = done(figure, name, f"{task}: where the variance of effects comes from", f"Shares of variance. {shown}.")
    return replace(picture, caption=f"Of the effects against {reference}.")
