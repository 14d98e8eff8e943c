"""What an experiment file is made of: tables without unknown keys, and values that are taken as they stand."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]  # a name, or a path
Value = float | int | str  # of a parameter


class Table(BaseModel):
    """A table of an experiment file: unknown keys are mistakes, values never change.

    Attributes:
        later: keys that are written only where they are used, as what was stored before they came does not have them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in written(self).items() if name not in unused}
