"""Binomial deviance as a plugin: `lossbench run FILE --plugin binomial.py --set 'recipes=["softmax", "binomial"]'`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossbench import Float, Problem, loss


class BinomialDeviance(nn.Module):
    """log(1 + exp(-alpha (s - beta))) of positive, log(1 + exp(alpha cost (s - beta))) of negative cosines s."""

    def __init__(self, alpha: float, beta: float, cost: float) -> None:
        super().__init__()
        self.alpha, self.beta, self.cost = alpha, beta, cost

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean over positive plus the mean over negative pairs of a batch (B, D) with labels (B,)."""
        points = functional.normalize(embeddings)
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        gaps = self.alpha * ((points[first] * points[second]).sum(1) - self.beta)
        same = labels[first] == labels[second]
        positive, negative = functional.softplus(-gaps[same]), functional.softplus(self.cost * gaps[~same])
        return positive.sum() / max(1, len(positive)) + negative.sum() / max(1, len(negative))


@loss(
    "binomial",
    space={
        "alpha": Float(1.0, 10.0, log=True, valid=(0.0, 1e4)),
        "beta": Float(0.1, 0.8, valid=(-1.0, 1.0)),
        "cost": Float(1.0, 50.0, log=True, valid=(0.0, 1e4)),
    },
    sampler="balanced",
    source="arXiv:1407.4979",
)
def binomial(problem: Problem, *, alpha: float = 2.0, beta: float = 0.5, cost: float = 25.0) -> BinomialDeviance:
    """Binomial deviance of the cosines of all pairs."""
    return BinomialDeviance(alpha, beta, cost)
