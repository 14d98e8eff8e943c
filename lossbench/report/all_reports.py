"""`reports/index.html`: every report of a folder on one page, the newest first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lossbench import __version__
from lossbench.report.writing.page import inlined, templates
from lossbench.store import write_whole

PAGE, RESULTS = "index.html", "results.json"
MARK = '<meta name="generator" content="lossbench'  # by which a page of ours is known: no other is written over
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A report as the page of all reports shows it.

    Attributes:
        address: of its page, relative to the folder.
        answers: the answer over all tasks; of a report without one, the answer of each task.
        size: what was compared, and how large the page is.
        state: what is missing; empty for a complete report.
        written_s: when, in seconds since 1970.
    """

    name: str
    address: str
    question: str
    answers: tuple[str, ...]
    size: str
    state: str
    written_s: float

    @property
    def written(self) -> str:
        """Date and time of the report, UTC."""
        return datetime.fromtimestamp(self.written_s, UTC).strftime("%Y-%m-%d %H:%M")


def write(reports: Path) -> Path | None:
    """Write the page of a folder's reports; None where something that is not ours stands in its place."""
    path = reports / PAGE
    if path.exists() and not _is_ours(path):
        return None
    write_whole(path, render(list(entries(reports))).encode())
    return path


def entries(reports: Path) -> Iterator[Entry]:
    """Every report in a folder, the newest first, equals by name."""
    found = []
    for path in reports.glob(f"*/{RESULTS}"):
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            found += [_entry(path.parent)] if (path.parent / PAGE).is_file() else []
    yield from sorted(found, key=lambda entry: (-entry.written_s, entry.name))


def render(found: list[Entry]) -> str:
    """The page: no script, nothing fetched, every name a text."""
    page = templates().get_template("all_reports.html.jinja")
    return page.render(entries=found, version=__version__, **inlined())


def _entry(folder: Path) -> Entry:
    """What a report's results say of it; a report that cannot be read is still there to be opened."""
    page = (folder / PAGE).stat()
    megabytes = f"{page.st_size / MEBIBYTE:.1f} MB"
    try:
        found = json.loads((folder / RESULTS).read_bytes())
        question, answers = str(found["question"]), tuple(_answers(found))
        size, state = f"{_compared(found)}; {megabytes}", _state(found["runs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        question, answers, size, state = "", (), megabytes, f"{RESULTS} cannot be read"
    return Entry(
        name=folder.name,
        address=f"./{quote(folder.name)}/{PAGE}",  # the dot: no name can be a scheme
        question=question,
        answers=answers,
        size=size,
        state=state,
        written_s=page.st_mtime,
    )


def _answers(found: Mapping[str, Any]) -> Iterator[str]:
    if headline := found.get("headline"):
        yield str(headline)
        return
    for task in found["tasks"]:
        answer = task["answer"]
        names = ", ".join(map(str, answer["recipes"]))
        label = answer.get("label", answer["kind"])
        yield f"{task['task']}: {label}{': ' if names else ''}{names}"


def _compared(found: Mapping[str, Any]) -> str:
    recipes, tasks, runs = len(found["recipes"]), len(found["tasks"]), int(found["runs"]["finished"])
    return ", ".join(_counted(*each) for each in ((recipes, "recipe"), (tasks, "task"), (runs, "run")))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _state(runs: Mapping[str, Any]) -> str:
    missing = int(runs["missing"])
    return f"partial: {_counted(missing, 'run')} of {int(runs['planned']):,} missing" if missing else ""


def _is_ours(path: Path) -> bool:
    try:
        return MARK.encode() in path.read_bytes()
    except OSError:  # a folder of that name
        return False
