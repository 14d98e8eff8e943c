"""Figures that no run stores: derived from curves and from the cost probe, one value a study or a round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossbench.report.evidence.material import Material
from lossbench.specification.claims import LOSS_S, STEP_RELATIVE, STEP_S, STEPS_TO_SCORE

BACKBONE = ""  # the probe's step without any loss
REACHED = 0.95


def values(material: Material, task: str, recipe: str, metric: str) -> dict[int, float]:
    """Study (of the probe: round) to a figure of the results table or a derived one; empty where there is none."""
    if metric == STEPS_TO_SCORE:
        return dict(steps_to_score(material, task, recipe).steps)
    if metric in (STEP_RELATIVE, STEP_S, LOSS_S):
        return probe_rounds(material, task, recipe, metric)
    return {study: value for study, value in material.values(task, recipe, metric).items() if value == value}


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps to a fixed score, by study; `censored` are the studies in which it was never reached, at the last step."""

    steps: Mapping[int, float]
    censored: frozenset[int]


def steps_to_score(material: Material, task: str, recipe: str) -> Steps:
    """The first validated step at which the mean validation curve of a study is at the task's fixed score.

    The score is the same for every recipe and study: 95 % of the reference's mean validation MAP@R at the last epoch.
    Where a curve never gets there the last step stands, and the study is censored: more steps may have been needed.
    """
    score = REACHED * _last_score(material, task)
    curves, steps = material.curves(task, recipe, "val_map_at_r"), _steps_per_epoch(material, task)
    epochs = material.epochs(task, recipe)
    studies = sorted({int(study) for study in material.rows(task, recipe)["study"]})
    found, censored = {}, set()
    for study, curve in zip(studies, curves, strict=True):
        known = np.flatnonzero(np.isfinite(curve))
        if not known.size or math.isnan(score):
            continue
        there = known[curve[known] >= score]
        found[study] = float(epochs[there[0] if there.size else known[-1]] * steps)
        if not there.size:
            censored.add(study)
    return Steps(found, frozenset(censored))


def _last_score(material: Material, task: str) -> float:
    curves = material.curves(task, material.reference, "val_map_at_r")
    ends = [float(curve[np.isfinite(curve)][-1]) for curve in curves if np.isfinite(curve).any()]
    return math.fsum(ends) / len(ends) if ends else math.nan


def _steps_per_epoch(material: Material, task: str) -> int:
    """Full batches of the training split; 1 where its size is not known, so that steps are epochs."""
    images = material.plan.get("train_images", {}).get(task)
    batch = material.experiment["training"].get("batch_size")
    return max(1, int(images) // int(batch)) if images and batch else 1


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
