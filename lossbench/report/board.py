"""`lossbench board FOLDER...`: one page of many experiments' results on the same tasks, and the table behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from lossbench import __version__
from lossbench.report.drawing import task_figures
from lossbench.report.drawing.attempts import Attempts
from lossbench.report.drawing.figures import Picture
from lossbench.report.drawing.svg import standalone
from lossbench.report.evidence.boards import Check, Gathered, Group, gather
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.sections import tiers
from lossbench.report.writing import board_page
from lossbench.report.writing.cells import Table
from lossbench.store import StoreError, foreign, write_whole
from lossbench.store.records import printable

TIDY = ("method", "task", "seed", "study", "fold", "status", "experiment", "group", "data_sha256", "budget", "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A group of comparable results as the page shows it; the key names it and its files."""

    key: str
    task: str
    modality: str
    budget: str
    experiments: str
    table: Table
    tiers: dict[str, int]
    picture: Picture | None
    left_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The whole page as one value."""

    version: str
    sections: tuple[Section, ...]
    tables: tuple[Table, ...]
    refused: tuple[str, ...]


def write(folders: Sequence[Path], into: Path, *, check: Check = foreign.check_record) -> Iterator[str]:
    """Write `index.html`, `board.md`, `results.csv` and figures of all experiments of the folders.

    Yields:
        What was refused, and the leading group of each group of comparable results; the last line is the page.

    Raises:
        StoreError: nothing in the folders can be shown.
    """
    gathered = gather(folders, check)
    groups, refused = _sound(gathered)
    if not groups:
        raise StoreError("; ".join(refused) or "no experiment is there")
    sections = [_section(group, evidence) for group, evidence in groups]
    own = [group for group, _ in groups]
    tables = (
        tiers.coverage(own, {section.key: section.tiers for section in sections}),
        tiers.history(own),
        tiers.apart(own),
    )
    board = Board(
        version=__version__,
        sections=tuple(sections),
        tables=tuple(table for table in tables if table),
        refused=tuple(refused),
    )
    files = {f"figures/{each.picture.name}.svg": standalone(each.picture.svg) for each in sections if each.picture}
    files["results.csv"] = tidy(groups).to_csv(index=False, lineterminator="\n")
    files["board.md"] = board_page.markdown_of(board)
    files["index.html"] = board_page.render(board)
    for name, content in files.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(into / name, content.encode())
    yield from (f"refused: {line}" for line in refused)
    for section in sections:
        leading = [name for name, tier in section.tiers.items() if tier == 1]
        line = f"{section.task} ({section.budget}; {section.experiments}): {', '.join(leading) or 'no tiers yet'}"
        yield printable(line)
    yield str(into / "index.html")


def tidy(groups: Sequence[tuple[Group, Evidence]]) -> pd.DataFrame:
    """One row a method, task and final run: who it is, what it scored and what it cost."""
    parts = []
    for group, evidence in groups:
        material, first = evidence.material, group.entries[0]
        rows = material.table[material.table["role"].isin(["final", "baseline"])]
        known = {run: entry for entry in group.entries for run in entry.table["run_id"]}
        entries = [known[run] for run in rows["run_id"]]
        lead = {
            "method": rows["recipe"],
            "seed": rows["seed"],
            "group": first.key,
            "data_sha256": first.settings["data"],
            "budget": tiers.budget_text(group),
            "experiment": [entry.name for entry in entries],
            "code": [entry.plan["provenance"][entry.task]["code"] for entry in entries],
        }
        figures = [name for name in rows if str(name).startswith(("test.", "cost."))]
        kept = rows[[*(name for name in ("study", "fold", "status", "task") if name in rows), *figures, "run_id"]]
        parts.append(kept.assign(**lead))
    table = pd.concat(parts, ignore_index=True)
    lead_names = [name for name in TIDY if name in table]
    measured = sorted(str(name) for name in table if str(name).startswith(("test.", "cost.")))
    table = table[[*lead_names, *measured, "run_id"]]
    return table.sort_values(["task", "group", "method", "study", "seed", "run_id"], ignore_index=True)


def _sound(gathered: Gathered) -> tuple[list[tuple[Group, Evidence]], list[str]]:
    """Groups whose tests can be computed; one whose figures no test can hold is named and left out."""
    found, refused = [], list(gathered.refused)
    for group in gathered.groups():
        try:
            evidence = Evidence(group.material)
            tiers.tiers(evidence, group.task)
            found.append((group, evidence))
        except (ValueError, ArithmeticError, KeyError, TypeError) as error:
            names = ", ".join(dict.fromkeys(entry.name for entry in group.entries))
            refused.append(f"{names}, {group.task}: cannot be compared: {error}")
    return found, refused


def _section(group: Group, evidence: Evidence) -> Section:
    key, attempt = group.entries[0].key, Attempts(group.task)
    picture = attempt("quality against cost", partial(task_figures.run_costs, evidence, group.task, f"front-{key}"))
    return Section(
        key=key,
        task=group.task,
        modality=group.entries[0].modality,
        budget=tiers.budget_text(group),
        experiments=", ".join(dict.fromkeys(entry.name for entry in group.entries)),
        table=tiers.table(group, evidence),
        tiers=tiers.tiers(evidence, group.task),
        picture=picture,
        left_out="; ".join(missing.sentence for missing in attempt.left_out),
    )
