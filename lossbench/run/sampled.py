"""A share of the classes at each step: which ones a batch draws, and an optimizer that moves these and no others.

Source: Partial FC, An et al., CVPR 2022, arXiv:2203.15565: the classes of the batch and others drawn evenly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Part(NamedTuple):
    """The rows of a parameter that one step trains.

    Attributes:
        whole: the parameter, of all classes that are here.
        axis: that of its classes.
        rows: (K,) the classes of the part, ascending.
        own: the part itself, a leaf, which gets the gradient.
    """

    whole: nn.Parameter
    axis: int
    rows: Tensor
    own: nn.Parameter

    @classmethod
    def of(cls, whole: nn.Parameter, axis: int, rows: Tensor) -> Part:
        """Those rows as they are now."""
        return cls(whole, axis, rows, nn.Parameter(whole.detach().index_select(axis, rows)))


class Sampled:
    """What a loss has that can train on a share of its classes.

    Attributes:
        negatives: the share; 1 trains all classes, and draws nothing.
        draws: what the classes beside those of the batch are drawn from.
        parts: what the last batch drew, until an optimizer has moved it.
    """

    negatives: float = 1.0
    draws: torch.Generator
    parts: tuple[Part, ...] = ()

    def drawn(self, classes: int, positives: Tensor) -> Tensor:
        """(K,) of so many classes, ascending: those of the batch, and others that fill the share, each equally likely.

        K is the share of the classes, rounded, or the number of the batch's where these are more.

        Args:
            positives: (N,) the classes of the batch, in any order.
        """
        order = torch.rand(classes, generator=self.draws).to(positives.device)
        present = torch.unique(positives)
        order[present] = 2.0  # above all that is drawn
        rows: Tensor = order.topk(max(round(self.negatives * classes), len(present))).indices.sort().values
        return rows


def move_parts_only(optimizer: torch.optim.Optimizer, modules: Iterable[nn.Module]) -> None:
    """From now on the optimizer moves, of the losses that draw classes, what the last batch drew.

    For the time of a step a parameter, its gradient and what the optimizer remembers of it are those of the part. A
    class that was not drawn stays where it is: its weights do not decay, its momentum or moments wait as they are for
    the step that draws it again. So it is in the first release of the authors' code (`partial_fc.py`, for SGD). Their
    later one (`partial_fc_v2.py`) gives the others a gradient of zero, under which momentum goes on moving and decay
    goes on shrinking them, and a step costs as much as one of all classes. Adam corrects its moments by one count of
    steps for all classes: a class that is first drawn late takes a longer first step.
    """
    losses = [module for module in modules if isinstance(module, Sampled) and module.negatives < 1.0]
    narrowed: list[_Narrowed] = []

    def narrow(*_: Any) -> None:
        for loss in losses:
            narrowed.extend(_Narrowed(part, optimizer.state[part.whole]) for part in loss.parts)
            loss.parts = ()

    def widen(*_: Any) -> None:
        while narrowed:
            narrowed.pop().widen()

    if losses:
        optimizer.register_step_pre_hook(narrow)
        optimizer.register_step_post_hook(widen)


class _Narrowed:
    """A parameter that is its part, until `widen`; `state` is what the optimizer remembers of it."""

    def __init__(self, part: Part, state: dict[str, Any]) -> None:
        self._part, self._state, self._values = part, state, part.whole.data
        self._remembered = {key: value for key, value in state.items() if _is_like(value, self._values)}
        part.whole.data, part.whole.grad = part.own.data, part.own.grad
        state |= {key: value.index_select(part.axis, part.rows) for key, value in self._remembered.items()}

    def widen(self) -> None:
        parameter, axis, rows = self._part.whole, self._part.axis, self._part.rows
        for key, value in self._state.items():
            if _is_like(value, parameter):
                if key not in self._remembered:  # of the first step
                    self._remembered[key] = torch.zeros_like(self._values)
                self._state[key] = self._remembered[key].index_copy_(axis, rows, value)
        moved, parameter.grad = parameter.data, None
        parameter.data = self._values.index_copy_(axis, rows, moved)


def _is_like(value: Any, parameter: Tensor) -> bool:
    """Whether something that an optimizer remembers has one entry for each of a parameter's."""
    return isinstance(value, Tensor) and value.shape == parameter.shape
