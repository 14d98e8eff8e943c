"""What an experiment file is made of: tables without unknown keys, and values that are taken as they stand."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]  # a name, or a path
Value = float | int | str  # of a parameter


class Table(BaseModel):
    """A table of an experiment file: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
