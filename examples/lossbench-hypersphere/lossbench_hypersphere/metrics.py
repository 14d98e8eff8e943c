"""Uniformity of embeddings: Wang and Isola 2020, arXiv:2005.10242."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench import metric

if TYPE_CHECKING:
    from torch import Tensor


@metric("uniformity", source="arXiv:2005.10242", higher_is_better=False)
def uniformity(embeddings: Tensor, labels: Tensor) -> float:
    """The log of the mean of exp(-2 d^2) over all pairs; 0 where all embeddings are one point."""
    import torch

    return float((-2 * torch.pdist(embeddings.double()).square()).exp().mean().log())
