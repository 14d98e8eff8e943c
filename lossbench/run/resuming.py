"""What training moves from epoch to epoch, taken as a state and put back: `unfinished` keeps it in a file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

from torch import nn

from lossbench.run.clock import Clock
from lossbench.run.history import History
from lossbench.run.model import Model
from lossbench.run.stages import Turn
from lossbench.run.unfinished import attributes, seed_globals_as, set_attributes


class Watched(Protocol):
    """Whoever looks at a run while it trains, and remembers what was seen."""

    def state(self) -> dict[str, Any]:
        """What is remembered, as tensors and plain values."""

    def load(self, kept: dict[str, Any]) -> None:
        """Remember it again."""


@dataclass(slots=True)
class Moving:
    """All that training moves, as tensors and plain values."""

    model: Model
    history: History
    clock: Clock
    watched: Watched | None

    def state(self, epoch: int, turn: Turn) -> dict[str, Any]:
        """The state after an epoch."""
        history = {each.name: getattr(self.history, each.name) for each in fields(History)}
        history["best_losses"] = next(
            (number for number, losses in enumerate(self.model.stages) if losses is self.history.best_losses), 0
        )
        return {
            "epoch": epoch,
            "stage": turn.number,
            "taken": turn.taken,
            "model": self.model.state(),
            "attributes": [attributes(part) for part in self._modules()],
            "optimizer": turn.optimizer.state_dict(),
            "history": history,
            "streams": {name: generator.get_state() for name, generator in turn.streams().items()},
            "seconds": dict(self.clock.seconds),
            "watched": None if self.watched is None else self.watched.state(),
        }

    def _modules(self) -> list[nn.Module]:
        """The network and the losses of all stages, which count what they do beyond their own."""
        return [self.model.network, *(term.module for term in self.model.every_loss)]

    def load(self, kept: dict[str, Any], turn: Turn) -> int:
        """Put a state back; the number of epochs that are done."""
        self.model.load(kept["model"])
        for module, values in zip(self._modules(), kept["attributes"], strict=True):
            set_attributes(module, values)
        turn.optimizer.load_state_dict(kept["optimizer"])
        for name, value in kept["history"].items():
            setattr(self.history, name, value)
        stages = self.model.stages or (self.model.losses,)
        self.history.best_losses = stages[kept["history"]["best_losses"]]
        for name, generator in turn.streams().items():
            generator.set_state(kept["streams"][name])
        for part, seconds in kept["seconds"].items():
            self.clock.seconds[part] += seconds
        if self.watched is not None:
            self.watched.load(kept["watched"])
        seed_globals_as(kept)
        done: int = kept["epoch"]
        return done
