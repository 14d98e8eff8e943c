"""The dictionary definitions that lossbench ships: their counts are part of what was measured on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lossbench import metrics
from lossbench.datasets import glosses
from lossbench.datasets.splits import split


def test_what_ships(small):
    data = small("glosses")
    assert data.features.shape == (25_794, 128)
    assert data.num_classes == 1_410
    counts = np.bincount(data.labels)
    assert (counts.min(), counts.max()) == (10, 60)
    assert len(data.ids) == len(data.labels)
    kinds = data.ids[data.labels == data.class_names.index("dog")]
    assert {"hunting dog", "poodle", "corgi"} <= set(kinds)


def test_it_is_small_and_comes_with_its_license():
    assert glosses.FILE.stat().st_size < 4_000_000
    said = glosses.FILE.with_name("glosses-license.txt").read_text()
    assert "Princeton" in said
    assert "Apache License" in said


@pytest.mark.slow
def test_unseen_classes_are_told_apart_as_far_as_the_protocol_says(small):
    data = small("glosses")
    index = split(data, "open-set").test
    assert len(np.unique(data.labels[index])) == 282
    points = metrics.unit(torch.from_numpy(np.array(data.features[index])))
    labels = torch.from_numpy(np.unique(data.labels[index], return_inverse=True)[1])
    found = metrics.retrieval_metrics(points, labels)
    assert found["map_at_r"] == pytest.approx(0.4279, abs=5e-4)
    assert found["precision_at_1"] == pytest.approx(0.7388, abs=5e-4)
