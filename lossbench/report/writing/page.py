"""The page: one HTML file that works offline and can make no request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lossbench.report.document import Document
from lossbench.report.sections.claim_answers import sentence, summary
from lossbench.report.sections.findings import INTERVALS
from lossbench.report.writing import glossary

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = {
    "answer": "Answer",
    "claims": "Claims",
    "effects": "Effects",
    "maps": "Maps",
    "compactness": "Compactness",
    "errors": "Mistakes",
    "cost": "Cost",
    "more": "Details",
    "protocol": "Protocol",
    "words": "Words",
}
FILES = (
    ("report.md", "the same as Markdown"),
    ("results.csv", "every run"),
    ("results.json", "every figure"),
    ("experiment.toml", "the experiment"),
)
DOCUMENTS = (
    ("protocol.md", "what every number means"),
    ("report.md", "how to read this page"),
    ("losses.md", "the losses"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What folds away under one line: figures and tables of each task, and those of all tasks `together`."""

    id: str
    title: str
    pictures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    together: tuple[str, ...] = ()


GROUPS = (
    Group(id="tests", title="Tests: questions, all pairs, trained to the end, where the variance comes from",
          pictures=("variance",), tables=("effects", "convergence", "variance")),
    Group(id="quality", title="Every score on test", tables=("quality",)),
    Group(id="distances", title="Distances within and between classes",
          tables=("distances_sphere", "distances_raw")),
    Group(id="training", title="Training curves", pictures=("loss", "validation")),
    Group(id="time", title="Time: parts of a step, runs, equal time, scaling", pictures=("parts", "time", "fronts"),
          tables=("cost", "equal_time"), together=("scaling",)),
    Group(id="tuning", title="Tuning: what was chosen, what it was worth", pictures=("tuning", "surface"),
          tables=("tuned", "tuning_tax", "importances")),
    Group(id="overall", title="All data sets together", together=("ranks", "profiles", "overall")),
    Group(id="malpractice", title="Under bad practice: what a careless comparison would have claimed",
          tables=("malpractice",)),
    Group(id="studies", title="Every study and every run", tables=("studies", "folds", "runs")),
)  # fmt: skip


def render(document: Document, *, reload_s: int | None = None, docs: str = "") -> str:
    """The report as one HTML file: styles, script, figures and data inside, nothing fetched.

    Args:
        reload_s: the page loads itself again after so many seconds.
        docs: where the documents lie, relative to the page; empty where they do not lie beside it.
    """
    environment = templates()
    environment.filters["terms"] = linked
    shown = set(_shown(document))
    return environment.get_template("index.html.jinja").render(
        document=document,
        sections=[section for section in SECTIONS.items() if section[0] in shown],
        shown=shown,
        groups=[group for group in GROUPS if _says(document, group)],
        check_sentence=sentence,
        claims_summary=summary,
        interval_note=INTERVALS,
        explained=glossary.of_header,
        glossary=glossary.GROUPS,
        files=FILES,
        documents=DOCUMENTS,
        docs=docs,
        reload_s=reload_s,
        **inlined("page.js"),
        map_data=embedded_json({item.key: item.map_data for item in document.tasks}),
    )


def templates() -> Environment:
    """The templates of every HTML page: every name in them is text, whoever chose it."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inlined(script: str = "") -> dict[str, str]:
    """What every HTML page holds: `style`, the `script` of that name, if any, and the `policy` that allows them."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    code = (TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    return {"style": style, "script": code, "policy": content_policy(style, code)}


def linked(text: str) -> Markup:
    """The text with each word of the glossary as a link to what it means."""
    return Markup("").join(
        Markup('<a class="term" href="#{0}" data-term="{0}">{1}</a>').format(term.id, piece) if term else piece
        for piece, term in glossary.words(text)
    )


def content_policy(style: str, script: str) -> str:
    """Nothing may be loaded from anywhere; the one style and the one script are known by their digests."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded_json(content: Any) -> str:
    """JSON that can stand inside a script element whatever names it holds."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _shown(document: Document) -> Iterator[str]:
    """Sections that have something to show."""
    pictures = {name for item in document.tasks for name in item.pictures}
    needed = {
        "claims": bool(document.claims),
        "maps": bool(pictures & {"map", "features"}) or any(item.map_data for item in document.tasks),
        "compactness": "compactness" in pictures,
        "errors": any(item.galleries for item in document.tasks),
    }
    yield from (name for name in SECTIONS if needed.get(name, True))


def _says(document: Document, group: Group) -> bool:
    """Whether a group has a table or a picture."""
    here = any(
        set(group.pictures) & item.pictures.keys() or set(group.tables) & item.tables.keys() for item in document.tasks
    )
    return here or bool(set(group.together) & (document.pictures.keys() | document.tables.keys()))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
