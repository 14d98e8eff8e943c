"""CIFAR-10 and CIFAR-100 in the python layout: pickles in a tar archive, read without running them.

A pickle is a program. These hold dicts, lists, bytes and one array each; an array is rebuilt by three names of
NumPy. Our reader admits those three names and nothing else, and even they mean inert stand-ins here that only
keep what they are given: no code but ours runs, whatever the file says. The array is then made from its bytes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from lossbench.datasets.archives import members
from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import DataError, Dataset, Images, Indices, Request
from lossbench.datasets.images import resized
from lossbench.datasets.sources import local_files

EDGE = 32  # pixels
ROW = 3 * EDGE * EDGE  # bytes of an image: red, green, blue planes


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where an archive keeps what."""

    train: tuple[str, ...]
    test: str
    meta: str
    labels: bytes
    names: bytes


LAYOUTS = {
    "cifar10": Layout(
        train=tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
        test="cifar-10-batches-py/test_batch",
        meta="cifar-10-batches-py/batches.meta",
        labels=b"labels",
        names=b"label_names",
    ),
    "cifar100": Layout(
        train=("cifar-100-python/train",),
        test="cifar-100-python/test",
        meta="cifar-100-python/meta",
        labels=b"fine_labels",
        names=b"fine_label_names",
    ),
}


def load(name: str, request: Request) -> Dataset:
    """50,000 training and 10,000 test images, 32 x 32 in colour.

    Args:
        name: `cifar10` or `cifar100`, the latter with its 100 fine labels.
    """
    decode = {"cifar10": decode_cifar10, "cifar100": decode_cifar100}[name]
    return cached(name, request, local_files(name, request.folder), decode)


def decode_cifar10(request: Request) -> Dataset:
    """The archive of `cifar10`."""
    return _decode("cifar10", request)


def decode_cifar100(request: Request) -> Dataset:
    """The archive of `cifar100`."""
    return _decode("cifar100", request)


def _decode(name: str, request: Request) -> Dataset:
    (archive,) = local_files(name, request.folder)
    layout = LAYOUTS[name]
    wanted = {*layout.train, layout.test, layout.meta}
    found = dict(members(archive, wanted.__contains__))
    if missing := sorted(wanted - found.keys()):
        raise DataError(f"{archive}: {', '.join(missing)} not in the archive; fetch it again")
    parts = [_batch(found[member], f"{archive}: {member}", layout.labels) for member in (*layout.train, layout.test)]
    return Dataset(
        images=resized(np.concatenate([images for images, _ in parts]), request.size),
        labels=np.concatenate([labels for _, labels in parts]),
        class_names=_names(found[layout.meta], f"{archive}: {layout.meta}", layout.names),
        published_test=np.repeat([*(False for _ in layout.train), True], [len(labels) for _, labels in parts]),
    )


def _batch(content: bytes, place: str, labels_key: bytes) -> tuple[Images, Indices]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) int64 of one pickled batch."""
    batch = read_pickle(content, place)
    data, labels = batch.get(b"data"), batch.get(labels_key)
    if not isinstance(data, StoredArray) or not _is_list(labels, int):
        raise DataError(f"{place}: has no images or labels where CIFAR keeps them")
    pixels = data.to_uint8(place)
    if pixels.shape != (len(labels), ROW):
        raise DataError(f"{place}: images {pixels.shape}, but {len(labels)} labels of {ROW} bytes each")
    planes = pixels.reshape(len(labels), 3, EDGE, EDGE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, dtype=np.int64)


def _names(content: bytes, place: str, key: bytes) -> tuple[str, ...]:
    names = read_pickle(content, place).get(key)
    if not _is_list(names, bytes):
        raise DataError(f"{place}: has no class names")
    return tuple(name.decode("utf-8", "replace") for name in names)


def _is_list(value: Any, kind: type) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(type(item) is kind for item in value)


# pickles


class StoredDtype:
    """What a pickle says of an array's type, kept and not acted on."""

    def __init__(self, *arguments: Any) -> None:
        self.code = arguments[0] if arguments else None

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and fields: only single bytes are accepted."""


class StoredArray:
    """What a pickle says of an array, kept and not acted on."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Keep (version, shape, dtype, column order, bytes)."""
        self.state = state

    def to_uint8(self, place: str) -> Images:
        """The array, if it is one of unsigned bytes in two dimensions.

        Raises:
            DataError: it is anything else.
        """
        match self.state:
            case (int(), (int(rows), int(columns)), StoredDtype(code=b"u1" | "u1"), order, bytes(content)) if (
                rows >= 0 and columns >= 0 and len(content) == rows * columns
            ):
                flat = np.frombuffer(content, dtype=np.uint8)
                return flat.reshape((rows, columns), order="F" if order else "C")
        raise DataError(f"{place}: the array is not rows of unsigned bytes")


def _reconstruct(*_: Any) -> StoredArray:
    return StoredArray()


ADMITTED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "dtype"): StoredDtype,
}


class InertUnpickler(pickle.Unpickler):
    """Plain containers and inert stand-ins for arrays; every other name in a pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """One of the stand-ins."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which no CIFAR file needs")
        return ADMITTED[module, name]


def read_pickle(content: bytes, place: str) -> Mapping[bytes, Any]:
    """The dict of a pickle, with text as bytes and arrays as `StoredArray`.

    Raises:
        DataError: it is damaged, or asks for anything but what a CIFAR file needs.
    """
    try:
        value = InertUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a crafted pickle can make the reader raise anything
        raise DataError(f"{place}: refused: {error or type(error).__name__}") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: holds no dict")
    return value
