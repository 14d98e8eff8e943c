"""A planned run, the role it plays, and what is read off its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lossbench.specification.primary import PRIMARY, VALIDATION
from lossbench.specification.spec import RunSpec
from lossbench.specification.values import Value

# Every role, in the order of a study's rows; `pilot` runs find the epochs before the first study.
ROLES = ("pilot", "trial", "candidate", "final", "default", "longer", "baseline")
FINAL_ROLES = ("final", "default", "longer")  # runs of recipes that score test

KINDS = ("pilot", "trials", "finals", "longer")  # of runs that take alike long: the fields of `plan.Counts`, and pilots
KIND_OF = {"pilot": "pilot", "trial": "trials", "candidate": "trials", "longer": "longer"}  # by role; all else is final

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run and the role it plays: one row of the results table.

    Attributes:
        number: which of the equal runs of its role it is, from 1; 0 for a trial. Its seed follows from it.
    """

    spec: RunSpec
    study: int
    recipe: str
    role: str
    trial: int | None
    number: int
    params: dict[str, Value] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of runs that take about as long: one of KINDS."""
        return KIND_OF.get(self.role, "finals")

    def row(self) -> dict[str, Any]:
        """The row of the plan file."""
        return {
            "dataset": self.spec.task.dataset,
            "protocol": self.spec.task.key.removeprefix(f"{self.spec.task.dataset}/"),
            "study": self.study,
            "recipe": self.recipe,
            "role": self.role,
            "trial": self.trial,
            "seed": self.number,
            "fold": self.spec.fold,
            "run_id": self.spec.run_id,
            "params": self.params,
        }


def objective(record: Record) -> float | None:
    """What tuning maximizes: validation MAP@R on the sphere at the best epoch; None for a failed run."""
    return None if record["status"] == "failed" else _figure(record, VALIDATION)


def final_score(record: Record) -> float | None:
    """What verdicts rest on: test MAP@R on the sphere; None for a failed run."""
    return None if record["status"] == "failed" else _figure(record, PRIMARY)


def mean(scores: Sequence[float | None]) -> float:
    """A study's score of a recipe from those of its final runs; NaN where one failed."""
    known = [score for score in scores if score is not None]
    return math.fsum(known) / len(known) if len(known) == len(scores) else math.nan


def _figure(record: Record, column: str) -> float:
    split, _, name = column.partition(".")
    return float(record["metrics"][split][name])
