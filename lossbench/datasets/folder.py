"""A folder of one's own: one sub-folder per class, pictures in it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import DataError, Dataset, Images, Request
from lossbench.datasets.images import squared, stacked, upright

SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP")  # the parsers that may run, whatever a file claims to be


def load(request: Request) -> Dataset:
    """Every picture under PATH/CLASS/, classes and files in the order of their names.

    With a size, pictures are cut to their middle square first. Colour if any picture has colour. A file that cannot
    be read is left out and named in `Dataset.unreadable`.
    """
    classes = class_files(Path(request.path).expanduser() if request.path else None)
    entries = [entry for listed in classes.values() for entry in listed]
    files = [entry for entry in entries if entry.is_file()]
    others = [str(entry) for entry in entries if not entry.is_file()] if len(files) < len(entries) else []
    return cached("folder", request, files, decode, extra="\n".join([*classes, *others]))


def class_files(root: Path | None) -> dict[str, list[Path]]:
    """The files of every class folder; names that start with a dot are not looked at.

    Raises:
        DataError: no folder, no class folder in it, or an empty class folder.
    """
    if root is None:
        raise DataError("folder: say which one: `folder:PATH`, with one sub-folder per class")
    if not root.is_dir():
        raise DataError(f"folder:{root}: is not a folder")
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"folder:{root}: has no sub-folders; put the pictures of each class in a folder of its own")
    classes = {name: _files_in(root / name) for name in names}
    if empty := [name for name, files in classes.items() if not files]:
        raise DataError(f"folder:{root}: class folder {', '.join(empty)} is empty; fill or remove it")
    return classes


def _files_in(folder: Path) -> list[Path]:
    return sorted(folder / entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))


def decode(request: Request) -> Dataset:
    """Every readable picture; a class whose files are all unreadable is an error."""
    root = Path(request.path).expanduser()
    classes = class_files(root)
    images: list[Images] = []
    labels: list[int] = []
    unreadable: list[str] = []
    for label, (name, files) in enumerate(classes.items()):
        before = len(images)
        for file in files:
            picture = _picture(file, request.size)
            if isinstance(picture, str):
                unreadable.append(f"{name}/{file.name} ({picture})")
            else:
                images.append(picture)
                labels.append(label)
        if len(images) == before:
            raise DataError(f"folder:{root}: class {name}: none of its {len(files)} files can be read")
    return Dataset(
        images=stacked(images, f"folder:{root}"),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(classes),
        unreadable=tuple(unreadable),
    )


def _picture(file: Path, size: int | None) -> Images | str:
    """(H, W) or (H, W, 3), or why the file cannot be read."""
    if file.suffix.lower() not in SUFFIXES:
        return "not a picture" if file.is_file() else "not a file"
    try:
        with Image.open(file, formats=FORMATS) as opened:
            picture = upright(opened)
    except Exception as error:  # whatever a decoder raises, it is this one file that cannot be read
        return type(error).__name__ if not isinstance(error, OSError) else "damaged, or not what its name says"
    return squared(picture, size)
