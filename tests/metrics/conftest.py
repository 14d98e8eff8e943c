"""Golden values and shared samples for the tests of the metrics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from golden.cases import GOLDEN


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    case = json.loads(GOLDEN.read_text())[0]  # the cases differ in their centers only
    case["embeddings"], case["labels"] = np.array(case["embeddings"]), np.array(case["labels"])
    return case


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    """70 x 6 in float64: five classes, labels neither contiguous nor positive, two of one sample."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat([-7, 3, 4, 1000, 10**12, 12, -1], [20, 15, 13, 12, 8, 1, 1]))
    centers = {label: rng.normal(size=6) for label in np.unique(labels)}
    return rng.normal(size=(70, 6)) + [centers[label] for label in labels], labels
