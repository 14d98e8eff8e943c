"""What is trained: a network and the losses that see what it makes of its input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossbench.backbones.trunk import Trunk
from lossbench.run.necks import AFTER, BEFORE, Necked

State = dict[str, dict[str, Tensor]]  # name of a part to its tensors


@dataclass(slots=True)
class WeightedLoss:
    """A term of the recipe, built: `total = sum of weight * module(embeddings, labels)`.

    `before`: whether it sees the embedding before the network's neck.
    """

    name: str
    weight: float
    module: nn.Module
    before: bool = False


@dataclass(slots=True)
class Model:
    """What is trained: the network and the modules of the losses.

    Attributes:
        losses: of the stage that trains, or whose state was put back.
        stages: the losses of every stage, where there are several.
        trunk: what of the network came from a file.
    """

    network: nn.Module
    losses: list[WeightedLoss]
    stages: tuple[list[WeightedLoss], ...] = ()
    trunk: Trunk | None = None

    @property
    def stage(self) -> int:
        """Which stage the losses are of, from 0."""
        return next((number for number, losses in enumerate(self.stages) if losses is self.losses), 0)

    @property
    def every_loss(self) -> list[WeightedLoss]:
        """The losses of all stages."""
        return [term for losses in self.stages or (self.losses,) for term in losses]

    def seen(self) -> list[tuple[nn.Module, list[WeightedLoss]]]:
        """What the losses see, as the network up to there, with those that do; both places of a neck."""
        before = [term for term in self.losses if term.before]
        after = [term for term in self.losses if not term.before]
        upto = [(self.network.backbone, before)] if isinstance(self.network, Necked) else []
        return [*upto, (self.network, after)]

    def parts(self) -> dict[str, nn.Module]:
        """Every module by a stable name."""
        return {"network": self.network} | {f"loss.{term.name}": term.module for term in self.losses}

    def train(self, mode: bool) -> None:
        """Put every part into training or evaluation mode."""
        for part in self.parts().values():
            part.train(mode)
        if self.trunk is not None:
            self.trunk.hold()

    def state(self) -> State:
        """A copy of every parameter and buffer."""
        return {
            name: {key: value.clone() for key, value in part.state_dict().items()}
            for name, part in self.parts().items()
        }

    def load(self, state: State) -> None:
        """Put a state back."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def is_finite(self) -> bool:
        """Whether every floating-point parameter and stored buffer is finite; one wait for a device."""
        values = [value for part in self.parts().values() for value in part.state_dict().values()]
        ends = [end for value in values if value.is_floating_point() and value.numel() for end in value.aminmax()]
        return not ends or bool(torch.stack(ends).isfinite().all())


def combine(losses: list[WeightedLoss], embeddings: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of the terms and the value of each; a term of weight 0 moves its state only.

    Args:
        embeddings: (B, D); of a network with a neck (B, 2, D), before and after it.
    """
    total: Tensor | None = None
    values = []
    for term in losses:
        seen = embeddings if embeddings.ndim == 2 else embeddings[:, BEFORE if term.before else AFTER]
        value = term.module(seen, labels)
        values.append(value.detach())
        if term.weight:
            weighted = value if term.weight == 1.0 else term.weight * value
            total = weighted if total is None else total + weighted
    return (embeddings.new_zeros(()) if total is None else total), values


def to_input(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float32 in [-1, 1): (x - 127.5) / 128, as the authors of centre loss scale.

    Vectors (B, F), which come as floating numbers, become float32 and are not scaled.
    """
    if images.is_floating_point():
        return images.float()
    return images.float().sub_(127.5).div_(128.0)
