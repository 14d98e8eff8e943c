"""A data set of Hugging Face's `datasets`, as `save_to_disk` wrote it; needs `pip install 'lossbench[huggingface]'`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.images import Picture, squared, stacked, upright


def load(request: Request) -> Dataset:
    """Every row, the parts (`train`, `test`) in their order; a part called `test` is the publisher's.

    With a size, pictures become squares as `Request.fit` says. Classes without a row are left out.
    """
    if not request.path:
        raise DataError("huggingface: say which one: `huggingface:PATH`, a folder that `save_to_disk` wrote")
    root = Path(request.path).expanduser()
    if not root.is_dir():
        raise DataError(
            f"huggingface:{root}: is not a folder; write it: `load_dataset(NAME).save_to_disk({str(root)!r})`"
        )
    return cached("huggingface", request, sorted(file for file in root.rglob("*") if file.is_file()), decode)


def decode(request: Request) -> Dataset:
    """The rows as arrays.

    Raises:
        DataError: `datasets` is not installed or did not write this folder, or there is no telling picture or class.
    """
    place = f"huggingface:{Path(request.path).expanduser()}"
    images: list[Picture] = []
    labels: list[int] = []
    tested: list[bool] = []
    names: list[str] = []
    for part, rows in _parts(place).items():
        picture, label = _column(place, rows, "Image"), _column(place, rows, "ClassLabel")
        names = rows.features[label].names
        for row in rows:
            images.append(squared(upright(row[picture]), request.size, request.fit))
            labels.append(row[label])
            tested.append(part == "test")
    if not labels or min(labels) < 0:
        raise DataError(f"{place}: holds no rows, or rows without a class; keep the parts that are labelled")
    present, dense = np.unique(labels, return_inverse=True)
    return Dataset(
        images=stacked(images, place),
        labels=dense.astype(np.int64),
        class_names=tuple(names[index] for index in present),
        published_test=np.array(tested) if any(tested) and not all(tested) else None,
    )


def _parts(place: str) -> dict[str, Any]:
    """Name to rows."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError as error:
        raise DataError(f"{place}: needs a package more: pip install 'lossbench[huggingface]'") from error
    try:
        found = load_from_disk(place.partition(":")[2])
    except Exception as error:  # of many kinds, from pyarrow too
        raise DataError(f"{place}: cannot be read: {str(error).splitlines()[0]}") from error
    return dict(found) if isinstance(found, DatasetDict) else {"train": found}


def _column(place: str, rows: Any, kind: str) -> str:
    """The one column of a kind of feature."""
    found = [str(name) for name, feature in rows.features.items() if type(feature).__name__ == kind]
    if len(found) != 1:
        have = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in rows.features.items())
        raise DataError(f"{place}: wants one column of type {kind}, has {have}; see select_columns and cast_column")
    return found[0]
