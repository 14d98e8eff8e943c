"""Which differences are taken: products in single precision, inside their proven bound, and sorted long rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from lossbench.metrics import nearest_neighbours, ranking, retrieval_metrics


def gallery_of(points: np.ndarray) -> ranking.Gallery:
    return ranking.Gallery(torch.from_numpy(points), list(range(len(points) + 1)))


def search(points: np.ndarray) -> ranking._Search:
    own = torch.arange(len(points))
    return ranking._Search(torch.from_numpy(points), own, gallery_of(points), leave_one_out=True)


def in_exact_order(points: np.ndarray, labels: np.ndarray, found: np.ndarray) -> bool:
    """Whether each row of `found` is the start of all others by (distance, is a match), in SciPy's float64."""
    exact, match = cdist(points, points, "sqeuclidean"), labels[:, None] == labels
    np.fill_diagonal(exact, np.inf)
    order = np.lexsort((match, exact))[:, : found.shape[1]]
    rows = np.arange(len(points))[:, None]
    return np.array_equal(exact[rows, order], exact[rows, found]) and np.array_equal(
        match[rows, order], match[rows, found]
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("dimension", [1, 7, 256])
@pytest.mark.parametrize("kind", ["normal", "large", "tiny", "one sign", "an outlier"])
def test_no_key_is_further_off_than_the_bound(precision, dimension, kind):
    rng = np.random.default_rng(dimension)
    points = rng.normal(size=(300, dimension))
    points = {"large": 1e30 * points, "tiny": 1e-40 * points, "one sign": np.abs(points) + 9}.get(kind, points)
    points[0] *= 1e6 if kind == "an outlier" else 1
    found = search(points)
    asked = torch.arange(300)
    keys = found._keys(asked, found._single if precision == torch.float32 else found._double).double().numpy()
    # Long double has eleven bits more than what the bound is about.
    centered = (points.astype(np.longdouble) - found.origin.numpy()) * found.scale
    true = np.square(centered).sum(1) - 2 * centered @ centered.T
    off = np.abs(keys - true)[~np.eye(300, dtype=bool)].reshape(300, 299).max(1)
    bound = found._error(asked, precision).numpy()
    assert (off <= bound).all()
    if precision == torch.float32 and kind == "normal":
        assert (off > bound / 1e3).all()  # it is no bound on nothing


def test_neighbors_that_single_precision_cannot_tell_apart_are_in_exact_order():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(70, 16))
    points = np.concatenate([centers + scale * rng.normal(size=(70, 16)) for scale in 1e-9 * np.arange(30)])
    labels = np.tile(np.arange(70), 30) % 7
    found, _ = nearest_neighbours(points, labels, 9)
    assert in_exact_order(points, labels, found.numpy())


def test_a_product_that_rounds_more_than_it_says_costs_no_neighbor(monkeypatch):
    """As TF32 and bfloat16 do, where somebody has switched them on."""
    rng = np.random.default_rng(1)
    points, labels = rng.normal(size=(900, 12)), np.arange(900) % 90
    exact = retrieval_metrics(points, labels)
    product, rounded = torch.mm, []

    def coarse(left, right, *, out):
        product(left, right, out=out)
        if left.dtype == torch.float32:
            rounded.append(len(left))
            out += 0.05 * torch.arange(out.numel()).view(out.shape).sin()
        return out

    monkeypatch.setattr(ranking.torch, "mm", coarse)
    assert retrieval_metrics(points, labels) == exact
    assert sum(rounded) == 900  # single precision was tried


@pytest.mark.parametrize("kind", ["apart", "ties", "nearly ties", "an outlier"])
def test_a_class_of_half_the_samples_is_ranked_exactly(kind):
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(600, 3)), np.where(np.arange(600) < 300, 0, 1 + np.arange(600) % 60)
    if kind == "ties":
        points = rng.integers(0, 4, (600, 3)).astype(float)
    elif kind == "nearly ties":
        points = points[rng.integers(0, 40, 600)] + 1e-11 * rng.normal(size=(600, 3))
    elif kind == "an outlier":
        points[7] = 1e9
    found, _ = nearest_neighbours(points, labels, 299)
    assert in_exact_order(points, labels, found.numpy())


@pytest.mark.parametrize("scale", [1.0, 1e-300])
def test_a_sorted_row_is_in_order_but_for_what_it_says(scale):
    generator = torch.Generator().manual_seed(0)
    keys = scale * torch.randn(5, 40_000, generator=generator, dtype=torch.float64)
    keys[0, 5] = torch.inf
    keys[1] = 3.0 * scale
    order, apart = ranking._in_order(keys)
    assert torch.equal(order.sort(1).values, torch.arange(40_000).expand(5, -1))
    assert (keys.gather(1, order).diff(dim=1) >= -apart[:, None])[:, :-1].all()
    assert order[0, -1] == 5
    assert (apart <= max(1e-8 * scale, 1e-307)).all()
