"""Retrieval against AccuracyCalculator, and what metrics and statistics of large sets need."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import Row, at_least, at_most, duration, in_a_new_process, in_turns, seconds_of
from lossbench import metrics
from lossbench.run.clock import peak_memory_bytes, reset_peak_memory

OWN_NAMES = {
    "map_at_r": "mean_average_precision_at_r",
    "precision_at_1": "precision_at_1",
    "r_precision": "r_precision",
}
CLASS_SIZE = 20


def rows(*, heavy: bool) -> Iterator[Row]:
    """Equal values first, then speed, then memory."""
    for size, dim in ((1_500, 32), (13_180, 64)):
        yield from _against_the_library(size, dim)
    yield from _against_faiss(20_000, 5)
    yield _half_in_one_class(6_000)
    yield _memory("distance statistics of 200,000 x 128: above the data", "distance_statistics", 1.0)
    yield _memory("distance histograms of 200,000 x 128: above the data", "distance_histograms", 1.0)
    if heavy:
        yield from _against_faiss(200_000, 1)
        yield _memory("retrieval of 200,000 x 128: above the data", "retrieval_metrics", 2.0)


def clustered(size: int, dim: int) -> tuple[Tensor, Tensor]:
    """Unit embeddings (size, dim) in classes of twenty, and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(size) % (size // CLASS_SIZE)
    points = torch.randn(size // CLASS_SIZE, dim, generator=generator)[labels]
    return functional.normalize(points.add_(torch.randn(size, dim, generator=generator))), labels


def _against_the_library(size: int, dim: int) -> Iterator[Row]:
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    points, labels = clustered(size, dim)
    calculator = AccuracyCalculator(
        include=tuple(OWN_NAMES.values()),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    ours, peer = metrics.retrieval_metrics(points, labels), calculator.get_accuracy(points, labels)
    apart = max(abs(ours[name] - peer[theirs]) for name, theirs in OWN_NAMES.items())
    # The library ranks in float32, so that two of a million neighbors may swap.
    yield Row(
        what=f"retrieval of {size:,} x {dim}: largest difference of a value from AccuracyCalculator's",
        ours=f"{apart:.1g}",
        limit="< 1e-5",
        reached=apart < 1e-5,
    )
    pairs = in_turns(lambda: metrics.retrieval_metrics(points, labels), lambda: calculator.get_accuracy(points, labels))
    yield at_least(f"seven retrieval figures of {size:,} x {dim} against three of AccuracyCalculator", pairs, 1.5)


def _against_faiss(size: int, pairs: int) -> Iterator[Row]:
    """The neighbors alone by faiss's flat index, on one thread; exact figures in at most 1.5 times its time."""
    try:
        import faiss
    except ImportError:
        yield Row(what=f"retrieval of {size:,} x 128 against faiss-cpu's flat index", ours="pip install faiss-cpu")
        return
    points, labels = clustered(size, 128)
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(128)
    index.add(points.numpy())
    found = in_turns(
        lambda: metrics.retrieval_metrics(points, labels), lambda: index.search(points.numpy(), CLASS_SIZE), pairs
    )
    yield at_most(
        f"seven figures of {size:,} x 128 against the {CLASS_SIZE} neighbors by faiss's flat index", found, 1.5
    )


def _half_in_one_class(size: int) -> Row:
    """A class of half the samples, whose every query ranks half of them, beside classes of thirty."""
    even = torch.arange(size) % (size // 30)
    points = torch.randn(size, 64, generator=torch.Generator().manual_seed(0))
    one = torch.where(torch.arange(size) < size // 2, size, even)
    pairs = in_turns(lambda: metrics.retrieval_metrics(points, one), lambda: metrics.retrieval_metrics(points, even), 5)
    return at_most(f"retrieval of {size:,} x 64, half of them one class, against even classes", pairs, 1.0)


def _memory(what: str, name: str, limit_gb: float) -> Row:
    seconds, peak = in_a_new_process(peak_above_the_data, name, 200_000, 128)
    return Row(
        what=what,
        ours=f"{peak / 1e9:.2f} GB ({duration(seconds)})",
        limit=f"< {limit_gb:g} GB",
        reached=peak < limit_gb * 1e9,
    )


def peak_above_the_data(name: str, size: int, dim: int) -> tuple[float, float]:
    """CPU seconds of a metric, and the bytes of its peak resident memory above that of data and libraries."""
    torch.set_num_threads(1)
    points, labels = clustered(size, dim)
    getattr(metrics, name)  # imported here, not within the measurement
    before = _resident_bytes()
    reset_peak_memory("cpu")
    seconds = seconds_of(lambda: _call(name, points, labels))
    return seconds, peak_memory_bytes("cpu") - before


def _call(name: str, points: Tensor, labels: Tensor) -> None:
    if name == "distance_histograms":
        metrics.distance_histograms(metrics.repeated_class_pairs(points, labels))
    else:
        getattr(metrics, name)(points, labels)


def _resident_bytes() -> float:
    reset_peak_memory("cpu")
    return peak_memory_bytes("cpu")
