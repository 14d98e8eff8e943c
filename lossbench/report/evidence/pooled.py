"""Trials of all studies together: a single search is short."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lossbench.report.evidence.material import VALIDATION, Material


def trials(material: Material, task: str, recipe: str, columns: Sequence[str]) -> pd.DataFrame:
    """Finished trials that have these columns, in the order of the search, centered by study.

    Validation MAP@R is less the study's mean and as much higher as the mean of all: deals differ in height, and that
    says nothing about parameters. No rows where a column is unknown.
    """
    found = material.rows(task, recipe, "trial")
    if not {*columns, VALIDATION} <= set(found.columns):
        return found.iloc[:0]
    found = found.dropna(subset=[*columns, VALIDATION]).sort_values(["study", "trial"])
    scores = found[VALIDATION].astype(float)
    means = scores.groupby(found["study"]).transform("mean")
    return found.assign(**{VALIDATION: scores - means + scores.mean()})
