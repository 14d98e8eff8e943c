"""What an experiment file says: frozen and validated, names not yet looked up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from lossbench.plugins.mistakes import nearest
from lossbench.specification.budget import Budget
from lossbench.specification.pretrained import Pretrained
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Negatives, Training
from lossbench.specification.values import Name, Number, Table, Whole

UNSEEDED = ("pixels", "features")  # baselines into which neither seed nor deal enters: the samples as they are
OF_VECTORS = ("features", "pca", "lda")  # baselines of tasks whose samples are vectors
Neck = Literal["none", "batchnorm"]  # between the backbone and the losses that see the embedding after it
Seen = Literal["before", "after"]  # the neck


class RecipeEntry(Table):
    """A recipe under a name of the experiment's own: `{ name = "weak", use = "softmax+center" }`.

    A plain string is both. `neck`, `negatives`: its own in place of the experiment's.
    """

    later = ("negatives",)

    name: Name
    use: Name
    neck: Neck | None = None
    negatives: Negatives | None = None


def _recipe_entry(item: Any) -> Any:
    return {"name": item, "use": item} if isinstance(item, str) else item


def _two_sides(given: Any) -> Any:
    """A recipe, and another one or a number: all that a comparison can be."""
    sides = tuple(given) if isinstance(given, (list, tuple)) else ()
    kinds = [isinstance(side, str) and bool(side) for side in sides]
    number = len(sides) == 2 and type(sides[1]) in (int, float) and math.isfinite(sides[1])
    if len(sides) != 2 or not kinds[0] or not (kinds[1] or number):
        raise ValueError(f"{given!r} is neither [recipe, recipe] nor [recipe, number]")
    if sides[0] == sides[1]:
        raise ValueError(f"{sides[0]!r} is compared with itself")
    return sides


class Claim(Table):
    """What an experiment expects of one figure; claims of one text are parts of one claim.

    Attributes:
        metric: a column of the results table, or a figure that `lossbench.specification.claims` derives.
        comparison: a recipe, and the recipe or the number that it is held against.
        direction: what is claimed of the first side. `higher`, `lower`: by `smallest_effect` at least; `not lower`,
            `not higher`: by less than that, if at all; `equal`: within that much either way.
        smallest_effect: the smallest effect that matters, in the unit of the metric.
        task: a task, a data set or a protocol that the claim is about; absent, every task.
        source: who claimed it.
    """

    text: Annotated[str, Field(min_length=1, max_length=500)]
    metric: Name
    comparison: Annotated[tuple[str, str | float], BeforeValidator(_two_sides)]
    direction: Literal["higher", "lower", "not lower", "not higher", "equal"]
    smallest_effect: Annotated[Number, Field(ge=0)]
    task: Name | None = None
    source: str = ""

    @field_validator("smallest_effect")
    @classmethod
    def _matters(cls, effect: float, given: ValidationInfo) -> float:
        direction = given.data.get("direction")
        if effect == 0 and direction in ("equal", "not lower", "not higher"):
            raise ValueError(f"0 leaves nothing to show of {direction!r}; it must be positive")
        return effect


class Resources(Table):
    """What one run takes of the machine it runs on; no part of what the run is.

    Attributes:
        cpus: cores. A run computes on one thread; more leave room for what its libraries start.
        gpus: share of a GPU, 0.25 for four runs on one; above 1, whole GPUs.
        checkpoint_s: seconds after which the state of a run is kept, at the end of an epoch; absent, never.
    """

    cpus: Annotated[Number, Field(gt=0, le=4096)] = 1.0
    gpus: Annotated[Number, Field(ge=0, le=1024)] = 0.0
    checkpoint_s: Annotated[Number, Field(ge=0, le=1e6)] | None = None


def _seen(given: Any) -> Any:
    """Where a loss looks, or a table of such."""
    for place in given.values() if isinstance(given, Mapping) else (given,):
        if place not in get_args(Seen):
            raise ValueError(f"{place!r} is not 'before' or 'after' the neck{nearest(str(place), get_args(Seen))}")
    return given


class Experiment(Table):
    """The experiment file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    question: str = ""
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0  # of all that is random: another one repeats the whole work
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    backbone: Name
    embedding_dim: Annotated[Whole, Field(ge=1, le=65536)] = 32
    neck: Neck = "none"
    recipes: Annotated[tuple[Annotated[RecipeEntry, BeforeValidator(_recipe_entry)], ...], Field(min_length=1)]
    baselines: tuple[Literal["untrained", "pixels", "features", "pca", "lda"], ...] = ("untrained", "pixels")
    plugins: tuple[str, ...] = ()
    training: Training = Training()
    pretrained: Pretrained | None = None
    budget: Budget = Budget()
    resources: Resources = Resources()
    params: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    # by loss, for all recipes; by recipe and loss, for one
    terms: Mapping[str, Annotated[Any, BeforeValidator(_seen)]] = Field(default_factory=dict)
    claims: tuple[Claim, ...] = ()

    @field_validator("tasks", "recipes", "baselines", "plugins")
    @classmethod
    def _listed_once(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        counts = Counter(_name_of(item) for item in items)
        twice = [repr(name) for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} is listed twice")
        return items


def _name_of(item: Any) -> str:
    match item:
        case Task():
            return item.key
        case RecipeEntry():
            return item.name
        case _:
            return str(item)
