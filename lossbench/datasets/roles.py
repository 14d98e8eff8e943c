"""What samples are searched for, or among: queries, gallery, both; distractors, which match nothing; junk, left out.

Distractors and junk take part in no protocol, as if they were not there, but that distractors stand in the gallery of a
protocol that has one. Where a part was made by the protocol and not by the publisher or the user, as validation mostly
is, nobody gave its samples such roles, and each is both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lossbench.datasets.dataset import BOTH, DISTRACTOR, GALLERY, QUERY, TEST, VAL, DataError, Dataset, Indices

if TYPE_CHECKING:
    from lossbench.datasets.splits import Split

OF_SAMPLES = ("published_test", "fixed_split", "groups", "roles", "ids")
OF_CLASSES = ("class_split", "class_family", "class_part")


def taking_part(data: Dataset) -> tuple[Dataset, Indices | None]:
    """The data set without distractors and junk, every image one black pixel, and the rows that it has; None: all.

    Raises:
        DataError: nothing is left.
    """
    if data.roles is None or (data.roles < DISTRACTOR).all():
        return data, None
    rows = np.flatnonzero(data.roles < DISTRACTOR)
    if not len(rows):
        raise DataError(f"{data.name or 'data set'}: every sample is a distractor or junk")
    present, labels = np.unique(data.labels[rows], return_inverse=True)

    def taken(names: tuple[str, ...], which: Indices) -> dict[str, Any]:
        return {name: array[which] for name in names if (array := getattr(data, name)) is not None}

    left = replace(
        data,
        images=np.zeros((len(rows), 1, 1), dtype=np.uint8),
        features=None,
        labels=labels.astype(np.int64),
        class_names=tuple(data.class_names[label] for label in present),
        **taken(OF_SAMPLES, rows),
        **taken(OF_CLASSES, present),
    )
    return left, rows


def with_gallery(data: Dataset, parts: Split) -> Split:
    """The parts of a split with the distractors of val and test in them.

    Raises:
        DataError: no query of either has a match.
    """
    stray = np.flatnonzero(data.roles == DISTRACTOR) if data.roles is not None else np.zeros(0, dtype=np.int64)
    of = np.full(len(stray), TEST) if data.fixed_split is None else data.fixed_split[stray]
    parts = replace(
        parts,
        val=np.union1d(parts.val, stray[of == VAL]),
        test=np.union1d(parts.test, stray[of == TEST]),
    )
    for name, samples in (("val", parts.val), ("test", parts.test)):
        roles = roles_of(data, samples, made=name == "val")
        asking, lost = int(asks(roles).sum()), int((matches(data, samples, roles)[asks(roles)] == 0).sum())
        if lost == asking:
            raise DataError(
                f"{data.name or 'data set'}: query-gallery: none of the {asking} queries of {name} has a match in the "
                "gallery that is not of its own group; one at least must have"
            )
        if lost and name == "test":
            note = (
                f"query-gallery: {lost} of {asking} queries of test have no match in the gallery; they are not counted"
            )
            parts = replace(parts, notes=(*parts.notes, note))
    return parts


def roles_of(data: Dataset, samples: Indices, *, made: bool) -> Indices:
    """QUERY, GALLERY, BOTH or DISTRACTOR of the samples (n,) of a part.

    Args:
        made: whether the part may be one of which nobody gave the roles: each sample is both, if they do not say who
            asks or who is asked.
    """
    if data.roles is None:
        return np.full(len(samples), BOTH)
    roles = data.roles[samples]
    if made and not (asks(roles).any() and np.isin(roles, (GALLERY, BOTH)).any()):
        return np.where(roles == DISTRACTOR, DISTRACTOR, BOTH)
    return roles


def asks(roles: Indices) -> npt.NDArray[np.bool_]:
    """Which samples are queries."""
    return np.isin(roles, (QUERY, BOTH))


def stands(roles: Indices) -> npt.NDArray[np.bool_]:
    """Which samples are in the gallery."""
    return np.isin(roles, (GALLERY, BOTH, DISTRACTOR))


def groups_of(data: Dataset, samples: Indices) -> Indices:
    """The group of some samples (n,), -1 where it is not known."""
    return np.full(len(samples), -1) if data.groups is None else data.groups[samples]


def matches(data: Dataset, samples: Indices, roles: Indices) -> Indices:
    """How many matches each sample (n,) has in the gallery: of its class, of no group of its own, and not itself."""
    labels, groups = data.labels[samples], groups_of(data, samples)
    standing = np.isin(roles, (GALLERY, BOTH))
    cells = np.unique(labels * (groups.max() + 2) + groups + 1, return_inverse=True)[1]
    alike, beside = (np.bincount(each, weights=standing).astype(np.int64)[each] for each in (labels, cells))
    return alike - np.where(groups >= 0, beside, roles == BOTH)
