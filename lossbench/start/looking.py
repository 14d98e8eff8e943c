"""What lies in a folder, a table or a file of features, and which questions its splits allow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lossbench import datasets
from lossbench.datasets import folder, splits, table
from lossbench.datasets.dataset import ROLES, DataError, Dataset, Fit, Indices
from lossbench.datasets.loading import UnreadableFiles
from lossbench.datasets.splits import Split
from lossbench.specification import flags

HEADERS = 1000  # pictures of which size and color are looked at, evenly spread
PHOTOGRAPHS = ("JPEG", "HEIF", "WEBP")
LARGE, SMALL = 64, 32  # pixels of an edge that the shipped networks learn from in minutes
MANY = 20_000  # pictures from which on the smaller of them is enough to begin with
LOST = 1.5  # long edge to short one above which the middle square loses more than a third
ALIKE = 1.1  # largest to smallest of such ratios that are all alike, as boxes of people are
SHOWN = 3  # names of classes


class Shapes(NamedTuple):
    """What headers say of pictures.

    Attributes:
        files: how many there are.
        edges: (n, 2) of some of them in pixels, width first.
        color: whether any of these has color.
        photographs: whether most of these are.
    """

    files: int
    edges: Indices
    color: bool
    photographs: bool

    @property
    def shortest(self) -> float:
        """The median of the shorter edges in pixels."""
        return float(np.median(self.edges.min(axis=1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is.

    Attributes:
        dataset: as an experiment names it.
        data: as the experiment will have it, at `size` and `fit`.
        shapes: of its pictures, before they are made square; None of vectors and of what is no file of one's own.
        size, fit: as in `specification.task.Task`.
        left_out: what could not be read or was altered, one line a reason.
        parts: the split of every protocol that its samples allow.
        refused: why they do not allow the others.
    """

    dataset: str
    data: Dataset
    shapes: Shapes | None
    size: int | None
    fit: Fit
    left_out: Sequence[str]
    parts: Mapping[str, Split]
    refused: Mapping[str, str]

    @property
    def samples(self) -> str:
        """What its samples are called."""
        return "pictures" if self.data.features is None else "vectors"


def look(given: str) -> Found:
    """Read data as `lossbench run` will; `given` is a path, or a data set's name.

    Raises:
        DataError: it cannot be used; one line that says what to do.
        PluginError: it is no data.
    """
    name = flags.dataset_of(given)
    shapes = _shapes(name)
    size = _size(shapes) if shapes else None
    fit = _fit(shapes) if shapes and size else "crop"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = datasets.load(name, size, fit)
    left_out = []
    for warning in said:
        if isinstance(warning.message, UnreadableFiles):
            left_out.append(str(warning.message).removeprefix(f"{name}: "))
        else:
            warnings.warn(warning.message, stacklevel=2)
    parts, refused = _allowed(data)
    return Found(
        dataset=name,
        data=data,
        shapes=shapes,
        size=size,
        fit=fit,
        left_out=left_out,
        parts=parts,
        refused=refused,
    )


def facts(found: Found) -> Iterator[str]:
    """What is there, one line each."""
    data = found.data
    counts = np.bincount(data.labels)
    names = ", ".join(data.class_names[:SHOWN])
    more = f" and {len(counts) - SHOWN:,} more" if len(counts) > SHOWN else ""
    yield f"{found.dataset}: {len(data.labels):,} {found.samples} of {len(counts):,} classes ({names}{more})"
    yield f"  {_sizes(counts)}"
    if found.shapes is not None:
        yield f"  pictures: {_described(found.shapes)}"
    if data.features is not None:
        yield f"  vectors: {data.features.shape[1]:,} values, {data.features.dtype}"
    if data.groups is not None:
        yield f"  groups, such as cameras: {len(np.unique(data.groups[data.groups >= 0])):,}"
    if data.roles is not None:
        held = np.bincount(data.roles, minlength=len(ROLES))
        yield f"  roles: {', '.join(f'{count:,} {role}' for role, count in zip(ROLES, held, strict=True) if count)}"
    if data.fixed_split is not None:
        yield "  a split of your own, which is used as it is"
    yield from (f"  {line}" for line in found.left_out)


def questions(found: Found) -> Iterator[str]:
    """What can be asked, and what not and why, one line a protocol."""
    for name in found.data.protocols:
        if name not in found.parts:
            yield f"  {name}: no. {found.refused[name]}"
            continue
        parts = found.parts[name]
        several = [parts.train, parts.val, parts.test]
        sizes, classes = (
            "{:,}, {:,} and {:,}".format(*numbers)
            for numbers in (map(len, several), (len(splits.classes_of(found.data, part)) for part in several))
        )
        yield f"  {name}: {sizes} {found.samples} of {classes} classes to train, validate and test"


def _allowed(data: Dataset) -> tuple[dict[str, Split], dict[str, str]]:
    parts, refused = {}, {}
    for protocol in data.protocols:
        try:
            parts[protocol] = splits.split(data, protocol)
        except DataError as error:
            refused[protocol] = str(error).removeprefix(f"{data.name}: ").removeprefix(f"{protocol}: ")
    if not parts:
        raise DataError("; ".join(f"{data.name}: {protocol}: {why}" for protocol, why in refused.items()))
    return parts, refused


# pictures before they are square


def _shapes(name: str) -> Shapes | None:
    """Sizes and color of the pictures in files of one's own, from their headers."""
    kind, _, path = name.partition(":")
    if kind not in ("folder", "csv"):
        return None
    files = (folder.listing(path) if kind == "folder" else table.listing(path)).files
    chosen = [files[row] for row in np.unique(np.linspace(0, len(files) - 1, HEADERS).round().astype(int))]
    headers = [header for file in chosen if (header := _header(file)) is not None]
    if not headers:
        return None  # decoding will say why
    edges, color, photograph = zip(*headers, strict=True)
    return Shapes(len(files), np.array(edges), any(color), 2 * sum(photograph) > len(headers))


def _header(file: Path) -> tuple[tuple[int, int], bool, bool] | None:
    """Size, whether it has color, whether it is a photograph; None where it cannot be read."""
    try:
        with Image.open(file) as picture:
            return picture.size, picture.mode not in ("1", "L", "LA", "I", "F", "I;16"), picture.format in PHOTOGRAPHS
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _size(shapes: Shapes) -> int | None:
    """Pixels of an edge to learn from; None: as they are, where all are small squares of one size."""
    width, height = shapes.edges[0]
    if (shapes.edges == width).all() and width == height <= LARGE:
        return None
    return LARGE if shapes.shortest >= LARGE and shapes.files <= MANY else SMALL


def _fit(shapes: Shapes) -> Fit:
    """How pictures become square: their middle; where that loses much, all of them stretched alike or padded."""
    upright = shapes.edges[:, 0] / shapes.edges[:, 1]
    if np.median(np.maximum(upright, 1 / upright)) <= LOST:
        return "crop"
    return "stretch" if upright.max() <= ALIKE * upright.min() else "pad"


def _sizes(counts: Indices) -> str:
    """How many samples the classes have.

    >>> _sizes(np.array([10, 10])), _sizes(np.array([1, 2, 9]))
    ('10 of every class', '1 to 9 of a class, 2 in the middle, alone in its class 1')
    """
    if counts.min() == counts.max():
        return f"{counts[0]:,} of every class"
    single = f", alone in its class {(counts == 1).sum():,}" if (counts == 1).any() else ""
    return f"{counts.min():,} to {counts.max():,} of a class, {np.median(counts):,.0f} in the middle{single}"


def _described(shapes: Shapes) -> str:
    """`200 x 300 to 4,000 x 3,000 pixels, in color, photographs`."""
    order = np.argsort(shapes.edges.prod(axis=1))
    least, most = ("{:,} x {:,}".format(*shapes.edges[order[end]]) for end in (0, -1))
    sizes = least if least == most else f"{least} to {most}"
    kinds = f"{'in color' if shapes.color else 'gray'}{', photographs' if shapes.photographs else ''}"
    return f"{sizes} pixels, {kinds}"
