"""What a table says of each sample: class, split, group, role, id; the same words in every kind of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lossbench.datasets.dataset import ROLES, TEST, TRAIN, VAL, DataError, Dataset, Indices
from lossbench.plugins.mistakes import nearest

SPLITS = {
    "train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST, "testing": TEST,
}  # fmt: skip
OPTIONAL = ("split", "group", "role", "id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Of N samples the classes, and whatever else is known; fields are those of `Dataset`."""

    labels: Indices
    class_names: tuple[str, ...]
    fixed_split: Indices | None = None
    groups: Indices | None = None
    roles: Indices | None = None
    ids: npt.NDArray[np.str_] | None = None

    def only(self, rows: Indices) -> tuple[Columns, list[str]]:
        """The columns of some rows, and the names of the classes that these leave without any."""
        present, labels = np.unique(self.labels[rows], return_inverse=True)
        kept = {name: None if (array := getattr(self, name)) is None else array[rows] for name in _ROWS}
        gone = sorted(set(range(len(self.class_names))) - set(present.tolist()))
        names = tuple(self.class_names[label] for label in present)
        columns = replace(self, labels=labels.astype(np.int64), class_names=names, **kept)
        return columns, [self.class_names[label] for label in gone]

    def dataset(self, **others: Any) -> Dataset:
        """The data set that these columns and `others`, such as the images, make."""
        known = {name: getattr(self, name) for name in ("labels", "class_names", *_ROWS)}
        return Dataset(**known, **others)


_ROWS = ("fixed_split", "groups", "roles", "ids")


def columns_of(place: str, table: Mapping[str, Sequence[Any]], *, first_row: int = 0) -> Columns:
    """Columns from the lists of a table: `labels`, and those of `split`, `group`, `role` and `id` that are there.

    Args:
        place: file or data set that messages begin with.
        first_row: number of the first row where rows are counted, as 2 in a text file with a heading.

    Raises:
        DataError: a missing label, or an unknown word; names the row.
    """

    def coded(column: str, words: Mapping[str, int], values: Sequence[Any]) -> Indices:
        codes = {value: words.get(str(value).strip().lower()) for value in set(values)}
        for value in sorted((str(value) for value, code in codes.items() if code is None)):
            row = next(number for number, found in enumerate(values) if str(found) == value)
            offered = list(words)
            raise DataError(
                f"{place}: row {row + first_row}: {column} {value!r} is none of {', '.join(offered)}"
                f"{nearest(value, offered)}"
            )
        return np.array([codes[value] for value in values], dtype=np.int64)

    labels, names = _classes(place, table["labels"], first_row)
    roles = {name: code for code, name in enumerate(ROLES)}
    split, group, role, identity = (table.get(name) for name in OPTIONAL)
    return Columns(
        labels=labels,
        class_names=names,
        fixed_split=None if split is None else _checked(place, coded("split", SPLITS, split)),
        groups=None if group is None else _groups(group),
        roles=None if role is None else coded("role", roles, role),
        ids=None if identity is None else np.array([str(each) for each in identity]),
    )


def _groups(values: Sequence[Any]) -> Indices:
    """Groups from 0 in the order of their text; -1 where none is named: nothing, -1 or NaN."""
    names = np.array([str(value).strip() for value in values])
    unknown = np.isin(names, ("", "-1", "-1.0", "nan"))
    groups = np.full(len(names), -1)
    groups[~unknown] = np.unique(names[~unknown], return_inverse=True)[1]
    return groups


def _classes(place: str, values: Sequence[Any], first_row: int) -> tuple[Indices, tuple[str, ...]]:
    """Labels 0 to C-1 and names of the classes, in the order of numbers or of text."""
    given = np.asarray(values)
    if given.dtype.kind not in "biufSU":
        raise DataError(f"{place}: labels are {given.dtype}, neither numbers nor text")
    if given.dtype.kind == "S":
        given = np.char.decode(given, "utf-8")
    text = given.dtype.kind == "U"
    given = np.char.strip(given) if text else given
    if (empty := given == "" if text else given != given).any():
        raise DataError(f"{place}: row {int(np.argmax(empty)) + first_row}: has no label")
    if given.dtype.kind == "f" and (given == np.round(given)).all():
        given = given.astype(np.int64)
    names, labels = np.unique(given, return_inverse=True)
    return labels.astype(np.int64), tuple(str(name) for name in names)


def _checked(place: str, split: Indices) -> Indices:
    """A split with something to train and something to test on."""
    for part, value in (("train", TRAIN), ("test", TEST)):
        if not (split == value).any():
            rule = "a val of your own is never tested on, so " if (split == VAL).any() else ""
            raise DataError(
                f"{place}: its split has no {part}; {rule}name one of its parts {part}, or leave the split away"
            )
    return split
