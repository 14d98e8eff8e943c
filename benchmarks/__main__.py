"""`make bench`: ours, peer, limit, ratio. Every pair runs interleaved in this process, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from lossbench.losses import CenterLoss
from lossbench.metrics import retrieval_metrics
from lossbench.sampling import balanced_plan

ROUNDS = 9


class PopularCenterLoss(nn.Module):
    """The B x C form that most public code uses: a matrix of all distances, masked to the own class."""

    def __init__(self, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, embedding_dim))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        distances = embeddings.square().sum(1, keepdim=True) + self.centers.square().sum(1)
        distances = distances - 2 * embeddings @ self.centers.T
        own = labels.unsqueeze(1) == torch.arange(len(self.centers))
        return (distances * own).clamp(1e-12, 1e12).sum() / len(labels)


def paired(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float, float]:
    """Median seconds of both and the median of the paired ratios peer / ours."""
    ours(), peer()
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(ROUNDS)]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(b / a for a, b in pairs)


def _seconds(call: Callable[[], object]) -> float:
    """Seconds of one call, repeated until the clock can resolve it."""
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < 0.05:
        call()
        calls += 1
    return elapsed / calls


def center_step(batch: int, dim: int, classes: int) -> tuple[float, float, float]:
    """Forward, backward and centre step of the paper's rule against the B x C form with its own SGD."""
    embeddings = torch.randn(batch, dim, requires_grad=True)
    labels = torch.randint(classes, (batch,))
    ours, peer = CenterLoss(classes, dim), PopularCenterLoss(classes, dim)
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.5)

    def our_step() -> None:
        embeddings.grad = None
        ours(embeddings, labels).backward()

    def peer_step() -> None:
        embeddings.grad = None
        optimizer.zero_grad()
        peer(embeddings, labels).backward()
        optimizer.step()

    return paired(our_step, peer_step)


def center_classes(classes: int, fewer: int) -> tuple[float, float, float]:
    """The same step at many and at fewer classes: the ratio is 1 where the cost does not depend on C."""
    embeddings = torch.randn(256, 512, requires_grad=True)

    def step(loss: CenterLoss, labels: torch.Tensor) -> None:
        embeddings.grad = None
        loss(embeddings, labels).backward()

    many, few = CenterLoss(classes, 512), CenterLoss(fewer, 512)
    many_labels, few_labels = torch.randint(classes, (256,)), torch.randint(fewer, (256,))
    return paired(lambda: step(few, few_labels), lambda: step(many, many_labels))


def retrieval(size: int, dim: int) -> tuple[float, float, float]:
    """Seven retrieval figures against three of AccuracyCalculator's on clustered embeddings."""
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    labels = torch.arange(size) % (size // 20)
    points = functional.normalize(torch.randn(size // 20, dim)[labels] + torch.randn(size, dim))
    calculator = AccuracyCalculator(
        include=("mean_average_precision_at_r", "precision_at_1", "r_precision"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    return paired(lambda: retrieval_metrics(points, labels), lambda: calculator.get_accuracy(points, labels))


def plan_of_an_epoch(size: int, classes: int) -> float:
    """Seconds for an epoch's plan of balanced batches."""
    labels = torch.randint(classes, (size,))
    started = time.perf_counter()
    balanced_plan(labels, steps=size // 64, batch_size=64, samples_per_class=4, generator=torch.Generator())
    return time.perf_counter() - started


def show(what: str, figures: tuple[float, float, float], limit: str) -> None:
    """One line of the table."""
    ours, peer, ratio = figures
    print(f"{what:<58} {ours * 1e3:>10.3f} {peer * 1e3:>10.3f} {ratio:>8.2f}  {limit}", flush=True)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'what':<58} {'ours ms':>10} {'peer ms':>10} {'ratio':>8}  to reach")
    show("centre loss step, m 128, D 2, C 10, vs B x C", center_step(128, 2, 10), ">= 1.6")
    show("centre loss step, m 256, D 512, C 10,575, vs B x C", center_step(256, 512, 10_575), ">= 120")
    show("centre loss step, C 1,000,000 vs C 10,575", center_classes(1_000_000, 10_575), "<= 1.2")
    show("retrieval of 1,500 x 32 vs AccuracyCalculator", retrieval(1_500, 32), ">= 1.5")
    show("retrieval of 13,180 x 64 vs AccuracyCalculator", retrieval(13_180, 64), ">= 1.5")
    seconds = plan_of_an_epoch(1_000_000, 50_000)
    print(f"{'M-per-class plan, 1,000,000 labels, 50,000 classes':<58} {seconds * 1e3:>10.0f} {'':>19}  < 2,000 ms")


if __name__ == "__main__":
    main()
