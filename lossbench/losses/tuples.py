"""Counting the pairs and triplets a loss forms, and the share of them that still pulls or pushes."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import AvgNonZeroReducer
from torch import Tensor, nn


def unit_distance() -> LpDistance:
    """Euclidean distance between unit-normalised embeddings."""
    return LpDistance(normalize_embeddings=True, p=2, power=1)


class CountingReducer(AvgNonZeroReducer):  # type: ignore[misc]  # the library has no types
    """The library's mean over non-zero terms, which also counts terms without a synchronisation."""

    def __init__(self) -> None:
        super().__init__()
        self.formed = torch.zeros((), dtype=torch.int64)
        self.active = torch.zeros((), dtype=torch.int64)

    def element_reduction_helper(self, losses: Tensor, *args: Any) -> Tensor:
        """Mean of the positive terms of `losses`; adds to the counts."""
        if losses.device != self.formed.device:
            self.formed, self.active = self.formed.to(losses.device), self.active.to(losses.device)
        self.formed += losses.numel()
        self.active += (losses.detach() > 0).sum()
        mean: Tensor = super().element_reduction_helper(losses, *args)
        return mean


def take_counts(loss: nn.Module) -> tuple[int, int]:
    """(formed, active) tuples of a library loss since the last call; it keeps a copied reducer for each part."""
    reducers = [part for part in loss.modules() if isinstance(part, CountingReducer)]
    counts = sum(int(part.formed) for part in reducers), sum(int(part.active) for part in reducers)
    for part in reducers:
        part.formed.zero_()
        part.active.zero_()
    return counts
