"""Queries against a gallery, held against plain loops in Python's own floats, and hand-made cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gallery_loops import by_loops
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from lossbench.metrics import retrieval_metrics
from lossbench.metrics.galleries import read_questions
from lossbench.metrics.jackknife import gallery_map_at_r_without


def scored(queries, labels, **others):
    return retrieval_metrics(np.array(queries, dtype=float).reshape(len(queries), -1), np.array(labels), **others)


def drawn(seed, count, among, classes, cameras):
    """Points on a grid, so that ties are everywhere; some groups are not known."""
    draw = np.random.default_rng(seed)
    queries, gallery = (draw.integers(0, 4, (n, 2)).astype(float) for n in (count, among))
    labels, gallery_labels = (draw.integers(0, classes, n) - 1 for n in (count, among))
    groups, gallery_groups = (draw.integers(-1, cameras, n) for n in (count, among))
    return queries, labels, gallery, gallery_labels, groups, gallery_groups


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 30), st.integers(1, 5), st.integers(1, 4))
def test_equals_loops_with_ties_and_cameras(seed, count, among, classes, cameras):
    queries, labels, gallery, gallery_labels, groups, gallery_groups = drawn(seed, count, among, classes, cameras)
    expected = by_loops(queries, labels, gallery, gallery_labels, groups, gallery_groups)
    arrays = {"gallery": gallery, "gallery_labels": gallery_labels, "groups": groups, "gallery_groups": gallery_groups}
    if expected is None:
        with pytest.raises(ValueError, match="queries has a match in the gallery"):
            retrieval_metrics(queries, labels, **arrays)
        return
    for chunk in (None, 3):
        assert retrieval_metrics(queries, labels, chunk=chunk, **arrays) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 4), st.integers(1, 3))
def test_queries_that_stand_in_the_gallery_are_no_neighbors_of_themselves(seed, count, classes, cameras):
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(count, 3))
    labels, groups = draw.integers(0, classes, count), draw.integers(-1, cameras, count)
    asks = np.flatnonzero(draw.random(count) < 0.6)
    expected = by_loops(points[asks], labels[asks], points, labels, groups[asks], groups, asks)
    if expected is None:
        return
    found = retrieval_metrics(
        points[asks], labels[asks], gallery=points, gallery_labels=labels, groups=groups[asks], gallery_groups=groups,
        places=asks,
    )  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_loops_on_many_queries_in_several_blocks(monkeypatch, kind, offset):
    monkeypatch.setattr("lossbench.metrics.galleries._BLOCK_ELEMENTS", 1)
    monkeypatch.setattr("lossbench.metrics.galleries._LEAST_ROWS", 32)
    draw = np.random.default_rng(3)
    labels, gallery_labels = draw.integers(0, 20, 100), draw.integers(0, 25, 400)
    centers = draw.normal(size=(25, 8))
    points = [
        (draw.normal(size=(len(each), 8)) + centers[each] + offset).astype(kind) for each in (labels, gallery_labels)
    ]
    groups, gallery_groups = draw.integers(0, 6, 100), draw.integers(0, 6, 400)
    expected = by_loops(points[0], labels, points[1], gallery_labels, groups, gallery_groups)
    found = retrieval_metrics(
        points[0], labels, gallery=points[1], gallery_labels=gallery_labels, groups=groups,
        gallery_groups=gallery_groups,
    )  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.1 < found["map_at_r"] < found["mean_average_precision"] < found["cmc_at_1"] < 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dimension", [3, 129])
def test_duplicates_are_ties_wherever_a_product_rounds_them(kind, offset, dimension):
    draw = np.random.default_rng(dimension)
    points = np.tile((draw.normal(size=(10, dimension)) + offset).astype(kind), (13, 1))[draw.permutation(130)]
    labels, groups = draw.integers(0, 9, 130), draw.integers(0, 3, 130)
    expected = by_loops(points[:40], labels[:40], points, labels, groups[:40], groups, np.arange(40))
    for chunk in (7, None):
        found = retrieval_metrics(
            points[:40], labels[:40], gallery=points, gallery_labels=labels, groups=groups[:40], gallery_groups=groups,
            places=np.arange(40), chunk=chunk,
        )  # fmt: skip
        assert found == pytest.approx(expected, abs=1e-12), chunk


def test_mean_average_precision_is_that_of_scikit_learn():
    draw = np.random.default_rng(7)
    labels, gallery_labels = draw.integers(0, 6, 40), draw.integers(0, 8, 200)
    groups, gallery_groups = draw.integers(0, 4, 40), draw.integers(0, 4, 200)
    queries, gallery = draw.normal(size=(40, 5)), draw.normal(size=(200, 5))
    each = []
    for query, label, group in zip(queries, labels, groups, strict=True):
        left = (gallery_labels != label) | (gallery_groups != group)
        away = np.linalg.norm(gallery[left] - query, axis=1)
        each.append(average_precision_score(gallery_labels[left] == label, -away))
    found = retrieval_metrics(
        queries, labels, gallery=gallery, gallery_labels=gallery_labels, groups=groups, gallery_groups=gallery_groups
    )
    assert found["mean_average_precision"] == pytest.approx(np.mean(each), abs=1e-12)


def test_a_hand_made_ranking():
    # Ranked: impostor, match, impostor, impostor, match; R = 2: AP = (1/2 + 2/5) / 2, AP@R = (1/2) / 2.
    found = scored([0.0], [7], gallery=np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]), gallery_labels=[1, 7, 1, 2, 7])
    assert found == pytest.approx(
        {"map_at_r": 0.25, "mean_average_precision": 0.45, "cmc_at_1": 0.0, "cmc_at_5": 1.0, "cmc_at_10": 1.0}
    )


def test_the_own_camera_is_left_out_and_that_of_others_is_not():
    gallery = np.array([[0.1], [0.2], [0.3]])  # oneself by the same camera, somebody else by it, oneself by another
    arrays = {"gallery": gallery, "gallery_labels": [5, 6, 5]}
    without = scored([0.0], [5], **arrays)
    assert (without["cmc_at_1"], without["mean_average_precision"]) == (1.0, pytest.approx((1 + 2 / 3) / 2))
    found = scored([0.0], [5], **arrays, groups=[1], gallery_groups=[1, 1, 2])
    assert (found["cmc_at_1"], found["mean_average_precision"]) == (0.0, 0.5)


def test_distractors_stay_and_what_is_left_out_takes_no_rank():
    gallery = np.array([[0.1], [0.2], [0.3], [0.4]])
    labels, cameras = [5, 0, 5, 5], [1, 1, 1, 2]  # two of the own camera, a distractor between them
    found = scored([0.0], [5], gallery=gallery, gallery_labels=labels, groups=[1], gallery_groups=cameras)
    assert found["mean_average_precision"] == found["map_at_r"] * 2 + 0.5 == 0.5  # rank 2, of one match
    nobody = scored([0.0], [5], gallery=gallery[2:], gallery_labels=labels[2:], groups=[1], gallery_groups=cameras[2:])
    assert nobody["mean_average_precision"] == 1.0


def test_a_query_without_a_match_is_not_counted():
    gallery, cameras = np.array([[0.1], [9.0], [5.0]]), [1, 2, 1]
    arrays = {"gallery": gallery, "gallery_labels": [5, 5, 6], "gallery_groups": cameras}
    one = scored([0.0], [5], **arrays, groups=[1])
    for label, camera in ((6, 1), (7, 1)):  # seen by the own camera only; not there at all
        assert scored([0.0, 0.0], [5, label], **arrays, groups=[1, camera]) == one
    with pytest.raises(
        ValueError, match="none of the 1 queries has a match in the gallery that is not of its own group"
    ):
        scored([0.0], [6], **arrays, groups=[1])


def test_groups_that_are_not_known_hide_nothing():
    arrays = {"gallery": np.array([[0.1], [0.2]]), "gallery_labels": [5, 6]}
    assert scored([0.0], [5], **arrays, groups=[-1], gallery_groups=[-1, -1])["cmc_at_1"] == 1.0


def test_a_collapsed_embedding_is_not_rewarded():
    labels = np.arange(60) % 6
    found = retrieval_metrics(np.full((60, 4), 0.1), labels, groups=np.arange(60) // 30)
    assert found["cmc_at_10"] == found["map_at_r"] == 0.0
    last = [(k + 1) / (k + 51) for k in range(5)]  # five matches behind fifty impostors
    assert found["mean_average_precision"] == pytest.approx(np.mean(last))


def test_without_a_gallery_groups_make_one_of_the_samples():
    draw = np.random.default_rng(1)
    points, labels, groups = draw.normal(size=(50, 3)), draw.integers(0, 5, 50), draw.integers(0, 3, 50)
    expected = by_loops(points, labels, points, labels, groups, groups, np.arange(50))
    assert retrieval_metrics(points, labels, groups=groups) == pytest.approx(expected, abs=1e-12)
    alone = retrieval_metrics(points, labels, groups=np.arange(50))  # every sample its own group: leave-one-out
    assert alone["map_at_r"] == pytest.approx(retrieval_metrics(points, labels)["map_at_r"], abs=1e-12)


def test_by_class_every_class_counts_alike():
    gallery = {"gallery": np.array([[0.0], [5.0], [6.0]]), "gallery_labels": [0, 1, 0]}
    found = scored([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1], **gallery, average="class")
    assert found["cmc_at_1"] == pytest.approx((1 + 0) / 2)


def test_tensors_give_what_arrays_give():
    arrays = drawn(5, 20, 40, 4, 3)
    names = ("gallery", "gallery_labels", "groups", "gallery_groups")
    tensors = [torch.from_numpy(each) for each in arrays]
    expected = retrieval_metrics(*arrays[:2], **dict(zip(names, arrays[2:], strict=True)))
    assert retrieval_metrics(*tensors[:2], **dict(zip(names, tensors[2:], strict=True))) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gallery": np.eye(2)}, "gallery_labels: a gallery needs them"),
        ({"gallery_labels": [0, 1]}, "are of a gallery, and there is none"),
        ({"gallery": np.eye(3), "gallery_labels": [0, 1, 2]}, "gallery: 3 columns, but queries have 2"),
        ({"gallery": np.eye(2), "gallery_labels": [0]}, "gallery_labels: 1 labels for 2 rows"),
        ({"gallery": np.eye(2), "gallery_labels": [0, 1], "groups": [0, 1]}, "groups and gallery_groups go together"),
        ({"gallery": np.full((2, 2), np.nan), "gallery_labels": [0, 1]}, "gallery: row 0 is not finite"),
        ({"gallery": np.eye(2), "gallery_labels": [0, 1], "places": [0, 2]}, "places: 2 is no row of a gallery of 2"),
        ({"gallery": np.eye(2), "gallery_labels": [2, 3]}, "none of the 2 queries has a match"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(np.eye(2), np.array([0, 1]), **given)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(2, 30), st.integers(2, 5), st.integers(1, 3))
def test_the_jackknife_equals_deleting_each_class(seed, count, among, classes, cameras):
    queries, labels, gallery, gallery_labels, groups, gallery_groups = drawn(seed, count, among, classes, cameras)
    if by_loops(queries, labels, gallery, gallery_labels, groups, gallery_groups) is None:
        return
    asked = read_questions(
        queries, labels, gallery, gallery_labels, groups=groups, gallery_groups=gallery_groups
    )  # fmt: skip
    expected = []
    for name in np.unique(gallery_labels):
        asks, stands = labels != name, gallery_labels != name
        left = by_loops(
            queries[asks], labels[asks], gallery[stands], gallery_labels[stands], groups[asks], gallery_groups[stands]
        )
        expected.append(math.nan if left is None else left["map_at_r"])
    assert gallery_map_at_r_without(asked).tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)
