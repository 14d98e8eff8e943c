"""Where the variance of an effect comes from: studies, seeds within a study, and which classes are tested.

A study's effect is the mean over its final seeds, so the variance between studies holds the seeds' share: what is left
of it belongs to the study (search and deal together: only a crossed design could tell those apart). Test classes come
from the delete-a-group jackknife of the arrays that first final runs keep. All are variances of the printed effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.statistics.effects import FloatArray

JACKKNIFE = "jackknife.sphere.map_at_r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Parts of the variance of the mean paired difference a - b over `studies` studies of `seeds` final runs each.

    `seed` is NaN with one seed a study (it is then part of `study`), `classes` NaN where no run kept a jackknife.
    """

    a: str
    b: str
    studies: int
    seeds: int
    study: float
    seed: float
    classes: float

    @property
    def total(self) -> float:
        """All that is known of it."""
        return math.fsum(part for part in (self.study, self.seed, self.classes) if part == part)

    @property
    def studies_to_halve(self) -> int:
        """Studies at which the interval over studies is half as wide."""
        return 4 * self.studies

    @property
    def seeds_to_halve(self) -> int | None:
        """Final runs a study at which it is; None where no number is enough."""
        over_studies = self.study + (self.seed if self.seed == self.seed else 0.0)
        left = over_studies / 4 - self.study
        if math.isnan(self.seed) or left <= 0 or self.seed == 0:
            return None
        return math.ceil(self.seeds * self.seed / left)


def shares(material: Material, task: str, a: str, b: str) -> Shares | None:
    """The parts of one effect; None with fewer than two studies."""
    differences = _differences(material, task, a, b)
    effects = [float(np.mean(own)) for own in differences.values()]
    n = len(effects)
    if n < 2:
        return None
    between = float(np.var(effects, ddof=1)) / n
    counts = [len(own) for own in differences.values()]
    seed = math.nan
    if min(counts) > 1:
        within = float(np.mean([np.var(own, ddof=1) / len(own) for own in differences.values()]))
        seed = min(within / n, between)
    return Shares(
        a=a,
        b=b,
        studies=n,
        seeds=min(counts),
        study=between if math.isnan(seed) else between - seed,
        seed=seed,
        classes=class_variance(material, task, a, b),
    )


def class_variance(material: Material, task: str, a: str, b: str) -> float:
    """Jackknife variance over groups of test classes of the mean difference of the first final runs; NaN without."""
    without = [_without(material, task, name) for name in (a, b)]
    studies = sorted(set(without[0]) & set(without[1]))
    if not studies:
        return math.nan
    found = np.mean([without[0][study] - without[1][study] for study in studies], axis=0)
    groups = len(found)
    return float((groups - 1) / groups * np.square(found - found.mean()).sum())


def _without(material: Material, task: str, recipe: str) -> dict[int, FloatArray]:
    """Study to MAP@R without each group, of its first final run."""
    rows = material.whole(task, recipe)
    found = {int(study): material.arrays(str(run)) for study, run in zip(rows["study"], rows["run_id"], strict=True)}
    return {study: arrays[JACKKNIFE].astype(float) for study, arrays in found.items() if JACKKNIFE in arrays}


def _differences(material: Material, task: str, a: str, b: str) -> dict[int, list[float]]:
    """Study to the paired differences of its seeds, which share weights and batches."""
    one, other = (_by_seed(material, task, name) for name in (a, b))
    found: dict[int, list[float]] = {}
    for study, seed in sorted(one.keys() & other.keys()):
        found.setdefault(study, []).append(one[study, seed] - other[study, seed])
    return found


def _by_seed(material: Material, task: str, recipe: str) -> dict[tuple[int, int], float]:
    """(study, seed) to test MAP@R, the mean over folds where there are any."""
    rows = material.rows(task, recipe)
    if PRIMARY not in rows:
        return {}
    means = rows.groupby(["study", "seed"], as_index=False)[PRIMARY].mean().dropna()
    return {
        (int(study), int(seed)): float(value)
        for study, seed, value in zip(means["study"], means["seed"], means[PRIMARY], strict=True)
    }
