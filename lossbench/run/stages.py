"""The stages of a run: which epochs each has, and what is its own while it trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lossbench.run.augmentation import Augmentation
from lossbench.run.model import Model
from lossbench.run.optimizer import make_optimizer
from lossbench.run.seeding import stream
from lossbench.specification.spec import RunSpec, Stage


@dataclass(slots=True)
class Turn:
    """A stage under way: optimizer, schedule and streams are its own.

    Attributes:
        taken: steps of the stages before it.
    """

    number: int
    stage: Stage
    taken: int
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    augmentation: Augmentation

    def streams(self) -> dict[str, torch.Generator]:
        """Every generator that draws while it trains."""
        return {"order": self.order} | {f"augment.{name}": each for name, each in self.augmentation.streams.items()}


def starts_of(spec: RunSpec) -> dict[int, int]:
    """The epoch with which each stage begins, to its number from 0."""
    found, first = {}, 1
    for number, stage in enumerate(spec.stages):
        found[first] = number
        first += stage.epochs
    return found


def begin(model: Model, spec: RunSpec, number: int, taken: int) -> Turn:
    """The stage of that number; its losses are now the model's."""
    model.losses = model.stages[number] if model.stages else model.losses
    return Turn(
        number,
        spec.stages[number],
        taken,
        make_optimizer(model, spec.training, spec.lr),
        stream(spec.seed, _of_stage("order", number)),
        Augmentation(spec.training.augment, spec.seed, _of_stage("augment", number)),
    )


def _of_stage(name: str, number: int) -> str:
    """The stream of that name of a stage: a second one meets the samples in another order than the first did."""
    return f"{name}.stage.{number}" if number else name
