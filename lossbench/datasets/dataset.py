"""What a data set is: images or vectors, labels, and the splits that belong to its definition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]
Fit = Literal["crop", "pad", "stretch"]

TRAIN, VAL, TEST = 0, 1, 2  # values of class_split and of fixed_split
QUERY, GALLERY, BOTH, DISTRACTOR, JUNK = 0, 1, 2, 3, 4  # values of roles
ROLES = ("query", "gallery", "both", "distractor", "junk")  # their names in files
DEV_TRAIN, DEV_TEST = -2, -1  # parts of a pairs file's development view; its folds count from 0


class DataError(ValueError):
    """Data that cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a data set plugin is asked for.

    Attributes:
        folder: the data folder; a data set keeps its files in a folder of its name there.
        size: edge of the images in pixels; None: as the data set has them.
        path: what follows the colon in `folder:PATH`.
        fit: how a picture that is not square becomes so, where there is a size (`images.squared`).
    """

    folder: Path
    size: int | None = None
    path: str = ""
    fit: Fit = "crop"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Pairs of samples to verify: the same class or not?

    Attributes:
        first, second: (P,) int64 sample indices.
        same: (P,) bool.
        part: (P,) int64: fold of the test view from 0, or DEV_TRAIN, DEV_TEST of the development view.
    """

    first: Indices
    second: Indices
    same: npt.NDArray[np.bool_]
    part: Indices

    def of(self, part: int) -> Pairs:
        """The pairs of one fold or development part."""
        chosen = self.part == part
        return Pairs(
            first=self.first[chosen],
            second=self.second[chosen],
            same=self.same[chosen],
            part=self.part[chosen],
        )

    def within(self, samples: Indices) -> tuple[Indices, Indices]:
        """Rows of `first` and `second` in sorted `samples` (N,), for embeddings (N, D) of those samples.

        Raises:
            DataError: a pair names a sample that is not among them.
        """
        rows = np.searchsorted(samples, self.first), np.searchsorted(samples, self.second)
        for row, wanted in zip(rows, (self.first, self.second), strict=True):
            if not np.array_equal(samples[np.minimum(row, len(samples) - 1)], wanted):
                raise DataError("a pair names a sample outside the split")
        return rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Images or vectors with labels, and the splits that belong to the data set's definition.

    Attributes:
        images: (N, H, W) or (N, H, W, 3) uint8; from the cache a read-only memory map.
        features: (N, F) float16 or float32 instead of images; from the cache a read-only memory map.
        labels: (N,) int64, 0..C-1, every class present.
        class_names: C names.
        class_split: (C,) TRAIN, VAL or TEST for open-set; None: the protocol makes one.
        val_is_made: whether which classes of `class_split` validate is a choice of whoever wrote the reader, so that a
            deal may choose others; False: it is the publisher's or the user's, and validation never trains.
        class_family: (C,) classes of one family, such as an alphabet, stay in one part in every deal; None: each alone.
        published_test: (N,) bool, the publisher's test part for closed-set.
        fixed_split: (N,) TRAIN, VAL or TEST: a user's own split, which holds under every protocol. Its VAL samples
            never train, in no deal; without any, validation comes out of TRAIN. TEST is never empty.
        pairs: for verification.
        class_part: (C,) the part of `pairs` that a class belongs to in the test view: folds from 0, -1: none.
        max_per_class: the long-tail rule of `splits`: only the first so many samples of a class count.
        groups: (N,) int64: where a sample comes from, such as its camera; -1: not known.
        roles: (N,) QUERY, GALLERY, BOTH, DISTRACTOR or JUNK: what a sample of the test part is searched for, or among.
            A distractor matches nothing, whatever its label, and is seen where there is a gallery; junk nowhere.
        ids: (N,) str: names to show a sample by.
        unreadable: files that were left out because they could not be read, as `NAME (REASON)`.
        notes: what else reading left out or altered, one line each; said on every load.
        name, protocols: as the plugin declares them; filled in by `load`.
        checksum: SHA-256 of every array above but the groups: of the content, not of the archive's bytes. Groups count
            where they are used, `checksum_under`.

    Raises:
        DataError: parts that do not fit each other.
    """

    images: Images | None = None
    features: Samples | None = None
    labels: Indices
    class_names: tuple[str, ...]
    class_split: Indices | None = None
    val_is_made: bool = False
    class_family: Indices | None = None
    published_test: npt.NDArray[np.bool_] | None = None
    fixed_split: Indices | None = None
    pairs: Pairs | None = None
    class_part: Indices | None = None
    max_per_class: int | None = None
    groups: Indices | None = None
    roles: Indices | None = None
    ids: npt.NDArray[np.str_] | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    protocols: tuple[str, ...] = ()
    checksum: str = ""

    def __post_init__(self) -> None:
        """Reject parts that do not fit each other."""
        for wrong, message in _mismatches(self):
            if wrong:
                raise DataError(f"{self.name or 'data set'}: {message}")

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def samples(self) -> Samples:
        """The images or the features."""
        samples = self.features if self.images is None else self.images
        assert samples is not None  # one of them is there
        return samples


def _mismatches(data: Dataset) -> list[tuple[bool, str]]:
    """Every rule of a data set: whether it is broken, and what to say then."""
    if (data.images is None) == (data.features is None):
        return [(True, "needs either images or features")]
    samples, labels = data.samples, data.labels
    count, classes = len(labels), len(data.class_names)
    rows = {
        name: array
        for name, array in (
            ("test part", data.published_test),
            ("split", data.fixed_split),
            ("list of groups", data.groups),
            ("list of roles", data.roles),
            ("list of ids", data.ids),
        )
        if array is not None
    }
    labelled = labels.dtype == np.int64 and labels.ndim == 1 and count > 0
    present = np.bincount(labels[labels >= 0], minlength=classes) > 0 if labelled else np.zeros(0, dtype=bool)
    covered = all(
        part is None or len(part) == classes for part in (data.class_split, data.class_part, data.class_family)
    )
    return [
        _misshapen(data),
        (not labelled, "labels are not a non-empty row of int64"),
        (
            len(samples) != count,
            f"{len(samples)} {'images' if data.features is None else 'features'}, but {count} labels",
        ),
        (
            len(present) != classes or not present.all() or bool((labels < 0).any()),
            f"labels are not exactly 0 to {classes - 1}",
        ),
        (not covered, "a class split does not cover the classes"),
        *((len(array) != count, f"the {name} names {len(array)} samples of {count}") for name, array in rows.items()),
        (
            data.fixed_split is not None
            and not {TRAIN, TEST} <= set(np.unique(data.fixed_split)) <= {TRAIN, VAL, TEST},
            "the split needs samples to train and samples to test",
        ),
    ]


def _misshapen(data: Dataset) -> tuple[bool, str]:
    """Whether the samples have the wrong form, and what to say then."""
    found = f"{data.samples.dtype} {data.samples.shape}"
    if data.images is not None:
        shaped = data.images.ndim == 3 or (data.images.ndim == 4 and data.images.shape[3] == 3)
        return data.images.dtype != np.uint8 or not shaped, f"images are {found}, not uint8 (N, H, W)"
    floats = data.samples.dtype in (np.float16, np.float32)
    return not floats or data.samples.ndim != 2, f"features are {found}, not float16 or float32 (N, F)"


def with_checksum(data: Dataset) -> Dataset:
    """The same data set with the SHA-256 of its content."""
    digest = hashlib.sha256(f"max_per_class {data.max_per_class};".encode())
    if data.val_is_made:
        digest.update(b"val_is_made;")
    for name, array in arrays_of(data).items():
        if name != "groups":
            _add(digest, name, array)
    return replace(data, checksum=digest.hexdigest())


def checksum_under(data: Dataset, protocol: str) -> str:
    """SHA-256 of what a task's results depend on: the content, and the groups where a gallery is searched by them."""
    if protocol != "query-gallery" or data.groups is None:
        return data.checksum
    digest = hashlib.sha256(f"{data.checksum};".encode())
    _add(digest, "groups", data.groups)
    return digest.hexdigest()


def _add(digest: Any, name: str, array: npt.NDArray[Any]) -> None:
    digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
    digest.update(np.ascontiguousarray(array).data)


def arrays_of(data: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Every array of a data set by name, absent ones left out."""
    arrays: dict[str, npt.NDArray[Any] | None] = {
        "images": data.images,
        "features": data.features,
        "labels": data.labels,
        "class_split": data.class_split,
        "class_family": data.class_family,
        "published_test": data.published_test,
        "class_part": data.class_part,
        "fixed_split": data.fixed_split,
        "groups": data.groups,
        "roles": data.roles,
        "ids": data.ids,
    }
    if data.pairs is not None:
        arrays |= {f"pairs.{part}": getattr(data.pairs, part) for part in ("first", "second", "same", "part")}
    return {name: array for name, array in arrays.items() if array is not None}
