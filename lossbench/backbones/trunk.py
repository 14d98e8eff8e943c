"""The trunk of a network: the part that a file of weights has filled, which may learn slowly or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lossbench.plugins import PluginError


@dataclass(frozen=True, slots=True)
class Trunk:
    """What is trained otherwise than the rest.

    Attributes:
        parameters: of the trunk.
        lr_factor: by which the learning rate is multiplied for them.
        frozen: modules that stay as they came, running statistics included; empty where the trunk is trained.
    """

    parameters: tuple[nn.Parameter, ...]
    lr_factor: float = 1.0
    frozen: tuple[nn.Module, ...] = ()

    def hold(self) -> None:
        """Keep what is frozen in evaluation mode: its statistics would follow the batches, its dropout would act."""
        for module in self.frozen:
            module.eval()


def trunk_of(network: nn.Module, anew: Sequence[str], *, freeze: bool, lr_factor: float) -> Trunk:
    """The trunk of a network whose state but for `anew` came from a file.

    Raises:
        PluginError: everything is to be frozen.
    """
    new = set(anew)
    parameters = tuple(parameter for name, parameter in network.named_parameters() if name not in new)
    if not freeze:
        return Trunk(parameters, lr_factor)
    if not new:
        raise PluginError(
            "freeze: the file fits the whole network, so that nothing of it would train; with another "
            "embedding_dim the last layer starts anew"
        )
    for parameter in parameters:
        parameter.requires_grad_(False)
    return Trunk(parameters, frozen=tuple(_without(network, new)))


def _without(network: nn.Module, new: set[str]) -> list[nn.Module]:
    """The modules that have a state and nothing new in it."""
    found = []
    for path, module in network.named_modules():
        names = [f"{path}.{name}" if path else name for name in module.state_dict()]
        if names and not new.intersection(names):
            found.append(module)
    return found
