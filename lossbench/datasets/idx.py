"""MNIST and Fashion-MNIST: four gzipped files in the IDX layout."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import DataError, Dataset, Images, Request
from lossbench.datasets.images import resized
from lossbench.datasets.sources import local_files

MAX_BYTES = 1 << 30  # MNIST's largest file has 47 MB
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, in one
CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def load(name: str, request: Request) -> Dataset:
    """60,000 training and 10,000 test images of ten classes, 28 x 28 grey.

    Args:
        name: `mnist` or `fashion-mnist`.
    """
    decode = {"mnist": decode_mnist, "fashion-mnist": decode_fashion_mnist}[name]
    return cached(name, request, local_files(name, request.folder), decode)


def decode_mnist(request: Request) -> Dataset:
    """The four files of `mnist`."""
    return _decode("mnist", request)


def decode_fashion_mnist(request: Request) -> Dataset:
    """The four files of `fashion-mnist`."""
    return _decode("fashion-mnist", request)


def _decode(name: str, request: Request) -> Dataset:
    train_images, train_labels, test_images, test_labels = local_files(name, request.folder)
    parts = [labelled(train_images, train_labels), labelled(test_images, test_labels)]
    images = np.concatenate([images for images, _ in parts])
    return Dataset(
        images=resized(images, request.size),
        labels=np.concatenate([labels for _, labels in parts]).astype(np.int64),
        class_names=CLASS_NAMES[name],
        published_test=np.repeat([False, True], [len(labels) for _, labels in parts]),
    )


def labelled(images_path: Path, labels_path: Path) -> tuple[Images, Images]:
    """Images (N, H, W) and labels (N,) of a pair of files, uint8.

    Raises:
        DataError: a file that is not IDX, is cut short or too long, or counts that differ.
    """
    images, labels = read(images_path, IMAGES_MAGIC), read(labels_path, LABELS_MAGIC)
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: {len(labels)} labels, but {images_path.name} has {len(images)} images")
    return images, labels


def read(path: Path, magic: int) -> Images:
    """One IDX file of unsigned bytes; the magic number's last byte is the number of dimensions.

    Raises:
        DataError: wrong magic number, or content that does not fit the dimensions.
    """
    try:
        with gzip.open(path) as stream:
            start = int.from_bytes(stream.read(4), "big")
            if start != magic:
                raise DataError(f"{path}: magic number {start:#06x} instead of {magic:#06x}: not such an IDX file")
            header = stream.read(4 * (magic & 0xFF))
            shape = struct.unpack(f">{magic & 0xFF}I", header)
            expected = math.prod(shape)
            if expected > MAX_BYTES:
                raise DataError(f"{path}: announces {expected:,} bytes for {shape}: not such an IDX file")
            content = stream.read(expected + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged gzip file ({error}); fetch it again") from error
    except struct.error as error:
        raise DataError(f"{path}: ends within its header; fetch it again") from error
    if len(content) != expected:
        found = "more" if len(content) > expected else f"{len(content):,}"
        raise DataError(f"{path}: {expected:,} bytes announced for {shape}, but {found} found; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
