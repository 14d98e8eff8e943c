"""Caltech-UCSD Birds 200-2011: 11,788 photographs of 200 kinds of birds (Wah et al. 2011)."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.layouts import Sample, assembled, checked, top
from lossbench.datasets.lists import table

TRAINED = 100  # the first half of the classes, as Song et al. 2016 (arXiv:1511.06452) split it


def load(request: Request) -> Dataset:
    """Whole pictures, the first hundred kinds to train and the others to test."""
    return checked(
        "cub200", request, list(listed(request)), decode, lists=("images.txt", "image_class_labels.txt", "classes.txt")
    )


def decode(request: Request) -> Dataset:
    """The pictures of `listed`."""
    return assembled("cub200", request, list(listed(request)))


def listed(request: Request) -> Iterator[Sample]:
    """Every row of images.txt, with its class of image_class_labels.txt."""
    root = top("cub200", request)
    numbers = dict(table(root / "image_class_labels.txt", 2))
    names = dict(table(root / "classes.txt", 2))
    for image, path in table(root / "images.txt", 2):
        label = numbers.get(image, "")
        if label not in names or not label.isdecimal():
            raise DataError(f"cub200: image {image} of images.txt has no class in the other lists; unpack it again")
        yield Sample(file=root / "images" / path, label=names[label], test=int(label) > TRAINED)
