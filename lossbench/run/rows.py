"""Vectors that stay in the file they are mapped from: a batch is read when it is asked for."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossbench.datasets.dataset import Indices
from lossbench.datasets.dataset import Samples as Mapped


class Rows:
    """Some rows (N, F) of a memory map, indexed as a tensor is; what an index takes is a tensor in memory.

    A million rows of 768 in half precision are 1.5 GB that no process needs to hold, and no two processes hold twice.
    """

    device = torch.device("cpu")

    def __init__(self, mapped: Mapped, index: Indices) -> None:
        self._mapped, self._index = mapped, index
        self.shape = torch.Size((len(index), *mapped.shape[1:]))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, which: Tensor | np.ndarray | slice) -> Tensor:
        rows = self._index[which.numpy() if isinstance(which, Tensor) else which]
        return torch.from_numpy(self._mapped[rows])  # a fancy index copies, so what comes out may be written to


Samples: TypeAlias = Tensor | Rows
