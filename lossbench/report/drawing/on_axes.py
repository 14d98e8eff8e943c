"""Figures of a task on axes of somebody else's, in colors for paper: what a notebook draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import seaborn

from lossbench.report.drawing.palette import MUTED, looks
from lossbench.report.writing import formats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def effects(verdicts: pd.DataFrame, recipes: list[str], ax: Axes) -> Axes:
    """Differences of recipes from one other with their unadjusted intervals, filled where a difference was shown.

    Args:
        verdicts: rows of `Results.verdicts` that share `b`; `a` is drawn in their order.
        recipes: all of the experiment, which have the colors of its page.
    """
    look = looks(recipes)
    ax.axvline(0, color=MUTED, linewidth=1)
    for row, pair in enumerate(verdicts.to_dict("records")):
        own = look[pair["a"]]
        ax.plot([pair["low"], pair["high"]], [row, row], color=own.color, linewidth=2)
        face = own.color if pair["verdict"] in ("better", "worse") else "white"
        ax.plot([pair["effect"]], [row], marker=own.marker, color=own.color, markerfacecolor=face, markersize=7)
    ax.set_yticks(range(len(verdicts)), formats.short_names([str(name) for name in verdicts["a"]]))
    ax.set_ylim(len(verdicts) - 0.5, -0.5)
    reference = verdicts["b"].iloc[0] if len(verdicts) else ""
    ax.set_xlabel(f"difference in test MAP@R from {reference}\nunadjusted 95 % intervals")
    return ax


def scores(of_studies: pd.DataFrame, ranking: pd.DataFrame, recipes: list[str], ax: Axes) -> Axes:
    """The score of every study as a dot, and the mean of each recipe with its unadjusted 95 % interval.

    Args:
        of_studies: rows of `Results.scores` of one task.
        ranking: rows of `Results.table` of that task, drawn from top to bottom.
        recipes: all of the experiment, which have the colors of its page.
    """
    look, order = looks(recipes), list(ranking["recipe"])
    palette = {name: look[name].color if name in look else MUTED for name in order}
    seaborn.stripplot(
        of_studies, x="score", y="recipe", order=order, hue="recipe", palette=palette, alpha=0.5, jitter=False,
        legend=False, ax=ax,
    )  # fmt: skip
    for row, one in enumerate(ranking.to_dict("records")):
        ax.plot([one["low"], one["high"]], [row, row], color=palette[one["recipe"]], linewidth=1.5)
        ax.plot([one["mean"]], [row], marker="D", color=palette[one["recipe"]], markeredgecolor="black")
    ax.set(xlabel="test MAP@R on the sphere", ylabel="")
    return ax
