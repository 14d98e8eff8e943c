from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from lossbench.metrics import accuracy, knn_accuracy, nearest_mean_accuracy


def draw(seed: int, classes: int, known: int = 150, asked: int = 80) -> tuple[np.ndarray, ...]:
    """A gallery and queries of the same classes, labels neither contiguous nor positive."""
    rng = np.random.default_rng(seed)
    names, centers = rng.choice(2000, classes, replace=False) - 1000, rng.normal(size=(classes, 5))
    parts = []
    for count in (known, asked):
        index = rng.integers(0, classes, count)
        index[:classes] = np.arange(classes)
        parts += [centers[index] + rng.normal(size=(count, 5)), names[index]]
    return tuple(parts)


def test_accuracy_of_logits():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    assert accuracy(logits, labels) == accuracy_score(labels, logits.argmax(1))
    assert accuracy(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)) == accuracy(logits, labels)


def test_equal_logits_are_misses():
    assert accuracy(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 0.0
    assert accuracy(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0, 2])) == 0.5
    assert accuracy(np.zeros((4, 1)), np.zeros(4, int)) == 1.0


def test_logits_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"labels: 3 is outside \[0, 2\], the columns of the logits"):
        accuracy(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(ValueError, match="labels: -1 is outside"):
        accuracy(np.zeros((2, 3)), np.array([0, -1]))
    with pytest.raises(ValueError, match="logits: row 1 is not finite"):
        accuracy(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 1]))


@pytest.mark.parametrize("seed", range(5))
def test_nearest_mean_equals_scikit_learn(seed):
    gallery, known, queries, labels = draw(seed, 11)
    oracle = NearestCentroid().fit(gallery, known).score(queries, labels)
    assert nearest_mean_accuracy(gallery, known, queries, labels) == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize(("k", "classes"), [(1, 9), (3, 2), (5, 2), (7, 2)])  # votes that cannot be drawn
def test_neighbors_equal_scikit_learn(k, classes):
    gallery, known, queries, labels = draw(k, classes)
    oracle = KNeighborsClassifier(k).fit(gallery, known).score(queries, labels)
    assert knn_accuracy(gallery, known, queries, labels, k=k) == pytest.approx(oracle, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@example(939022384, 6)  # one order in ten of a query's equals is another verdict
def test_neighbors_on_a_grid_equal_loops(seed, k):
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.integers(-2, 3, (count, 2)).astype(float) for count in (20, 15))
    known, labels = rng.integers(0, 4, 20), rng.integers(0, 4, 15)
    labels[0] = known[0]
    shuffles = np.random.default_rng(0).random((1000, 20))
    right = 0
    for query, label in zip(queries, labels, strict=True):
        squared = ((gallery - query) ** 2).sum(1)
        # What a hit must survive: its own samples last among equals, and any order among the rest. Orders of the
        # rest can change which other class wins, so loops count hits only where every such order agrees.
        keys = 4 * squared + 2 * (known == label) + shuffles  # squared distances are whole numbers
        voters = known[keys.argsort(axis=1)[:, :k]]
        votes = (voters[:, :, None] == voters[:, None, :]).sum(2)
        won = voters[np.arange(len(voters)), votes.argmax(1)] == label
        if won.any() and not won.all():
            return
        right += bool(won[0])
    assert knn_accuracy(gallery, known, queries, labels, k=k) == pytest.approx(right / 15)


def test_a_drawn_vote_goes_to_the_nearest():
    gallery, known = np.array([[1.0], [-2.0], [3.0], [-4.0], [50.0]]), np.array([9, 2, 2, 9, 5])
    assert knn_accuracy(gallery, known, np.array([[0.0]]), np.array([9]), k=4) == 1.0
    assert knn_accuracy(gallery, known, np.array([[-0.9]]), np.array([9]), k=4) == 0.0
    assert knn_accuracy(gallery, known, np.array([[0.0]]), np.array([2]), k=3) == 1.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ties_count_against_the_query(kind):
    points, known = np.full((40, 9), 0.1, kind), np.arange(40) % 4
    queries, labels = np.full((21, 9), 0.1, kind), np.arange(21) % 4
    assert nearest_mean_accuracy(points, known, queries, labels) == 0.0
    assert knn_accuracy(points, known, queries, labels) == 0.0
    rng = np.random.default_rng(0)
    twice = np.repeat(rng.normal(size=(30, 9)).astype(kind) * 5, 10, axis=0)
    pairs = np.tile(np.repeat([0, 1], 5), 30) + 2 * np.repeat(np.arange(30), 10)  # two classes on each point
    order = rng.permutation(300)
    assert nearest_mean_accuracy(twice[order], pairs[order], twice, pairs) == 0.0
    assert knn_accuracy(twice[order], pairs[order], twice, pairs) == 0.0


def test_order_names_and_blocks_do_not_matter(monkeypatch):
    gallery, known, queries, labels = draw(3, 12)
    base = [f(gallery, known, queries, labels) for f in (nearest_mean_accuracy, knn_accuracy)]
    monkeypatch.setattr("lossbench.metrics.ranking._LEAST_ROWS", 7)
    monkeypatch.setattr("lossbench.metrics.ranking._BLOCK_ELEMENTS", 1)
    rng = np.random.default_rng(0)
    i, j = rng.permutation(150), rng.permutation(80)
    for function, value in zip((nearest_mean_accuracy, knn_accuracy), base, strict=True):
        assert function(gallery, known, queries, labels) == value
        assert function(gallery[i], -3 * known[i], queries[j], -3 * labels[j]) == value


def test_classes_that_the_gallery_lacks_are_misses():
    gallery, known = np.array([[0.0], [10.0]]), np.array([1, 3])
    queries, labels = np.array([[0.0], [10.0], [0.0], [10.0]]), np.array([1, 2, 4, 0])
    assert nearest_mean_accuracy(gallery, known, queries, labels) == 0.25
    assert knn_accuracy(gallery, known, queries, labels, k=1) == 0.25
    with pytest.raises(ValueError, match="labels: no query is of a class in gallery_labels"):
        knn_accuracy(gallery, known, queries[1:], labels[1:], k=1)


def test_galleries_that_do_not_fit_are_named():
    gallery, known, queries, labels = draw(0, 4)
    with pytest.raises(ValueError, match="queries: dimension 4 is not that of the gallery, 5"):
        knn_accuracy(gallery, known, queries[:, 1:], labels)
    with pytest.raises(ValueError, match=r"k: 151 is outside \[1, 150\], the size of the gallery"):
        knn_accuracy(gallery, known, queries, labels, k=151)
    with pytest.raises(ValueError, match="gallery_labels: 149 labels for 150 rows"):
        nearest_mean_accuracy(gallery, known[1:], queries, labels)
