"""The parts of an effect's variance, from its final runs and from what first final runs keep of the test classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.statistics.components import Components, variance_components
from lossbench.statistics.effects import FloatArray
from lossbench.statistics.jackknife import ClassInterval, class_interval

JACKKNIFE = "jackknife.sphere.map_at_r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Of the effect of `a` against `b`; `classes` is its interval on other test classes, None where there is none."""

    a: str
    b: str
    components: Components
    classes: ClassInterval | None

    @property
    def shares(self) -> dict[str, float]:
        """Share of each source in the variance of the printed effect."""
        return self.components.shares

    @property
    def variance(self) -> float:
        """Of the printed effect, all sources together."""
        found = self.components
        seed = 0.0 if np.isnan(found.seed) else found.seed / found.seeds
        return (found.study + seed) / found.studies + found.classes


def parts(material: Material, task: str, a: str, b: str) -> Parts | None:
    """The parts of one effect; None with fewer than two studies, or where nothing varies."""
    differences = _differences(material, task, a, b)
    if len(differences) < 2:
        return None
    classes = _classes(material, task, a, b)
    of_classes = (
        max(0.0, classes.class_variance) if classes and classes.class_variance == classes.class_variance else 0.0
    )
    found = Parts(a=a, b=b, components=variance_components(differences, classes=of_classes), classes=classes)
    return found if found.variance > 0 else None


def _classes(material: Material, task: str, a: str, b: str) -> ClassInterval | None:
    """From the first final runs, which kept their scores without each group of test classes.

    None where studies test other classes: these are then part of what varies between studies.
    """
    if not material.one_test(task):
        return None
    one, other = (_without(material, task, name) for name in (a, b))
    studies = sorted(one.keys() & other.keys())
    if len(studies) < 2:
        return None
    scores = np.array([one[study][0] - other[study][0] for study in studies])
    without = np.stack([one[study][1] - other[study][1] for study in studies])
    return class_interval(scores, without, bounds=(-1.0, 1.0))


def _without(material: Material, task: str, recipe: str) -> dict[int, tuple[float, FloatArray]]:
    """Study to MAP@R of its first final run, and to the same without each group of test classes."""
    rows, found = material.whole(task, recipe), {}
    if PRIMARY not in rows:
        return {}
    for study, run, score in zip(rows["study"], rows["run_id"], rows[PRIMARY], strict=True):
        arrays = material.arrays(str(run))
        if JACKKNIFE in arrays:
            found[int(study)] = float(score), arrays[JACKKNIFE].astype(float)
    return found


def _differences(material: Material, task: str, a: str, b: str) -> FloatArray:
    """(studies, seeds) paired differences, NaN where a study lacks a seed."""
    one, other = (_by_seed(material, task, name) for name in (a, b))
    common = sorted(key for key in one.keys() & other.keys() if np.isfinite(one[key] - other[key]))
    studies, seeds = (sorted({key[axis] for key in common}) for axis in (0, 1))
    table = np.full((len(studies), len(seeds)), np.nan)
    for study, seed in common:
        table[studies.index(study), seeds.index(seed)] = one[study, seed] - other[study, seed]
    return table


def _by_seed(material: Material, task: str, recipe: str) -> dict[tuple[int, int], float]:
    rows = material.rows(task, recipe)
    if PRIMARY not in rows:
        return {}
    return {
        (int(study), int(seed)): float(score)
        for study, seed, score in zip(rows["study"], rows["seed"], rows[PRIMARY], strict=True)
    }
