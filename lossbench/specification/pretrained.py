"""`[pretrained]` of an experiment file: the weights that the network starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from lossbench.specification.values import Number, Table


def _factor(given: Any) -> Any:
    """A number is a range of that number alone."""
    if isinstance(given, (Mapping, Factor)):
        return given
    if type(given) not in (int, float):
        raise ValueError(f"{given!r} is neither a number nor a table {{ low, high, log }}")
    if not 0 <= given <= 1000:
        raise ValueError(f"{given:g} is outside [0, 1000]")
    return {"low": given, "high": given}


class Factor(Table):
    """A factor of the learning rate: one for all recipes, or a range that every recipe searches."""

    low: Annotated[Number, Field(ge=0, le=1000)]
    high: Annotated[Number, Field(ge=0, le=1000)]
    log: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _in_order(self) -> Factor:
        if self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is more than high, {self.high:g}")
        if self.log and not self.low:
            raise ValueError("a logarithmic range starts above 0")
        return self

    @property
    def searched(self) -> bool:
        """Whether there is something to search."""
        return self.low < self.high

    @property
    def middle(self) -> float:
        """The middle of the range by its own scale; the value where it is one."""
        if not self.searched:
            return self.low
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2


class Pretrained(Table):
    """The weights that the network starts from, the same for every recipe.

    Attributes:
        weights: a file of tensors, relative to the experiment file or to the working directory. What it fills is the
            trunk; what it lacks, or has in another shape, starts anew and must be the network's last layers.
        freeze: whether the trunk stays as it came.
        lr_factor: of the learning rate for the trunk.
    """

    weights: Annotated[str, Field(min_length=1)]
    freeze: Annotated[bool, Field(strict=True)] = False
    lr_factor: Annotated[Factor, BeforeValidator(_factor)] = Factor(low=1.0, high=1.0)

    @field_serializer("lr_factor")
    def _as_written(self, factor: Factor) -> Any:
        return factor.model_dump() if factor.searched else factor.low

    @model_validator(mode="after")
    def _something_to_train(self) -> Pretrained:
        if self.freeze and (self.lr_factor.searched or self.lr_factor.low != 1.0):
            raise ValueError("lr_factor is that of a trunk that is trained; leave it or `freeze` out")
        return self
