"""What every metric asks of its arrays, checked in one place.

Metrics compute in float64 whatever they are given: float32 accumulation would show in the sixth digit of a
mean over a million pairs, and in ||a||^2 + ||b||^2 - 2 a.b it would cancel the small distances altogether.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = "NDArray[Any] | Tensor"

# Beyond this, squared distances leave the range of float64. Nothing that was computed in float32 gets there.
LARGEST = 1e100
_GPU_FACTOR = 16


def as_tensor(values: Array, place: str) -> Tensor:
    """The values as a detached tensor, without a copy where torch can share the memory.

    Raises:
        ValueError: naming `place`: text or other objects instead of numbers.
    """
    if isinstance(values, Tensor):
        tensor = values.detach()
        return tensor.cpu() if tensor.device.type == "mps" else tensor  # Metal has no float64
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{place}: dtype {array.dtype} is not a number type")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)  # torch knows nothing longer
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)  # torch knows uint16 and wider by name only
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def at_once(elements: int, device: torch.device) -> int:
    """How many elements to take at once: what fits the cache of a core; a GPU would wait for the host with so few."""
    return elements if device.type == "cpu" else _GPU_FACTOR * elements


def read_matrix(values: Array, place: str) -> Tensor:
    """A real, finite matrix (N, D) with at least one row and column, as float64.

    Raises:
        ValueError: naming `place`, the value and the rule it breaks.
    """
    matrix = as_tensor(values, place)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{place}: shape {tuple(matrix.shape)} is not (N, D) with N and D at least 1")
    if matrix.is_complex() or matrix.dtype == torch.bool:
        raise ValueError(f"{place}: dtype {matrix.dtype} is not a real number type")
    matrix = matrix.to(torch.float64)
    good = (matrix.abs() <= LARGEST).all(1)
    if not good.all():
        row = int((~good).nonzero()[0])
        raise ValueError(f"{place}: row {row} is not finite, or beyond {LARGEST:g} in size")
    return matrix


def read_labels(values: Array, rows: int, device: torch.device, place: str = "labels") -> Tensor:
    """Integer labels (rows,), any values, as int64 on `device`.

    Raises:
        ValueError: naming `place`, the value and the rule it breaks.
    """
    labels = as_tensor(values, place)
    if labels.ndim != 1:
        raise ValueError(f"{place}: shape {tuple(labels.shape)} is not (N,)")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{place}: dtype {labels.dtype} is not an integer type")
    if len(labels) != rows:
        raise ValueError(f"{place}: {len(labels)} labels for {rows} rows; there must be one label for each")
    return labels.to(device=device, dtype=torch.int64)


def read_sample(embeddings: Array, labels: Array, place: str = "embeddings") -> tuple[Tensor, Tensor]:
    """Embeddings (N, D) as float64 and their labels (N,) as int64, on the device of the embeddings.

    Raises:
        ValueError: wrong shapes or types, lengths that differ, values that are not finite.
    """
    points = read_matrix(embeddings, place)
    return points, read_labels(labels, len(points), points.device, "gallery_labels" if place == "gallery" else "labels")


def read_rows(values: Array | None, count: int, device: torch.device, place: str = "asking") -> Tensor:
    """Rows (A,) of `count` samples, each once, as int64 on `device`; all of them where none are given.

    Raises:
        ValueError: naming `place`, the value and the rule it breaks.
    """
    if values is None:
        return torch.arange(count, device=device)
    rows = read_labels(values, len(values), device, place)
    if not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= count:
        raise ValueError(f"{place}: the rows of {count} samples are 0 to {count - 1}, and one at least must be named")
    if len(torch.unique(rows)) < len(rows):
        raise ValueError(f"{place}: a row is named twice")
    return rows
