"""`csv:FILE`: rows of `path,label[,split]` that say where the pictures lie and what they are."""

from __future__ import annotations

import csv
from pathlib import Path

from lossbench.datasets.cache import cached
from lossbench.datasets.columns import OPTIONAL, columns_of
from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.pictures import Listed, decoded
from lossbench.datasets.pictures import outline as outline_of
from lossbench.plugins.mistakes import nearest

REQUIRED = ("path", "label")


def load(request: Request) -> Dataset:
    """The pictures of a table's rows, in their order; paths are relative to the table."""
    listed = listing(request.path)
    files = [Path(request.path).expanduser(), *(file for file in listed.files if file.is_file())]
    return cached("csv", request, files, decode)


def decode(request: Request) -> Dataset:
    """The pictures of `listing`."""
    return decoded(listing(request.path), request)


def outline(path: str) -> Dataset:
    """Labels and split without the pictures: see `pictures.outline`."""
    return outline_of(listing(path))


def listing(path: str) -> Listed:
    """The rows of a table: its first line names the columns, `path`, `label` and any of `split`, `group`, `role`, `id`.

    Other columns are not looked at.

    Raises:
        DataError: no such file, no such columns, or a row that does not fit them; names file and row.
    """
    if not path:
        raise DataError("csv: say which one: `csv:FILE`, with a line `path,label` and a row for each picture")
    file, place = Path(path).expanduser(), f"csv:{path}"
    rows = _rows(file, place)
    names = [row["path"] for row in rows]
    present = [column for column in OPTIONAL if column in rows[0]]
    table = {"labels": [row["label"] for row in rows]} | {name: [row[name] for row in rows] for name in present}
    columns = columns_of(place, table, first_row=2)
    if len(columns.class_names) < 2:
        raise DataError(f"{place}: holds one class, {columns.class_names[0]!r}; a comparison needs two or more")
    return Listed(place=place, names=names, files=[file.parent / name for name in names], columns=columns)


def _rows(file: Path, place: str) -> list[dict[str, str]]:
    if not file.is_file():
        raise DataError(f"{place}: is not a file")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            heading = list(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place}: is not a table of comma-separated UTF-8 text ({error})") from error
    if missing := [column for column in REQUIRED if column not in heading]:
        close = nearest(missing[0], heading)
        raise DataError(f"{place}: its first line must name path and label; it has no {missing[0]!r}{close}")
    if not rows:
        raise DataError(f"{place}: has no rows below its first line")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{place}: row {number}: has not the {len(heading)} fields of the first line")
    return rows
