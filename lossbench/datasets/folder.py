"""A folder of one's own: one sub-folder a class; or `train/`, `val/` and `test/` with such folders inside.

`query/` and `gallery/` stand in the place of `test/`: both are the test, and say what asks and what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lossbench.datasets.cache import cached
from lossbench.datasets.columns import SPLITS, columns_of
from lossbench.datasets.dataset import TEST, DataError, Dataset, Request
from lossbench.datasets.pictures import Listed, decoded, line
from lossbench.datasets.pictures import outline as outline_of

ROLES = ("query", "gallery")
PARTS = SPLITS | dict.fromkeys(ROLES, TEST)

# What file managers, cameras and people leave beside pictures; nobody misses it, so nothing is said.
JUNK_NAMES = ("thumbs.db", "desktop.ini", "icon\r", "picasa.ini")
JUNK_SUFFIXES = (
    ".txt",
    ".md",
    ".csv",
    ".json",
    ".xml",
    ".html",
    ".ini",
    ".db",
    ".log",
    ".xmp",
    ".aae",
    ".yaml",
    ".yml",
)


def load(request: Request) -> Dataset:
    """Every picture below PATH/CLASS/, classes and files in the order of their names.

    With a size, pictures become squares as `Request.fit` says. Colour if any picture has colour. A file that cannot be
    read is left out and named in `Dataset.unreadable`.
    """
    listed = listing(request.path)
    known = "\n".join([*listed.names, *listed.notes])
    return cached("folder", request, [file for file in listed.files if file.is_file()], decode, extra=known)


def decode(request: Request) -> Dataset:
    """The pictures of `listing`."""
    return decoded(listing(request.path), request)


def outline(path: str) -> Dataset:
    """Labels and split without the pictures: see `pictures.outline`."""
    return outline_of(listing(path))


def listing(path: str) -> Listed:
    """The files of every class folder; names that start with a dot are not looked at.

    Raises:
        DataError: no folder, no class folder in it, or fewer than two with a file in them.
    """
    if not path:
        raise DataError("folder: say which one: `folder:PATH`, with one sub-folder per class")
    root, place = Path(path).expanduser(), f"folder:{path}"
    if not root.is_dir():
        raise DataError(f"{place}: is not a folder")
    parts = _parts(root)
    rows = [
        (name, label.name, file)
        for name, part in (parts.items() if parts else [("", root)])
        for label in _folders(part)
        for file in _files_below(label)
    ]
    folders = {label.name for part in (parts.values() if parts else [root]) for label in _folders(part)}
    if not folders:
        raise DataError(f"{place}: has no sub-folders; put the pictures of each class in a folder of its own")
    labels, files = [label for _, label, _ in rows], [file for *_, file in rows]
    empty = sorted(folders - set(labels))
    _refuse_one_class(place, root, sorted(set(labels)))
    table = {"labels": labels} | (_columns([part for part, *_ in rows]) if parts else {})
    return Listed(
        place=place,
        names=[file.relative_to(root).as_posix() for file in files],
        files=files,
        columns=columns_of(place, table),
        notes=(line(empty, "class folder", "left out, without a picture"),) if empty else (),
    )


def _refuse_one_class(place: str, root: Path, classes: Sequence[str]) -> None:
    if len(classes) > 1:
        return
    if classes and len(_folders(root / classes[0])) > 1:  # one level too high
        raise DataError(
            f"{place}: holds one class, {classes[0]!r}; if its sub-folders are the classes, say {place}/{classes[0]}"
        )
    held = f"one class, {classes[0]!r}" if classes else "no picture"
    raise DataError(f"{place}: holds {held}; a comparison needs two classes or more, each in a sub-folder of its own")


def _parts(root: Path) -> dict[str, Path]:
    """`train`, `val`, `test`, `query`, `gallery` to their folders, where these are what the folder consists of."""
    folders = _folders(root)
    named = all(folder.name.lower() in PARTS and _folders(folder) for folder in folders)
    return {folder.name: folder for folder in folders} if named and len(folders) > 1 else {}


def _columns(parts: Sequence[str]) -> dict[str, list[str]]:
    """The split of each picture by the folder of its part, and its role where there are queries.

    Of queries and a gallery alone no split is given: some of their classes train, as those of a plain folder do.
    """
    roles = [part.lower() if part.lower() in ROLES else "both" for part in parts]
    split = ["test" if role in ROLES else part for role, part in zip(roles, parts, strict=True)]
    given = {"split": split} if "both" in roles else {}
    return given | ({"role": roles} if set(roles) != {"both"} else {})


def _folders(folder: Path) -> list[Path]:
    return sorted(folder / entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder and of those inside it, junk left out; links to folders are not followed."""
    found = []
    for base, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if name[0] not in "._" and name != "__MACOSX"]
        found += [Path(base, name) for name in names if not _is_junk(name)]
    yield from sorted(found)


def _is_junk(name: str) -> bool:
    return name[0] == "." or name.lower() in JUNK_NAMES or Path(name).suffix.lower() in JUNK_SUFFIXES
