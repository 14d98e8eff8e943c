"""Figures that no run stores: derived from curves and from the cost probe, one value a study or a round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lossbench.report.evidence.material import Material
from lossbench.specification.claims import EPOCHS_TO_95, LOSS_S, STEP_RELATIVE, STEP_S

BACKBONE = ""  # the probe's step without any loss
REACHED = 0.95


def values(material: Material, task: str, recipe: str, metric: str) -> dict[int, float]:
    """Study (of the probe: round) to a figure of the results table or a derived one; empty where there is none."""
    if metric == EPOCHS_TO_95:
        return epochs_to_95(material, task, recipe)
    if metric in (STEP_RELATIVE, STEP_S, LOSS_S):
        return probe_rounds(material, task, recipe, metric)
    return {study: value for study, value in material.values(task, recipe, metric).items() if value == value}


def epochs_to_95(material: Material, task: str, recipe: str) -> dict[int, float]:
    """The first epoch whose validation MAP@R is at 95 % of the last epoch's, the mean of each study."""
    found: dict[int, list[float]] = {}
    for study, run in zip(*(material.rows(task, recipe)[name] for name in ("study", "run_id")), strict=True):
        curve = [math.nan if value is None else value for value in _curve(material, str(run))]
        known = [value for value in curve if value == value]
        if known:
            epoch = next(i for i, value in enumerate(curve) if value >= REACHED * known[-1])
            found.setdefault(int(study), []).append(float(epoch))
    return {study: math.fsum(epochs) / len(epochs) for study, epochs in found.items()}


def probe_rounds(material: Material, task: str, recipe: str, metric: str) -> dict[int, float]:
    """Seconds of a step, or what it takes beside or in units of the backbone's own step in the same round."""
    steps, backbone = (probed(material, task).get(name, {}).get("step_s", []) for name in (recipe, BACKBONE))
    if metric == STEP_S:
        return dict(enumerate(steps))
    if metric == LOSS_S:
        return {turn: step - bare for turn, (step, bare) in enumerate(zip(steps, backbone, strict=False))}
    return {turn: step / bare for turn, (step, bare) in enumerate(zip(steps, backbone, strict=False))}


def probed(material: Material, task: str) -> Mapping[str, Mapping[str, list[float]]]:
    """Recipe to part to seconds by round, as the cost probe measured them; empty where it did not."""
    found: Any = (material.probe or {}).get("tasks", {}).get(task, {}).get("recipes", {})
    return found if isinstance(found, Mapping) else {}


def _curve(material: Material, run: str) -> list[float | None]:
    found: list[float | None] = material.record(run).get("curves", {}).get("val_map_at_r", [])
    return found
