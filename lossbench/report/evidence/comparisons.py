"""The comparisons of an experiment: every two recipes on every figure that a table or a sentence speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lossbench.report.evidence import derived
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.specification import primary
from lossbench.specification.claims import STEP_RELATIVE
from lossbench.specification.experiment import UNSEEDED
from lossbench.statistics.effects import MeanInterval, mean_interval
from lossbench.statistics.verdicts import Comparison, Constant, Scores, compare_all

EQUIVALENCE = {PRIMARY: primary.EQUIVALENCE}  # half the width of a figure's region of practical equivalence


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of definitions: its column, how a reader calls it, and which direction is wanted (0: neither)."""

    column: str
    label: str
    direction: int


QUALITY = (
    Figure("test.sphere.map_at_r", "MAP@R", 1),
    Figure("test.euclidean.map_at_r", "MAP@R, raw", 1),
    Figure("test.sphere.mean_average_precision", "mAP", 1),
    Figure("test.sphere.cmc_at_1", "CMC@1", 1),
    Figure("test.sphere.cmc_at_5", "CMC@5", 1),
    Figure("test.sphere.cmc_at_10", "CMC@10", 1),
    Figure("test.sphere.precision_at_1", "P@1", 1),
    Figure("test.sphere.r_precision", "R-precision", 1),
    Figure("test.sphere.recall_at_2", "R@2", 1),
    Figure("test.sphere.recall_at_4", "R@4", 1),
    Figure("test.sphere.recall_at_8", "R@8", 1),
    Figure("test.head_accuracy", "head accuracy", 1),
    Figure("test.sphere.nearest_mean_accuracy", "nearest mean", 1),
    Figure("test.sphere.knn_accuracy", "5-NN", 1),
    Figure("test.sphere.auc", "ROC AUC", 1),
    Figure("test.sphere.eer", "EER", -1),
    Figure("test.sphere.tar_at_far_0.1", "TAR at FAR 0.1", 1),
    Figure("test.sphere.tar_at_far_0.01", "TAR at FAR 0.01", 1),
    Figure("test.sphere.tar_at_far_0.001", "TAR at FAR 0.001", 1),
    Figure("test.sphere.fold_accuracy", "fold accuracy", 1),
    Figure("test.sphere.few_shot_5way_1shot", "5-way 1-shot", 1),
    Figure("test.sphere.few_shot_5way_5shot", "5-way 5-shot", 1),
    Figure("test.sphere.few_shot_20way_1shot", "20-way 1-shot", 1),
    Figure("test.sphere.few_shot_20way_5shot", "20-way 5-shot", 1),
)
FOLD_ACCURACY = next(figure for figure in QUALITY if figure.column == "test.sphere.fold_accuracy")
DISTANCES = (
    ("intra_mean", "intra mean", 0),
    ("inter_mean", "inter mean", 0),
    ("inter_nearest", "inter nearest", 0),
    ("intra_inter_ratio", "intra/inter", -1),
    ("scatter_ratio", "scatter ratio", -1),
    ("d_prime", "d′", 1),
    ("pi_ratio", "π ratio", -1),
    ("effective_rank", "effective rank", 0),
    ("rho", "ρ", 0),
)
BOUNDED = frozenset(figure.column.partition(".")[2] for figure in QUALITY)  # shares, of whichever split
COMPACTNESS = ("intra_inter_ratio", "scatter_ratio")
SPACES = ("sphere", "euclidean")


def distance_figures(space: str) -> tuple[Figure, ...]:
    """The distance statistics of one space as figures."""
    return tuple(Figure(f"test.{space}.{name}", label, direction) for name, label, direction in DISTANCES)


class Evidence:
    """Comparisons, computed once each and kept."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self._comparisons: dict[tuple[str, str, bool], Comparison | None] = {}
        self._step_times: dict[str, Comparison | None] = {}

    def comparison(self, task: str, figure: Figure, *, baselines: bool = False) -> Comparison | None:
        """All pairs of recipes on one figure; None where nobody has it or it has no wanted direction.

        Failed and missing studies stay in as NaN, so that the comparison knows it is incomplete. Baselines are
        no recipes and stay out of the family, unless asked for: each recipe against each baseline is another question,
        and a family of its own.
        """
        key = (task, figure.column, baselines)
        if key not in self._comparisons:
            self._comparisons[key] = self._compare(task, figure, baselines)
        return self._comparisons[key]

    @cached_property
    def primary(self) -> Mapping[str, Comparison | None]:
        """The confirmatory comparison of each task."""
        return {task: self.comparison(task, QUALITY[0]) for task in self.material.tasks}

    def step_times(self, task: str) -> Comparison | None:
        """All pairs of recipes on their step in units of the bare network's, paired over rounds of the cost probe."""
        if task not in self._step_times:
            rounds = {
                name: derived.probe_rounds(self.material, task, name, STEP_RELATIVE) for name in self.material.recipes
            }
            found = {name: values for name, values in rounds.items() if values}
            self._step_times[task] = compare_all(found, higher_is_better=False, sequential=False) if found else None
        return self._step_times[task]

    def _compare(self, task: str, figure: Figure, baselines: bool) -> Comparison | None:
        if not figure.direction:
            return None
        scores: dict[str, Scores] = {recipe: self._scores(task, recipe, figure) for recipe in self.material.recipes}
        if baselines:
            scores |= {name: self._baseline(task, name, figure) for name in self.material.baselines}
        if not any(isinstance(found, Constant) or any(v == v for v in found.values()) for found in scores.values()):
            return None
        dropped = {name: last for name, last in self.material.dropped(task).items() if name in scores}
        return compare_all(
            scores,
            higher_is_better=figure.direction > 0,
            equivalence=EQUIVALENCE.get(figure.column),
            bounds=bounds(figure.column),
            dropped=dropped,
            **({"family": "against", "others": self.material.baselines} if baselines else self._family),
        )

    @cached_property
    def _family(self) -> dict[str, Any]:
        """Which pairs of recipes are tested, as the sweep decided by when it stopped or went on."""
        recipes = self.material.recipes
        name = primary.family(recipes)
        return {"family": name, "reference": primary.reference(recipes) if name == "leaders" else None}

    def _scores(self, task: str, recipe: str, figure: Figure) -> dict[int, float]:
        """Of complete studies only: the looks count those, and a study under way is none."""
        found = self.material.values(task, recipe, figure.column)
        return {study: found[study] for study in self.material.complete(task, recipe)}

    def _baseline(self, task: str, name: str, figure: Figure) -> Scores:
        found = self.material.values(task, name, figure.column)
        if name in UNSEEDED and len(found) == 1:  # no seed enters it
            return Constant(value=next(iter(found.values())))
        return found


def bounds(column: str) -> tuple[float, float] | None:
    """The lowest and the highest value of a figure of quality, of whichever split; None: it has no such bounds."""
    return (0.0, 1.0) if column.partition(".")[2] in BOUNDED else None


def summary(material: Material, task: str, recipe: str, column: str, role: str | None = None) -> MeanInterval:
    """Mean over studies with its t interval; scalars in arrays of no axis."""
    values = np.array(list(material.values(task, recipe, column, role).values()), dtype=float)
    return mean_interval(values if values.size else np.array([np.nan]), bounds=bounds(column))
