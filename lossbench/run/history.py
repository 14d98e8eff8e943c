"""What training records on its way, and the best that it met."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lossbench.run.model import State, WeightedLoss


@dataclass(slots=True)
class History:
    """What training recorded.

    Attributes:
        curves: one value for each epoch that was validated, epoch 0 (untrained) first; `epoch` numbers them; NaN where
            there is none.
        best_epoch: the epoch of the highest validation score, the first of equals.
        best_state, best_losses: the model at that epoch, and the losses of its stage.
        steps, images: optimizer steps taken and images seen.
        cpu_s: CPU seconds of training, evaluation left out.
        diverged_epoch: the epoch that ended with a value that is not finite, if any.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_state: State = field(default_factory=dict)
    best_losses: list[WeightedLoss] = field(default_factory=list)
    steps: int = 0
    images: int = 0
    cpu_s: float = 0.0
    diverged_epoch: int | None = None

    def record(self, **values: float) -> None:
        """Append one epoch to the curves."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
