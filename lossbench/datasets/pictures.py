"""Picture files to a data set: what is read, what is left out, and what is said of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lossbench.datasets.columns import Columns
from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.images import Picture, squared, stacked, transparent, upright

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pbm", ".pgm", ".ppm", ".pnm", ".bmp", ".webp", ".tif", ".tiff", ".gif",
)  # fmt: skip
HEIF = (".heic", ".heif")
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF", "GIF")  # the parsers that may run, whatever a file claims to be
SHOWN = 3  # names in a line of what was left out or altered


class Unreadable(Exception):  # noqa: N818  # a reason, caught where the file is counted
    """Why one file cannot be read."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A data set before its pictures are decoded.

    Attributes:
        place: how messages begin, as `folder:PATH`.
        names, files: of each picture; the name is the path from where the data set lies.
        columns: what is known of each picture.
        unreadable, notes: as in `Dataset`.
    """

    place: str
    names: Sequence[str]
    files: Sequence[Path]
    columns: Columns
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def outline(listed: Listed) -> Dataset:
    """Labels and split as decoding will give them if every file can be read; every image is one black pixel."""
    return listed.columns.dataset(images=np.zeros((len(listed.files), 1, 1), dtype=np.uint8))


def decoded(listed: Listed, request: Request) -> Dataset:
    """Every readable picture; a class of which none can be read is left out with a note.

    Raises:
        DataError: nothing can be read, or pictures differ in size and none is asked for.
    """
    pictures: list[Picture] = []
    kept: list[int] = []
    unreadable = list(listed.unreadable)
    seen_through: list[str] = []
    for row, (name, file) in enumerate(zip(listed.names, listed.files, strict=True)):
        try:
            picture, layered = read(file)
        except Unreadable as reason:
            unreadable.append(f"{name} ({reason})")
            continue
        kept.append(row)
        pictures.append(squared(picture, request.size, request.fit))
        if layered:
            seen_through.append(name)
    if not pictures:
        raise DataError(f"{listed.place}: none of its {len(listed.files)} files can be read: {unreadable[0]}")
    columns, lost = listed.columns.only(np.array(kept))
    notes = list(listed.notes)
    notes += [line(lost, "class", "left out: no picture of it can be read")] if lost else []
    notes += [line(seen_through, "picture", "with transparency laid over white")] if seen_through else []
    return columns.dataset(images=stacked(pictures, listed.place), unreadable=tuple(unreadable), notes=tuple(notes))


def line(names: Sequence[str], what: str, happened: str) -> str:
    """One line of what happened to some things: a count and three names.

    >>> line(["a", "b", "c", "d", "e"], "class", "left out")
    '5 classes left out: a, b, c and 2 more'
    """
    several = {"class": "classes", "box": "boxes"}.get(what, f"{what}s")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what if len(names) == 1 else several} {happened}: {', '.join(names[:SHOWN])}{more}"


def read(file: Path) -> tuple[Image.Image, bool]:
    """The picture in a file, upright, and whether any of it is transparent.

    Raises:
        Unreadable: it is no picture, or a damaged one.
    """
    formats = _formats(file)
    try:
        with Image.open(file, formats=formats) as opened:
            if opened.mode == "F":
                raise Unreadable("floating-point pixels, of no known range")
            return upright(opened), transparent(opened) is not None
    except FileNotFoundError as error:
        raise Unreadable("not there") from error
    except OSError as error:
        raise Unreadable("damaged, or not what its name says") from error
    except Unreadable:
        raise
    except Exception as error:  # whatever a decoder raises, it is this one file that cannot be read
        raise Unreadable(type(error).__name__) from error


def _formats(file: Path) -> tuple[str, ...]:
    """The parsers that may open a file."""
    suffix = file.suffix.lower()
    if suffix in HEIF:
        try:
            import pillow_heif
        except ImportError as error:
            raise Unreadable("needs pip install pillow-heif") from error
        pillow_heif.register_heif_opener()
        return ("HEIF",)
    if suffix not in SUFFIXES:
        raise Unreadable("not a picture" if file.is_file() or not file.exists() else "not a file")
    return FORMATS
