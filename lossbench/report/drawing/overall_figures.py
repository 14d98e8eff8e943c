"""The figures of all tasks together: how losses scale, ranks and profiles of several data sets, wrong labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lossbench.report.drawing import cost_figures, figures, panels, sweep_figures
from lossbench.report.drawing.attempts import Attempts, LeftOut
from lossbench.report.drawing.figures import Line, Picture
from lossbench.report.drawing.palette import looks
from lossbench.report.evidence.overall import Overall
from lossbench.report.sections import costs

Draw = Callable[[Overall, str], Picture | None]  # of the scores of all tasks, and the figure's name


def pictures(overall: Overall) -> tuple[dict[str, Picture], tuple[LeftOut, ...]]:
    """Every figure of all tasks that their runs allow, by kind; and those that could not be drawn."""
    attempt = Attempts("all tasks together")
    found = {kind: attempt(title, partial(draw, overall, f"all-{kind}")) for kind, (title, draw) in FIGURES.items()}
    return {kind: picture for kind, picture in found.items() if picture is not None}, tuple(attempt.left_out)


def _scaling(overall: Overall, name: str) -> Picture | None:
    measured = costs.scaling(overall.material)
    if not measured:
        return None
    return replace(cost_figures.scaling(name, measured, costs.SCALES), caption=costs.scaling_note(overall.material))


def _ranks(overall: Overall, name: str) -> Picture | None:
    if not overall.telling:
        return None
    look = looks(overall.material.recipes)
    return panels.critical_difference(name, overall.ranks, overall.groups, overall.critical_difference, look)


def _profiles(overall: Overall, name: str) -> Picture | None:
    if not overall.telling:
        return None
    thresholds, profiles = overall.profiles()
    nothing = np.full(thresholds.shape, np.nan)
    lines = [
        Line(name=recipe, x=thresholds, mean=profile, low=nothing, high=nothing) for recipe, profile in profiles.items()
    ]
    look, title = looks(overall.material.recipes), "share of runs above a score"
    drawn = figures.curves(name, "All data sets", lines, look, title=title, ylabel=title, xlabel="test MAP@R")
    return replace(drawn, caption="Performance profiles: every data set weighs alike.")


def _noise(overall: Overall, name: str) -> Picture | None:
    return sweep_figures.noise_picture(overall.material, name)


FIGURES: Mapping[str, tuple[str, Draw]] = {
    "scaling": ("time of each loss by size", _scaling),
    "ranks": ("average ranks", _ranks),
    "profiles": ("share of runs above a score", _profiles),
    "noise": ("quality by wrong labels", _noise),
}
