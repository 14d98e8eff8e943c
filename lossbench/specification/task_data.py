"""What a plan knows of a task's data: loaded once and split, before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lossbench import datasets
from lossbench.datasets import deals, splits
from lossbench.datasets.dataset import DataError, checksum_under
from lossbench.datasets.subset import training_samples, validation_samples
from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training


class Looked(NamedTuple):
    """Its content, its sizes and what studies can change in it.

    Attributes:
        train_size: training images, the fewest of any fold.
        scored: validation and test images.
        pixels: values in one image.
        parts: part to its classes and samples.
        deals: whether two deals of it can differ.
        folds: folds of its pairs file; 0 where it has none.
        vectors: whether its samples are vectors.
    """

    checksum: str
    train_size: int
    scored: tuple[int, int]
    pixels: int
    parts: Mapping[str, tuple[int, int]]
    deals: bool
    folds: int
    vectors: bool


def look_at(task: Task, training: Training) -> Looked:
    """Load the data of a task and make its splits.

    Raises:
        ValueError: unknown data set or protocol, missing data, or an impossible split.
    """
    if task.val_classes is not None and task.protocol not in ("open-set", "query-gallery"):
        raise DataError(f"val_classes: {task.protocol} has no validation classes to choose among; leave it away")
    if (outline := datasets.outline(task.dataset)) is not None:  # refused before hours of decoding
        _check_splits(outline, task, training)
    source = datasets.load(task.dataset, task.input_size or training.input_size, task.fit)
    if source.features is not None and task.input_size is not None:
        raise DataError(f"{task.dataset}: holds vectors, which have no size in pixels; leave input_size away")
    size, parts = _check_splits(source, task, training)
    for note in parts.notes:
        warnings.warn(f"{task.dataset}: {note}", stacklevel=2)
    free = deals.leaves_free(
        source, task.protocol, parts, train_classes=task.train_classes, val_classes=task.val_classes
    )
    samples = {
        "train": training_samples(source, parts, task.train_classes),
        "val": validation_samples(source, parts, task.val_classes),
        "test": parts.test,
    }
    return Looked(
        checksum=checksum_under(source, task.protocol),
        train_size=size,
        scored=(len(samples["val"]), len(samples["test"])),
        pixels=int(np.prod(source.samples.shape[1:])),
        parts={part: (len(splits.classes_of(source, own)), len(own)) for part, own in samples.items()},
        deals=free,
        folds=splits.folds(source, task.protocol),
        vectors=source.features is not None,
    )


def _check_splits(source: datasets.Dataset, task: Task, training: Training) -> tuple[int, splits.Split]:
    """The fewest training samples of any fold of a task, and the last of its splits.

    Raises:
        ValueError: an impossible split, or one without enough to train on.
    """
    sizes = []
    for fold in (None, *range(splits.folds(source, task.protocol))):
        parts = splits.split(source, task.protocol, fold=fold)
        sizes.append(len(training_samples(source, parts, task.train_classes)))
        validation_samples(source, parts, task.val_classes)
    if min(sizes) < training.batch_size:
        raise DataError(_too_few(min(sizes), training))
    return min(sizes), parts


def _too_few(size: int, training: Training) -> str:
    """That a batch is larger than the training set, and the line to paste that helps where one does."""
    rule = f"training.batch_size {training.batch_size} is more than the {size} samples there are to train on"
    batch = 2 ** (size.bit_length() - 1) if size else 0  # the largest power of two that they fill
    if batch < 4:
        return f"{rule}; more samples are needed, at least 4"
    per_class = min(training.samples_per_class, batch // 2)
    fewer = f" --set training.samples_per_class={per_class}" if per_class < training.samples_per_class else ""
    return f"{rule}; --set training.batch_size={batch}{fewer}"
