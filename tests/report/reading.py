"""A page as a reader sees it: its words, without marks of the language they are written in."""

from __future__ import annotations

import html
import re


def visible(page: str, *, glossary: bool = True) -> str:
    """Every word of a page and every text that stands for a figure; a link is part of its sentence."""
    page = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    if not glossary:
        page = re.sub(r'<details class="group" id="words">.*?</details>', " ", page, flags=re.DOTALL)
    attributes = " ".join(re.findall(r'aria-label="([^"]*)"', page))
    page = re.sub(r"</?a\b[^>]*>", "", page)
    return html.unescape(re.sub(r"<[^>]*>", " ", page) + " " + attributes)
