"""The board as a page that makes no request, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lossbench.report.writing import markdown
from lossbench.report.writing.page import inlined, templates

if TYPE_CHECKING:
    from lossbench.report.board import Board

TITLE = "Which loss leads where it was tried?"
FILTERS = ("task", "modality", "budget")


def render(board: Board) -> str:
    """One HTML file: every name in it is text, whoever chose it."""
    choices = {name: sorted({str(getattr(section, name)) for section in board.sections}) for name in FILTERS}
    page = templates().get_template("board.html.jinja")
    return page.render(board=board, title=TITLE, choices=choices, **inlined("board.js"))


def markdown_of(board: Board) -> str:
    """The same as Markdown, for a code host."""
    return "\n".join(_lines(board)).rstrip() + "\n"


def _lines(board: Board) -> Iterator[str]:
    yield f"# {TITLE}\n"
    yield "Joined are results of one data checksum, budget and setting. `results.csv`: a row a method, task and seed.\n"
    for line in board.refused:
        yield f"> {markdown.escape(line)}\n"
    for section in board.sections:
        yield f"## {markdown.escape(section.task)}\n"
        yield f"{markdown.escape(section.experiments)}; {section.budget}; group {section.key}\n"
        if section.picture:
            yield f"![{markdown.escape(section.picture.alt)}](figures/{section.picture.name}.svg)\n"
        if section.left_out:
            yield f"> {markdown.escape(section.left_out)}\n"
        yield from markdown.table(section.table)
    for table in board.tables:
        yield f"## {markdown.escape(table.caption)}\n"
        yield from markdown.table(table)
