"""Plain text lists of publishers: one row a line, fields between blanks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lossbench.datasets.dataset import DataError


def table(path: Path, fields: int, *, heading: int = 0) -> Iterator[list[str]]:
    """The fields of every line that is not empty, below so many lines of heading.

    Raises:
        DataError: no such file, or a line with another number of fields; names file and line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); unpack the archive again") from error
    for number, text in enumerate(lines, start=1):
        found = text.split()
        if number <= heading or not found:
            continue
        if len(found) != fields:
            raise DataError(f"{path}:{number}: {len(found)} fields, not {fields}")
        yield found
