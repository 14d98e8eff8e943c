from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from scipy.spatial.distance import cdist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lossbench.metrics import nearest_neighbours, retrieval_metrics, unit


def by_loops(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Section 3 of the definitions: rank everything by (distance, is a match), then count."""
    points = points.astype(float)
    rows = []
    for i in range(len(points)):
        relevant = int((labels == labels[i]).sum()) - 1
        if not relevant:
            continue
        others = [j for j in range(len(points)) if j != i]
        others.sort(key=lambda j: (math.dist(points[i], points[j]), labels[i] == labels[j]))
        match = [bool(labels[i] == labels[j]) for j in others]
        average = sum(sum(match[: r + 1]) / (r + 1) for r in range(relevant) if match[r]) / relevant
        recall = [float(any(match[:k])) for k in (1, 2, 4, 8)]
        rows.append([average, recall[0], sum(match[:relevant]) / relevant, *recall])
    names = ("map_at_r", "precision_at_1", "r_precision", *(f"recall_at_{k}" for k in (1, 2, 4, 8)))
    return dict(zip(names, np.mean(rows, 0).tolist(), strict=True))


@pytest.mark.parametrize("space", ["euclidean", "sphere"])
def test_golden_values(golden, space):
    points = unit(golden["embeddings"]) if space == "sphere" else golden["embeddings"]
    assert retrieval_metrics(points, golden["labels"]) == pytest.approx(golden["retrieval"][space], rel=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_equals_loops(sample, kind):
    points = sample[0].astype(kind)
    assert retrieval_metrics(points, sample[1]) == pytest.approx(by_loops(points, sample[1]), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 30), st.integers(1, 6))
def test_ties_on_a_grid_count_against_the_query(seed, dimension, count, classes):
    rng = np.random.default_rng(seed)
    points = rng.integers(-2, 3, (count, dimension)).astype(float)
    labels = rng.integers(0, classes, count)
    labels[0] = labels[1]
    assert retrieval_metrics(points, labels) == pytest.approx(by_loops(points, labels), rel=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dimension", [3, 129])
def test_duplicates_of_another_class_are_ties_in_any_block(kind, offset, dimension):
    # Ten points, each thirteen times with all kinds of labels: every comparison is between identical rows, at places
    # in the blocks where the matrix product may round them differently.
    rng = np.random.default_rng(dimension)
    points = (rng.normal(size=(10, dimension)) + offset).astype(kind)
    order = rng.permutation(130)
    points, labels = np.tile(points, (13, 1))[order], rng.integers(0, 9, 130)
    expected = by_loops(points, labels)
    for chunk in (7, 64, None):
        assert retrieval_metrics(points, labels, chunk=chunk) == pytest.approx(expected, rel=1e-12), chunk


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, 12345.678])
def test_a_collapsed_embedding_is_scored_with_all_ties_against_it(kind, value):
    points = np.full((101, 16), value, kind)
    points[:, ::3] *= -1.7
    even = np.arange(101) % 10
    assert set(retrieval_metrics(points, even, chunk=17).values()) == {0.0}
    skewed = np.repeat([0, 1, 2], [95, 5, 1])  # 95 > 6: matches follow the six impostors
    found = retrieval_metrics(points, skewed, chunk=17)
    assert found == pytest.approx(by_loops(points, skewed), rel=1e-12)
    average = sum((r - 6) / r for r in range(7, 95)) / 94
    assert found["map_at_r"] == pytest.approx(95 * average / 100, rel=1e-12)
    assert (found["recall_at_4"], found["recall_at_8"]) == (0.0, 0.95)


def test_classes_that_collapsed_to_the_same_point_far_from_the_rest():
    points = np.repeat(np.random.default_rng(0).normal(size=(4, 8)) * 1e4, 20, axis=0)
    labels = np.tile(np.repeat([0, 1], 10), 4) + 2 * np.repeat([0, 1, 2, 3], 20)  # two classes on each point
    assert set(retrieval_metrics(points, labels).values()) == {0.0}


def test_a_tight_cloud_far_from_the_origin_is_not_all_ties(sample):
    points = sample[0] * 1e-4 + 1000
    assert retrieval_metrics(points, sample[1]) == pytest.approx(by_loops(points, sample[1]), rel=1e-12)


def test_an_outlier_does_not_blur_the_others():
    rng = np.random.default_rng(3)
    points, labels = rng.normal(size=(60, 4)), rng.integers(0, 6, 60)
    points[0] = 1e9
    assert retrieval_metrics(points, labels) == pytest.approx(by_loops(points, labels), rel=1e-12)


@pytest.mark.parametrize("count", [1501, 500])
def test_equals_pytorch_metric_learning(count):
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(60, (count,), generator=generator)
    labels[:3] = torch.tensor([100, 101, 102])  # alone: no queries, but in the gallery
    points = torch.randn(103, 32, generator=generator)[labels] + 1.1 * torch.randn(count, 32, generator=generator)
    oracle = AccuracyCalculator(
        include=("mean_average_precision_at_r", "precision_at_1", "r_precision"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False, p=2, power=1)),
    ).get_accuracy(points, labels)
    found = retrieval_metrics(points, labels)
    assert found["map_at_r"] == pytest.approx(oracle["mean_average_precision_at_r"], rel=1e-9)
    assert found["precision_at_1"] == pytest.approx(oracle["precision_at_1"], rel=1e-9)
    assert found["r_precision"] == pytest.approx(oracle["r_precision"], rel=1e-9)


def test_chunks_do_not_change_a_bit(sample):
    whole = retrieval_metrics(*sample, chunk=10_000)
    for chunk in (1, 3, 32, 69, 70, None):
        assert retrieval_metrics(*sample, chunk=chunk) == whole


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_order_names_and_scale_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(40, 4)), rng.integers(0, 7, 40)
    points[:10] = points[10:20]
    base = retrieval_metrics(points, labels)
    order, names = rng.permutation(40), rng.choice(1000, 7, replace=False) - 500
    assert retrieval_metrics(points[order], names[labels][order]) == pytest.approx(base, rel=1e-12)
    on_sphere = retrieval_metrics(unit(points), labels)
    assert retrieval_metrics(points * scale, labels) == base
    assert retrieval_metrics(unit(points * scale), labels) == on_sphere


def test_fewer_samples_than_recall_asks_for():
    found = retrieval_metrics(np.array([[0.0], [1.0], [5.0]]), np.array([1, 1, 2]))
    assert set(found.values()) == {1.0}


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [t.untyped_storage().nbytes() // t.element_size() for t in tree_leaves(made) if torch.is_tensor(t)]
        self.elements = max([self.elements, *sizes])
        return made


@pytest.mark.parametrize("function", [retrieval_metrics, lambda *a, **k: nearest_neighbours(*a, 5, **k)])
def test_memory_is_a_block_not_a_square(function):
    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(1500, 8, generator=generator), torch.arange(1500) % 100
    with Largest() as largest:
        function(points, labels, chunk=20)
    assert largest.elements <= 20 * 1500 < 1500**2


def test_neighbors_are_in_order_of_distance(sample):
    points, labels = sample
    indices, distances = nearest_neighbours(points, labels, 9, chunk=16)
    full = cdist(points, points) + np.diag([np.inf] * 70)
    np.testing.assert_array_equal(indices, full.argsort(1)[:, :9])
    np.testing.assert_allclose(distances, np.sort(full, 1)[:, :9], rtol=1e-12)
    matches = labels[indices[:, 0]] == labels
    counts = np.array([(labels == label).sum() for label in labels])
    assert matches[counts > 1].mean() == retrieval_metrics(points, labels)["precision_at_1"]


def test_neighbors_at_equal_distance_are_impostors_first():
    points, labels = np.array([[0.0], [1.0], [-1.0], [9.0]]), np.array([5, 5, 6, 6])
    indices, distances = nearest_neighbours(points, labels, 2)
    assert indices[0].tolist() == [2, 1]
    assert distances[0].tolist() == [1.0, 1.0]


def test_neighbors_in_a_large_gallery_are_exact_with_ties():
    rng = np.random.default_rng(0)  # on a grid: distances are exact, and nearly all are ties
    points, labels = rng.integers(0, 9, (2103, 3)).astype(float), rng.integers(0, 40, 2103)
    indices, distances = nearest_neighbours(points, labels, 4)
    squares = cdist(points, points, "sqeuclidean")
    match = labels[:, None] == labels
    keys = 2 * squares + match  # at equal distance, the own class comes last
    np.fill_diagonal(keys, np.inf)
    nearest = keys.argsort(1)[:, :4]
    rows = np.arange(len(points))[:, None]
    np.testing.assert_allclose(distances**2, squares[rows, nearest], rtol=1e-12)
    np.testing.assert_array_equal(match[rows, indices], match[rows, nearest])


def test_what_cannot_be_asked_is_named(sample):
    points, labels = sample
    with pytest.raises(ValueError, match="labels: none of the 70 classes has two samples"):
        retrieval_metrics(points, np.arange(70))
    with pytest.raises(ValueError, match="chunk: 0 is below 1"):
        retrieval_metrics(points, labels, chunk=0)
    with pytest.raises(ValueError, match=r"k: 70 is outside \[1, 69\]"):
        nearest_neighbours(points, labels, 70)
    with pytest.raises(ValueError, match="labels: 69 labels for 70 rows"):
        retrieval_metrics(points, labels[1:])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, torch.float16])
def test_half_precision_is_not_rounded_on_the_sphere(kind):
    """In float16 the four directions of this narrow cone are one."""
    points = [[1000, 1000], [1000, 1000.5], [1000, 1001.5], [1000, 1002]]
    made = torch.tensor(points, dtype=kind) if isinstance(kind, torch.dtype) else np.array(points, dtype=kind)
    assert retrieval_metrics(unit(made), np.array([0, 0, 1, 1]))["map_at_r"] == 1.0


def test_half_precision_ranks_on_the_sphere_as_the_same_values_in_double():
    """A narrow cone of few directions, full of near ties: unit vectors in float32 order some of them otherwise."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = (1000 * rng.normal(size=2) + rng.normal(size=(60, 2))).astype(np.float16)
        labels = rng.integers(0, 12, size=60)
        double = retrieval_metrics(unit(points.astype(np.float64)), labels)
        assert retrieval_metrics(unit(points), labels) == double


def test_what_is_nearer_by_a_millionth_is_nearer_far_from_the_origin():
    points = np.array([[0.0]] * 5 + [[100.0], [100 + 1e-6], [100 + 3e-6]])
    labels = np.array([0] * 5 + [1, 1, 2])
    assert retrieval_metrics(points, labels)["map_at_r"] == 1.0
    found, distance = nearest_neighbours(points, labels, 2)
    assert found[5].tolist() == [6, 7]
    assert distance[5].tolist() == pytest.approx([1e-6, 3e-6], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-160, 1e-101, 1e-99, 1e99])
def test_the_order_is_that_of_any_other_scale(sample, scale):
    """Squares of the smallest vanish in double precision, those of the largest are at its end."""
    points, labels = sample
    power = 2.0 ** math.floor(math.log2(scale / np.abs(points).max()))
    grid = np.round(4 * points) / 4  # with ties
    for each in (points, grid):
        assert retrieval_metrics(power * each, labels) == retrieval_metrics(each, labels)


def test_a_match_at_the_last_digits_of_float32_is_told_from_an_impostor():
    """Unit vectors in float32: a match at 8e-8, an impostor at 3e-7."""
    query = np.array([0.6, 0.8], dtype=np.float32)
    match, impostor = query + np.float32([8e-8, 0]), query - np.float32([3e-7, 0])
    points = np.stack([query, match, impostor, [1, 0], [-1, 0]]).astype(np.float32)
    found, _ = nearest_neighbours(points, np.array([0, 0, 1, 1, 2]), 1)
    assert found[0].tolist() == [1]


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_order_is_that_of_exact_distances_ties_against_the_query(offset, scale):
    """Against plain loops over differences, with duplicates, on a grid full of ties and far from the origin."""
    rng = np.random.default_rng(3)
    points = offset + scale * rng.integers(0, 4, size=(60, 3)).astype(float)
    labels = rng.integers(0, 5, size=60)
    found, _ = nearest_neighbours(points, labels, 59)
    for query in range(60):
        exact = [
            (float(((points[other] - points[query]) ** 2).sum()), labels[other] == labels[query]) for other in range(60)
        ]
        ranked = [exact[other] for other in found[query].tolist()]
        assert ranked == sorted(ranked)


def test_an_average_over_classes_counts_them_alike():
    """A class of fifty perfect samples beside two of two: nine tenths of the plain figure, a third of this one."""
    rng = np.random.default_rng(0)
    large = rng.normal(scale=0.01, size=(50, 2))
    points = np.concatenate([large, [[5.0, 0], [9.0, 0]], [[5.1, 0], [9.1, 0]]])
    labels = np.repeat([7, 3, 4], [50, 2, 2])
    assert retrieval_metrics(points, labels)["map_at_r"] == pytest.approx(50 / 54)
    by_class = retrieval_metrics(points, labels, average="class")
    assert by_class["map_at_r"] == by_class["precision_at_1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("groups", [None, np.arange(70) % 3])
def test_those_that_ask_have_their_own_figures_in_the_whole_gallery(sample, groups):
    points, labels = sample
    other = ~np.eye(70, dtype=bool) if groups is None else groups[:, None] != groups
    asks = ((labels[:, None] == labels) & other).any(1)
    order = np.random.default_rng(0).permutation(70)
    parts = order[:20], order[20:]
    found = [retrieval_metrics(points, labels, groups=groups, asking=rows) for rows in parts]
    counts = [asks[rows].sum() for rows in parts]
    whole = retrieval_metrics(points, labels, groups=groups)
    assert found[0] != found[1]
    for name, value in whole.items():
        assert np.average([part[name] for part in found], weights=counts) == pytest.approx(value, abs=1e-12)
    assert retrieval_metrics(points, labels, groups=groups, asking=order) == pytest.approx(whole, abs=1e-12)


def test_the_neighbors_of_those_that_ask_are_those_they_have_among_all(sample):
    rows = np.array([7, 3, 30, 0])
    all_found, all_away = nearest_neighbours(*sample, 4)
    found, away = nearest_neighbours(*sample, 4, asking=rows)
    assert torch.equal(found, all_found[rows])
    assert torch.equal(away, all_away[rows])


@pytest.mark.parametrize(
    ("asking", "message"),
    [
        ([], "asking: the rows of 3 samples are 0 to 2"),
        ([0, 3], "asking: the rows of 3 samples are 0 to 2"),
        ([-1], "asking: the rows of 3 samples are 0 to 2"),
        ([1, 1], "asking: a row is named twice"),
        ([0.5], "asking: dtype torch.float64 is not an integer type"),
        ([2], "of those that ask none is of a class that has two samples"),
    ],
)
def test_who_asks_is_a_row_of_a_class_of_two(asking, message):
    rows = np.array(asking, dtype=None if asking else np.int64)
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(np.eye(3), np.array([0, 0, 1]), asking=rows)
