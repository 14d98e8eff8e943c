"""Alignment and uniformity on the hypersphere: Wang and Isola 2020, arXiv:2005.10242."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench import Float, Problem, loss

if TYPE_CHECKING:
    from torch import nn


@loss(
    "alignment-uniformity",
    space={
        "uniformity_weight": Float(0.1, 10.0, log=True, valid=(0.0, 1e3)),
        "t": Float(0.5, 8.0, log=True, valid=(0.0, 1e3)),
    },
    sampler="balanced",
    source="arXiv:2005.10242",
)
def alignment_uniformity(problem: Problem, *, uniformity_weight: float = 1.0, t: float = 2.0) -> nn.Module:
    """Mean squared distance of positive pairs, plus the log of the mean Gaussian kernel of all pairs."""
    import torch
    from torch import Tensor
    from torch.nn import functional

    class AlignmentUniformity(torch.nn.Module):
        def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
            points = functional.normalize(embeddings)
            first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
            gaps = (points[first] - points[second]).square().sum(1)
            same = labels[first] == labels[second]
            alignment = gaps[same].sum() / same.sum().clamp(min=1)
            kernel = (-t * gaps).exp().sum() / max(1, len(gaps))
            return alignment + uniformity_weight * (kernel + 1e-12).log()

    return AlignmentUniformity()
