"""The cost of a computation in tensor elements, the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MATMULS = {torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm, torch.ops.aten.baddbmm}


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what every operation writes, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.elements += _written(func, args, result)
        return result


def elements_written(compute: Callable[[], Any]) -> int:
    """Elements that the operations of `compute` write; a matrix product counts its multiplications.

    A view writes nothing. An operation in place writes as much as its largest other argument, so that adding B rows
    to a table counts B rows and not the table.

    >>> elements_written(lambda: torch.ones(3, 4) @ torch.ones(4, 5))  # 12 + 20 + 60
    92
    """
    with _Counter() as counter:
        compute()
    return int(counter.elements)


def _written(func: Any, args: Any, result: Any) -> int:
    if func.overloadpacket in MATMULS:
        left, right = [part for part in tree_leaves(args) if isinstance(part, Tensor)][-2:]
        return int(left.numel() * right.shape[-1])
    returned = [value.alias_info for value in func._schema.returns]
    if any(alias is not None and alias.is_write for alias in returned):
        others: list[int] = [part.numel() for part in tree_leaves(args)[1:] if isinstance(part, Tensor) and part.ndim]
        return max(others, default=_size(result))
    if any(alias is not None for alias in returned):
        return 0
    return _size(result)


def _size(result: Any) -> int:
    return sum(math.prod(part.shape) for part in tree_leaves(result) if isinstance(part, Tensor))
