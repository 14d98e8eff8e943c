"""The report of an experiment: a page, a text, a table and a JSON file, made from `runs/` and nothing else.

Nothing here imports torch, and nothing compares recipes in words but `verdict` and `findings`, from tests.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lossbench.report import all_reports
from lossbench.report.document import Document, TaskReport, compose
from lossbench.report.drawing.svg import standalone
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import Material, gather
from lossbench.report.writing import latex, markdown, page
from lossbench.report.writing.cells import plain, separated
from lossbench.report.writing.results import results
from lossbench.store import write_whole

__all__ = ["watch", "write"]
WATCH_S = 2.0  # between two looks at the runs
RELOAD_S = 10  # after which a page that is being kept current loads itself again


def watch(name: str, runs: Path, reports: Path) -> Iterator[str]:
    """Write the report again whenever runs have come in; until all are there, the page loads itself again.

    Yields:
        One line a report, and the lines of the last one.
    """
    last = -1
    while True:
        material = gather(name, Path(runs))
        if material.progress.complete:
            yield from write(name, runs, reports)
            return
        if material.progress.finished != last:
            last = material.progress.finished
            *_, page = write(name, runs, reports, reload_s=RELOAD_S)
            yield f"{last} of {material.progress.planned} runs: {page}"
        time.sleep(WATCH_S)


def write(name: str, runs: Path, reports: Path, *, reload_s: int | None = None) -> Iterator[str]:
    """Write the report of an experiment to `reports/<name>/`, and the page of all reports; yield the lines to print.

    Args:
        name: of an experiment whose plan is in `runs`; its runs may be incomplete.
        runs: the only thing that is read.
        reports: each file is written whole or not at all.
        reload_s: the page loads itself again after so many seconds.

    Yields:
        The verdict of each task with its ranking; the last line is the path of the page.

    Raises:
        StoreError: no experiment of that name was run there.
    """
    material = gather(name, Path(runs))
    evidence = Evidence(material)
    document = compose(material, evidence)
    folder = Path(reports) / name
    options = {"reload_s": reload_s, "docs": _documents(folder)}
    for path, content in _files(material, evidence, document, options).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / path, content if isinstance(content, bytes) else content.encode())
    all_reports.write(Path(reports))
    yield from _terminal(document)
    yield str(folder / "index.html")


def _files(
    material: Material, evidence: Evidence, document: Document, options: Mapping[str, Any]
) -> dict[str, str | bytes]:
    """Every file of a report by its path; the page comes last, when what it stands beside is there."""
    groups: list[tuple[str, Document | TaskReport]] = [
        ("all", document),
        *[(item.key, item) for item in document.tasks],
    ]
    pictures = [picture for _, group in groups for picture in group.pictures.values()]
    files: dict[str, str | bytes] = {f"figures/{picture.name}.svg": standalone(picture.svg) for picture in pictures}
    files |= {f"figures/{item.key}-features.gif": item.animation for item in document.tasks if item.animation}
    for key, group in groups:
        for table in group.tables.values():
            files[f"tables/{key}-{table.name}.tex"] = latex.table(table)
            files[f"tables/{key}-{table.name}.csv"] = separated(table)
    files["experiment.toml"] = document.protocol.toml
    files["results.csv"] = _csv(material)
    files["results.json"] = json.dumps(results(evidence, document), indent=1, allow_nan=False) + "\n"
    files["report.md"] = markdown.render(document)
    files["index.html"] = page.render(document, **options)
    return files


def _documents(folder: Path) -> str:
    """The documents as seen from a report inside a checkout, which has them; empty elsewhere."""
    root = Path(__file__).resolve().parents[2]
    inside = root in folder.resolve().parents and (root / "docs" / "protocol.md").exists()
    return os.path.relpath(root / "docs", folder.resolve()) if inside else ""


def _csv(material: Material) -> str:
    """One row a finished run in the documented order; floats as Python prints them, which is exact."""
    table = material.table.drop(columns="task")
    whole = {name: "Int64" for name in ("trial", "best_epoch", "diverged_epoch") if name in table}
    return table.astype(whole).to_csv(index=False, lineterminator="\n")


def _terminal(document: Document) -> Iterator[str]:
    """The answer over all tasks, and that of each task with its ranking, in plain text."""
    if document.headline:
        yield ""
        yield document.headline
    for item in document.tasks:
        yield ""
        names = f": {', '.join(item.answer.shown)}" if item.answer.shown else ""
        yield f"{item.task}, {document.scope}: {item.answer.label}{names}"
        yield f"  {item.answer.sentence}".replace("−", "-").replace("±", "+-")
        for text in filter(None, (item.answer.margin, *item.answer.details)):
            yield f"  {text}".replace("−", "-").replace("±", "+-")
        yield from (f"  note: {caveat}" for caveat in item.answer.caveats)
        if (settle := item.steps.settle) and settle.command:
            yield f"  to settle it: {settle.command}"
        if "ranking" in item.tables:
            yield ""
            yield from (f"  {line}" for line in plain(item.tables["ranking"], columns=8))
    yield ""
    yield from (missing.sentence for missing in document.left_out)
    if document.state:
        yield document.state
