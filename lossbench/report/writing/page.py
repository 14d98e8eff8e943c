"""The page: one HTML file that works offline and can make no request."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lossbench.report.document import Document
from lossbench.report.sections.claim_answers import sentence, summary
from lossbench.report.sections.findings import INTERVALS

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = (
    ("answer", "Answer"),
    ("claims", "Claims"),
    ("overall", "All data sets"),
    ("maps", "Maps"),
    ("errors", "Mistakes"),
    ("distances", "Distances"),
    ("training", "Training"),
    ("cost", "Cost"),
    ("tuning", "Tuning"),
    ("studies", "Studies"),
    ("protocol", "Protocol"),
)


def render(document: Document, *, reload_s: int | None = None) -> str:
    """The report as one HTML file: styles, script, figures and data inside, nothing fetched."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    missing = {name for name in ("claims", "overall") if name not in document.tables}
    if not any(item.galleries for item in document.tasks):
        missing.add("errors")
    return environment.get_template("index.html.jinja").render(
        document=document,
        sections=[section for section in SECTIONS if section[0] not in missing],
        check_sentence=sentence,
        claims_summary=summary,
        interval_note=INTERVALS,
        reload_s=reload_s,
        style=style,
        script=script,
        policy=content_policy(style, script),
        map_data=embedded_json({item.key: item.map_data for item in document.tasks}),
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


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
