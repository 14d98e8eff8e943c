"""scikit-learn's handwritten digits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.images import resized

CLASS_SPLIT = (0, 0, 0, 0, 1, 1, 2, 2, 2, 2)  # 0-3 train, 4-5 val, 6-9 test: a technical case only


def load(request: Request) -> Dataset:
    """1,797 digits, 8 x 8 grey, 10 classes; the 17 grey levels are spread over 0..255."""
    spec = importlib.util.find_spec("sklearn")  # where it lies, without importing it
    if spec is None or spec.origin is None:
        raise DataError("digits: scikit-learn is not installed; `pip install scikit-learn` brings the data")
    source = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return cached("digits", request, [source], decode)


def decode(request: Request) -> Dataset:
    """The digits as scikit-learn reads them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Dataset(
        images=resized(images, request.size),
        labels=digits.target.astype(np.int64),
        class_names=tuple("0123456789"),
        class_split=np.array(CLASS_SPLIT, dtype=np.int64),
        val_is_made=True,
    )
