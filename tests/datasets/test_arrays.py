"""Arrays become files that hold the same data, once."""

from __future__ import annotations

import numpy as np
import pytest

from lossbench import datasets
from lossbench.datasets import DataError
from lossbench.datasets.arrays import kept

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i8", "u1"])
def test_vectors_come_back_as_floats(tmp_path, kind):
    points = (100 * RNG.random((40, 3))).astype(kind)
    name, edge = kept(points, LABELS, tmp_path)
    data = datasets.load(name)
    assert edge is None
    assert np.array_equal(data.features, points.astype("f2" if kind == "f2" else "f4"))
    assert np.array_equal(data.labels, LABELS)


@pytest.mark.parametrize("shape", [(9, 7), (8, 8, 3)])
def test_images_come_back_pixel_by_pixel(tmp_path, shape):
    images = RNG.integers(0, 256, (40, *shape), dtype=np.uint8)
    labels = np.array(["a/b", "train", "ü", ".x"])[LABELS]
    name, edge = kept(images, labels, tmp_path)
    data = datasets.load(name)
    assert edge == min(shape[:2])
    assert np.array_equal(data.images, images)
    assert [data.class_names[label] for label in data.labels] == list(labels)


def test_the_same_arrays_are_one_file_and_others_another(tmp_path):
    points = RNG.random((40, 3))
    first, _ = kept(points, LABELS, tmp_path)
    assert kept(points.copy(), LABELS.tolist(), tmp_path)[0] == first
    assert kept(points, LABELS[::-1], tmp_path)[0] != first
    assert kept(points.view("i8"), LABELS, tmp_path)[0] != first  # of the same bytes
    assert len(list(tmp_path.iterdir())) == 3


def test_labels_of_objects_are_text(tmp_path):
    name, _ = kept(RNG.random((4, 2)), np.array(["a", "b", "a", "b"], dtype=object), tmp_path)
    assert datasets.load(name).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("samples", "labels", "said"),
    [
        (np.zeros((3, 2)), np.zeros(4), r"\(3, 2\) samples and \(4,\) labels; X has N rows"),
        (np.zeros((3, 2)), np.zeros((3, 1)), "y is"),
        (np.zeros((3, 8, 8)), np.zeros(3), r"X is float64 \(3, 8, 8\), neither vectors"),
        (np.zeros(3), np.zeros(3), "neither vectors"),
        (np.array([["a"], ["b"]]), np.zeros(2), "neither vectors"),
    ],
)
def test_other_arrays_are_refused(tmp_path, samples, labels, said):
    with pytest.raises(DataError, match=said):
        kept(samples, labels, tmp_path)
