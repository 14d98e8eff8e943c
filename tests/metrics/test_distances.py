from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from lossbench.metrics import (
    center_statistics,
    distance_histograms,
    distance_statistics,
    per_class_statistics,
    repeated_class_pairs,
    scatter_statistics,
    unit,
)
from lossbench.metrics.pairs import pair_distances

SCALE_FREE = ("intra_inter_ratio", "scatter_ratio", "d_prime", "pi_ratio", "rho", "effective_rank")


def by_loops(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Section 2 of the definitions, one sum at a time."""
    keep = [i for i in range(len(labels)) if (labels == labels[i]).sum() > 1]
    points, labels = points[keep].astype(float), labels[keep]
    names = sorted(set(labels.tolist()))
    means = {c: points[labels == c].mean(0) for c in names}
    own = [math.dist(x, means[c]) for x, c in zip(points, labels.tolist(), strict=True)]
    apart = {c: [math.dist(means[c], means[o]) for o in names if o != c] for c in names}
    genuine, impostor = [], []
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            (genuine if labels[i] == labels[j] else impostor).append(math.dist(points[i], points[j]))
    between = sum((labels == c).mean() * math.dist(means[c], points.mean(0)) ** 2 for c in names)
    values = np.linalg.svd(points, compute_uv=False)
    uniform = np.full(len(values), 1 / len(values))
    figures = {
        "intra_mean": np.mean(own),
        "intra_variance": np.mean(np.square(own)),
        "inter_mean": np.mean([d for row in apart.values() for d in row]),
        "inter_nearest": np.mean([min(row) for row in apart.values()]),
        "pair_intra_mean": np.mean(genuine),
        "pair_inter_mean": np.mean(impostor),
        "rho": entropy(uniform, values / values.sum()),
        "effective_rank": math.exp(entropy(values / values.sum())),
    }
    spread = math.sqrt((np.var(genuine) + np.var(impostor)) / 2)
    return figures | {
        "intra_inter_ratio": figures["intra_mean"] / figures["inter_nearest"],
        "scatter_ratio": figures["intra_variance"] / between,
        "d_prime": abs(np.mean(impostor) - np.mean(genuine)) / spread,
        "pi_ratio": figures["pair_intra_mean"] / figures["inter_mean"],
    }


@pytest.mark.parametrize("space", ["euclidean", "sphere"])
def test_golden_values(golden, space):
    points = unit(golden["embeddings"]) if space == "sphere" else golden["embeddings"]
    found = distance_statistics(points, golden["labels"])
    expected = golden["distances"][space]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert set(found) == set(expected) | {"singleton_classes", "pairs_sampled"}
    assert (found["singleton_classes"], found["pairs_sampled"]) == (1.0, 0.0)


def test_equals_loops(sample):
    found = distance_statistics(*sample)
    expected = by_loops(*sample)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-10)
    assert found["singleton_classes"] == 2.0
    assert found.items() >= scatter_statistics(*sample).items()


def test_float32_far_from_the_origin_loses_nothing(sample):
    points = (sample[0] * 1e-2 + 500).astype(np.float32)
    found = distance_statistics(points, sample[1])
    expected = by_loops(points, sample[1])
    for name in expected.keys() - {"rho"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-8), name


def test_tensors_arrays_and_read_only_arrays_agree(sample):
    points, labels = sample
    expected = distance_statistics(points, labels)
    fixed = points.copy()
    fixed.setflags(write=False)
    before = points.copy()
    assert distance_statistics(torch.tensor(points, requires_grad=True), torch.tensor(labels)) == expected
    assert distance_statistics(fixed, labels) == expected
    assert distance_statistics(points.astype(">f8")[::-1], labels[::-1]) == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(points, before)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_order_names_and_scale_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(24, 4)), rng.permutation(np.repeat(range(6), 4))
    base = distance_statistics(points, labels)
    order = rng.permutation(24)
    renamed = rng.choice(1000, 6, replace=False)[labels] - 500
    assert distance_statistics(points[order], renamed[order]) == pytest.approx(base, rel=1e-9)
    scaled = distance_statistics(points * scale, labels)
    for name in SCALE_FREE:
        assert scaled[name] == pytest.approx(base[name], rel=1e-9), name
    on_sphere = distance_statistics(unit(points), labels)
    assert distance_statistics(unit(points * scale), labels) == pytest.approx(on_sphere, rel=1e-9)


def test_one_class_leaves_between_class_figures_empty():
    found = distance_statistics(np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]]), np.array([4, 4, 9]))
    empty = {name for name, value in found.items() if math.isnan(value)}
    assert empty == {
        "inter_mean", "inter_nearest", "intra_inter_ratio", "scatter_ratio", "pair_inter_mean", "d_prime",
        "pi_ratio", "rho",
    }  # fmt: skip
    assert found["intra_mean"] == 1.0


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_collapse_to_one_point_is_zero_not_rounding_noise(kind):
    found = distance_statistics(np.full((33, 3), [0.1, 0.7, -1 / 3], kind), np.repeat([0, 1, 2], [19, 11, 3]))
    for name in ("intra_mean", "intra_variance", "inter_mean", "inter_nearest", "pair_inter_mean"):
        assert found[name] == 0.0, name
    for name in ("intra_inter_ratio", "scatter_ratio", "d_prime", "pi_ratio", "rho"):
        assert math.isnan(found[name]), name
    assert found["effective_rank"] == pytest.approx(1.0)


def test_spectrum_of_known_matrices():
    labels = np.zeros(8, int)
    flat = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 4)))[0]
    found = distance_statistics(flat, labels)
    assert (found["rho"], found["effective_rank"]) == (pytest.approx(0, abs=1e-12), pytest.approx(4))
    deficient = distance_statistics(np.hstack([flat, flat[:, :1]]), labels)
    assert math.isnan(deficient["rho"])
    assert 3 < deficient["effective_rank"] < 5
    rounded = np.hstack([flat, flat[:, :1] * 0.3 + flat[:, 1:2] * 0.7]).astype(np.float32)
    assert math.isnan(distance_statistics(rounded, labels)["rho"]), "rank is lost at the input's precision"
    assert math.isnan(distance_statistics(np.zeros((4, 2)), labels[:4])["effective_rank"])


def test_sample_of_pairs_is_exact_in_size_and_close_in_value(sample):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 40, 400)
    points = rng.normal(size=(40, 5))[labels] + rng.normal(size=(400, 5))
    tensors = torch.tensor(points), torch.tensor(labels)
    everything = pair_distances(*tensors, max_pairs=10**6, seed=0)
    assert not everything.sampled
    some = pair_distances(*tensors, max_pairs=20_000, seed=0)
    assert some.sampled
    assert len(some.genuine) + len(some.impostor) == 20_000
    kept, known = some.genuine.sort().values, everything.genuine.sort().values
    torch.testing.assert_close(kept, known, rtol=1e-12, atol=0)  # all genuine pairs
    known = everything.impostor.sort().values
    near = known[torch.searchsorted(known, some.impostor * (1 - 1e-12)).clamp(max=len(known) - 1)]
    torch.testing.assert_close(some.impostor, near, rtol=2e-12, atol=0)  # true distances
    assert float(some.impostor.mean()) == pytest.approx(float(everything.impostor.mean()), rel=0.01)
    assert float(some.impostor.std()) == pytest.approx(float(everything.impostor.std()), rel=0.02)
    exact = distance_statistics(points, labels)
    estimate = distance_statistics(points, labels, max_pairs=20_000)
    assert (exact["pairs_sampled"], estimate["pairs_sampled"]) == (0.0, 1.0)
    assert estimate == pytest.approx(exact | {"pairs_sampled": 1.0}, rel=0.02)
    assert distance_statistics(points, labels, max_pairs=20_000, seed=3) != estimate
    assert distance_statistics(points, labels, max_pairs=20_000) == estimate


@pytest.mark.parametrize(
    ("sizes", "max_pairs", "genuine", "impostor"),
    [
        ([50, 50], 1000, 500, 500),  # 2450 genuine, 2500 impostor: half each
        ([99, 1], 1000, 901, 99),  # few impostors: all of them
        ([2] * 50, 1000, 50, 950),  # few genuine pairs: all of them
        ([100], 1000, 1000, 0),
        ([1] * 100, 1000, 0, 1000),
    ],
)
def test_shares_of_a_sample_of_pairs(sizes, max_pairs, genuine, impostor):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    points = torch.arange(100.0, dtype=torch.float64)[:, None]
    pairs = pair_distances(points, labels, max_pairs=max_pairs, seed=0)
    assert (len(pairs.genuine), len(pairs.impostor)) == (genuine, impostor)


def test_every_pair_is_equally_likely_in_a_sample():
    labels = torch.tensor([0] * 10 + [1] * 10)
    points = torch.tensor([2.0**i for i in range(20)], dtype=torch.float64)[:, None]  # distances name pairs
    pairs = pair_distances(points, labels, max_pairs=190, seed=0)
    counts = dict.fromkeys(pairs.impostor.tolist(), 0)
    for seed in range(600):
        for value in pair_distances(points, labels, max_pairs=100, seed=seed).impostor.tolist():
            counts[value] += 1
    assert len(counts) == 100
    shares = np.array(list(counts.values())) / 600
    assert abs(shares.mean() - 0.5) < 1e-12
    assert (abs(shares - 0.5) < 0.12).all()  # more than five standard errors of an even coin


def test_many_samples_need_no_square_matrix():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300_000, 2)).astype(np.float32)  # a square matrix would take 360 GB
    found = distance_statistics(points, np.arange(300_000) % 50, max_pairs=20_000)
    assert found["pair_inter_mean"] == pytest.approx(math.sqrt(math.pi), rel=0.02)


def test_table_of_classes(sample):
    points, labels = sample
    table = per_class_statistics(points, labels)
    names = np.array([-7, 3, 4, 1000, 10**12])
    means = np.array([points[labels == c].mean(0) for c in names])
    apart = cdist(means, means) + np.diag([np.inf] * 5)
    assert table["label"].tolist() == names.tolist()
    assert table["count"].tolist() == [20, 15, 13, 12, 8]
    intra = [np.linalg.norm(points[labels == c] - means[i], axis=1).mean() for i, c in enumerate(names)]
    np.testing.assert_allclose(table["intra"], intra, rtol=1e-12)
    assert table["nearest_label"].tolist() == names[apart.argmin(1)].tolist()
    np.testing.assert_allclose(table["nearest_distance"], apart.min(1), rtol=1e-12)
    alone = per_class_statistics(points[labels == 3], labels[labels == 3])
    assert alone["nearest_label"].tolist() == [3]
    assert math.isnan(alone["nearest_distance"][0])


def test_many_classes_in_several_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(120, 3)), np.arange(120) % 40
    whole = distance_statistics(points, labels), per_class_statistics(points, labels)
    monkeypatch.setattr("lossbench.metrics.distances._BLOCK_ELEMENTS", 280)  # seven classes at once
    assert distance_statistics(points, labels) == pytest.approx(whole[0], rel=1e-14)
    for name, column in per_class_statistics(points, labels).items():
        np.testing.assert_array_equal(column, whole[1][name])


def test_histograms_count_every_pair_once(sample):
    points, labels = sample
    keep = ~np.isin(labels, [12, -1])
    found = distance_histograms(repeated_class_pairs(points, labels), bins=10)
    i, j = np.triu_indices(keep.sum(), 1)
    distances = np.linalg.norm(points[keep][i] - points[keep][j], axis=1)
    same = labels[keep][i] == labels[keep][j]
    assert found["edges"][0] == 0
    assert found["edges"][-1] == pytest.approx(distances.max(), rel=1e-12)
    assert found["genuine"].tolist() == np.histogram(distances[same], found["edges"])[0].tolist()
    assert found["genuine"].sum() == same.sum()
    assert found["impostor"].sum() == (~same).sum()
    collapsed = distance_histograms(repeated_class_pairs(np.ones((6, 2)), [0, 0, 0, 1, 1, 1]), bins=4)
    assert collapsed["genuine"].tolist() == [6, 0, 0, 0]
    with pytest.raises(ValueError, match="bins: 0 is below 1"):
        distance_histograms(repeated_class_pairs(points, labels), bins=0)


def test_centers_against_true_means():
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(30, 4)) + 100, np.repeat([0, 2, 3, 5], [10, 9, 10, 1])
    centers = rng.normal(size=(7, 4)) + 100
    away = [np.linalg.norm(centers[c] - points[labels == c].mean(0)) for c in (0, 2, 3)]
    found = center_statistics(centers, points, labels)
    assert found == pytest.approx(
        {
            "center_distance_mean": np.mean(away),
            "center_distance_max": max(away),
            "centers_without_mean": 4,
        },
        rel=1e-12,
    )
    with pytest.raises(ValueError, match="labels: 5 has no center; 5 centers stand for 0 to 4"):
        center_statistics(centers[:5], points, labels)
    with pytest.raises(ValueError, match="labels: -1 has no center"):
        center_statistics(centers, points, labels - 1)
    with pytest.raises(ValueError, match="centers: dimension 3 is not that of the embeddings, 4"):
        center_statistics(centers[:, :3], points, labels)


def test_unit_rows():
    points = np.array([[3e-200, 4e-200], [0, 0], [-5e90, 0]])
    np.testing.assert_allclose(unit(points), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-15)
    assert unit(np.ones((2, 2), np.float32)).dtype == torch.float32
    assert unit(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert unit(np.array([[3, 4]])).tolist() == [[0.6, 0.8]]


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (np.zeros(3), [0, 0, 1], r"embeddings: shape \(3,\) is not \(N, D\)"),
        (np.zeros((0, 3)), [], r"embeddings: shape \(0, 3\) is not \(N, D\)"),
        (np.zeros((3, 0)), [0, 0, 1], r"embeddings: shape \(3, 0\) is not \(N, D\)"),
        (np.zeros((3, 2), complex), [0, 0, 1], "embeddings: dtype torch.complex128 is not a real number"),
        (np.array([[0, 1], [np.nan, 0]]), [0, 0], "embeddings: row 1 is not finite"),
        (np.array([[0, np.inf], [1, 0]]), [0, 0], "embeddings: row 0 is not finite"),
        (np.array([[0, 1e200], [1, 0]]), [0, 0], "embeddings: row 0 is not finite, or beyond 1e"),
        (np.zeros((3, 2)), [0, 0], "labels: 2 labels for 3 rows"),
        (np.zeros((2, 2)), [[0, 0]], r"labels: shape \(1, 2\) is not \(N,\)"),
        (np.zeros((2, 2)), [0.0, 0.0], "labels: dtype torch.float64 is not an integer type"),
        (np.zeros((3, 2)), [0, 1, 2], "labels: none of the 3 classes has two samples"),
    ],
)
def test_arrays_that_do_not_fit_are_named(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        distance_statistics(embeddings, np.array(labels))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_labels_of_any_integer_type(sample, kind):
    labels = np.unique(sample[1], return_inverse=True)[1]
    assert distance_statistics(sample[0], labels.astype(kind)) == distance_statistics(sample[0], labels)
