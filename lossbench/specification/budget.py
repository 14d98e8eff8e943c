"""`[budget]` of an experiment file: how many studies, and how many runs each recipe gets in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer, field_validator

from lossbench.specification.values import Table, Whole


class Several(Table):
    """Studies until the top is decided: at least `least`, at most `most`; looks are those of the fixed schedule."""

    least: Annotated[Whole, Field(ge=1, le=10_000)]
    most: Annotated[Whole, Field(ge=1, le=10_000)]

    @field_validator("most")
    @classmethod
    def _not_fewer(cls, most: int, given: ValidationInfo) -> int:
        if most < given.data.get("least", 1):
            raise ValueError(f"{most} is fewer than the least, {given.data['least']}")
        return most


def _several(given: Any) -> Any:
    """A number of studies is that many at least and at most."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise ValueError(f"{given} is less than 1")
        return {"least": given, "most": given}
    if isinstance(given, (Mapping, Several)):
        return given
    raise ValueError(f"{given!r} is neither a whole number nor a table {{ least, most }}")


class Budget(Table):
    """How much every recipe gets; the same for all.

    Attributes:
        studies: repetitions of the whole task: a deal of the split, a search for every recipe, a choice, final runs.
        trials: points that the search of a recipe tries in a study; trial 0 is the default parameters.
        candidates: the highest trials that are tried again, beside the default, before one of them is chosen.
        candidate_seeds: fresh runs of each candidate, which alone decide.
        seeds: final runs of a recipe in a study.
        longer: studies, from the first, whose chosen points are trained for twice the epochs too, with the seeds of the
            first two final runs.
        racing: whether recipes that are clearly beaten leave (`lossbench.sweep.stopping`).
    """

    studies: Annotated[Several, BeforeValidator(_several)] = Several(least=7, most=7)
    trials: Annotated[Whole, Field(ge=1, le=10_000)] = 6
    candidates: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    candidate_seeds: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    seeds: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    longer: Annotated[Whole, Field(ge=0, le=10_000)] = 4
    racing: Annotated[bool, Field(strict=True)] = False

    @field_serializer("studies")
    def _as_written(self, studies: Several) -> Any:
        return studies.least if studies.least == studies.most else studies.model_dump()
