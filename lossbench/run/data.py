"""The data of a task: its three splits as tensors on the device that computes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lossbench import datasets
from lossbench.datasets import splits
from lossbench.datasets.dataset import DISTRACTOR, Dataset, Fit, Pairs, checksum_under
from lossbench.datasets.loading import UnreadableFiles
from lossbench.datasets.roles import groups_of, roles_of
from lossbench.datasets.subset import training_samples, validation_samples
from lossbench.run.evaluation import PairRows
from lossbench.run.rows import Rows, Samples
from lossbench.run.searching import Roles, roles_from
from lossbench.run.seeding import stream_seed
from lossbench.specification.spec import RunSpec
from lossbench.specification.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split on the device: uint8 images (N, C, H, W) or floating vectors (N, F), and labels (N,) in 0..C-1.

    A distractor has the label C.

    Attributes:
        roles: who asks and who is asked, where the protocol has a gallery.
        names: (N,) by which vectors are shown: their ids, else their rows in the data set; None for images.
    """

    images: Samples
    labels: Tensor
    roles: Roles | None = None
    names: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """The three splits of a task, its number of training classes and the names of its test classes.

    Attributes:
        pairs: pairs to verify of `val` and of `test`, where the protocol brings its own.
    """

    train: Split
    val: Split
    test: Split
    num_classes: int
    test_names: tuple[str, ...]
    checksum: str
    pairs: tuple[PairRows, PairRows] | None = None


@lru_cache(maxsize=2)
def source(dataset: str, input_size: int | None, fit: Fit) -> Dataset:
    """A data set, loaded once a worker: its deals are indices into it."""
    with warnings.catch_warnings():  # whoever planned the run was told
        warnings.simplefilter("ignore", UnreadableFiles)
        return datasets.load(dataset, input_size, fit)


def task_data(spec: RunSpec) -> TaskData:
    """The splits of a run's task as tensors; kept, because a worker meets the same ones again and again."""
    size = spec.task.input_size or spec.training.input_size
    return _task_data(spec.task, size, spec.training.device, spec.fold, spec.deal)


def forget() -> None:
    """Forget what was loaded: the files may be others now."""
    source.cache_clear()
    _task_data.cache_clear()


@lru_cache(maxsize=2)
def _task_data(task: Task, input_size: int | None, device: str, fold: int | None, deal: int | None) -> TaskData:
    data = source(task.dataset, input_size, task.fit)
    parts = splits.split(data, task.protocol, fold=fold, deal=deal)
    train_index = training_samples(data, parts, task.train_classes, deal)
    val_index = validation_samples(data, parts, task.val_classes, deal)
    train_classes = np.unique(data.labels[train_index])
    closed = task.protocol == "closed-set"

    def tensors(index: np.ndarray, classes: np.ndarray) -> Split:
        labels = torch.from_numpy(np.searchsorted(classes, data.labels[index])).to(device)
        if data.features is not None:
            names = index.astype(str) if data.ids is None else data.ids[index]
            rows = Rows(data.features, index)
            return Split(images=rows if device == "cpu" else rows[:].to(device), labels=labels, names=names)
        samples = torch.from_numpy(np.ascontiguousarray(data.samples[index]))
        images = samples.unsqueeze(1) if samples.ndim == 3 else samples.permute(0, 3, 1, 2)
        return Split(images=images.contiguous().to(device), labels=labels)

    def classes_of(index: np.ndarray) -> np.ndarray:
        return train_classes if closed else np.unique(data.labels[index[~_strays(data, index)]])

    def searched(index: np.ndarray, *, made: bool) -> Split:
        found = tensors(index, classes := classes_of(index))
        if task.protocol != "query-gallery":
            return found
        stray = torch.from_numpy(_strays(data, index)).to(device)
        labels = found.labels.masked_fill(stray, len(classes))
        roles = roles_from(roles_of(data, index, made=made), groups_of(data, index), device)
        return replace(found, labels=labels, roles=roles)

    def rows_of(pairs: Pairs, samples: np.ndarray) -> PairRows:
        first, second = (torch.from_numpy(rows).to(device) for rows in pairs.within(samples))
        return PairRows(first=first, second=second, same=torch.from_numpy(pairs.same).to(device))

    pairs = None
    if parts.val_pairs is not None and parts.test_pairs is not None:
        pairs = rows_of(parts.val_pairs, parts.val), rows_of(parts.test_pairs, parts.test)
    return TaskData(
        train=tensors(train_index, train_classes),
        val=searched(val_index, made=True),
        test=searched(parts.test, made=False),
        num_classes=len(train_classes),
        test_names=(
            *(data.class_names[label] for label in classes_of(parts.test)),
            *(["distractor"] if _strays(data, parts.test).any() else []),
        ),
        checksum=checksum_under(data, task.protocol),
        pairs=pairs,
    )


def _strays(data: Dataset, index: np.ndarray) -> np.ndarray:
    """Which of some samples (n,) are distractors."""
    return np.zeros(len(index), dtype=bool) if data.roles is None else data.roles[index] == DISTRACTOR


def with_label_noise(data: TaskData, spec: RunSpec) -> TaskData:
    """Training and validation with a share of wrong labels, drawn from the seed's own stream."""
    share = spec.training.label_noise if spec.task.label_noise is None else spec.task.label_noise
    if not share:
        return data
    rng = np.random.default_rng(stream_seed(spec.seed, "label_noise"))

    def noisy(split: Split) -> Split:
        labels = split.labels.cpu().numpy().copy()
        classed = slice(None) if split.roles is None else split.roles.classed.cpu().numpy()
        labels[classed] = splits.mislabel(labels[classed], share, rng)
        return replace(split, labels=torch.from_numpy(labels).to(split.labels.device))

    return replace(data, train=noisy(data.train), val=noisy(data.val))
