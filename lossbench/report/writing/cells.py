"""Tables as values: what a cell says and what it sorts by, before anything is drawn."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lossbench.report.writing import formats

LONGEST = 36  # characters of a cell in a terminal


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, what it sorts by, and a mark (`up`, `down`, `muted`, `strong`) for its look."""

    text: str
    value: float | str | None = None
    mark: str = ""

    @property
    def sort_key(self) -> str:
        """What the page sorts by: the number itself, or the text."""
        if isinstance(self.value, float):
            return "" if math.isnan(self.value) else repr(self.value + 0.0)  # minus zero is zero
        return str(self.value) if self.value is not None else self.text


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its header, the unit or direction under it, and whether it holds numbers."""

    label: str
    note: str = ""
    numeric: bool = True

    @property
    def header(self) -> str:
        """Label and note in one line."""
        return f"{self.label} ({self.note})" if self.note else self.label


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `kind` is `recipe` or `baseline`."""

    cells: tuple[Cell, ...]
    kind: str = "recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with the sentence that says what is in it."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    filterable: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows) and len(self.columns) > 1


def make_table(
    name: str,
    caption: str,
    columns: Iterable[Column],
    rows: Iterable[Row],
    *,
    notes: Iterable[str] = (),
    filterable: bool = False,
) -> Table:
    """A table without the columns in which no row has anything to say."""
    columns, rows = tuple(columns), tuple(rows)
    kept = [
        index
        for index, column in enumerate(columns)
        if index == 0 or any(row.cells[index].text not in ("", "–") for row in rows)
    ]
    return Table(
        name=name,
        caption=caption,
        columns=tuple(columns[index] for index in kept),
        rows=tuple(Row(tuple(row.cells[index] for index in kept), row.kind) for row in rows),
        notes=tuple(notes),
        filterable=filterable,
    )


def separated(table: Table) -> str:
    """The table as CSV: numbers as Python prints them, which is exact; intervals and texts as the page shows them."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.header for column in table.columns])
    writer.writerows(
        [_exact(cell) if column.numeric else cell.text for cell, column in zip(row.cells, table.columns, strict=True)]
        for row in table.rows
    )
    return buffer.getvalue()


def _exact(cell: Cell) -> str:
    """An interval stays a text: its sort key is one end only."""
    is_number = isinstance(cell.value, float) and not cell.text.startswith("[")
    return cell.sort_key if is_number else cell.text.translate(_TO_ASCII)


def plain(table: Table, *, columns: int | None = None) -> list[str]:
    """The first columns of the table for a terminal: aligned, plain characters."""
    lines = [[column.label for column in table.columns]]
    lines += [[formats.shortened(cell.text, LONGEST) for cell in row.cells] for row in table.rows]
    lines = [[text.translate(_TO_ASCII) for text in line[:columns]] for line in lines]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    numeric = [column.numeric for column in table.columns][:columns]
    return [_plain_line(line, widths, numeric) for line in lines]


def _plain_line(line: list[str], widths: list[int], numeric: list[bool]) -> str:
    padded = [
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(line, widths, numeric, strict=True)
    ]
    return "  ".join(padded).rstrip()


_TO_ASCII: Mapping[int, str] = str.maketrans({"−": "-", "–": "-", "±": "+", "…": ".."})
