"""Write the tables of docs/protocol.md that define words, from the report's glossary: `python docs/make_words.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lossbench.report.writing import glossary
from lossbench.report.writing.glossary import Term

PAGE = Path(__file__).with_name("protocol.md")
MARK = re.compile(r"(<!-- words: ([a-z]+) -->\n)(.*?)(<!-- end of words -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with what stands between its marks written anew."""
    return MARK.sub(lambda found: found[1] + "\n".join(PARTS[found[2]]) + "\n" + found[4], text)


def _figures(terms: Iterable[Term], *aside: str) -> Iterator[str]:
    """A table of figures: their names in `results.csv`, in a report, and what they are."""
    yield " | ".join(("| name", "in a report", "definition", *aside)) + " |"
    yield "|---" * (3 + len(aside)) + "|"
    for term in terms:
        names = ", ".join(f"`{figure}`" for figure in term.figures)
        yield " | ".join((f"| {names}", term.name, _definition(term), *[term.aside for _ in aside])) + " |"


def _rules(terms: Iterable[Term], *heads: str) -> Iterator[str]:
    """A table of words that are no figures."""
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for term in terms:
        yield " | ".join((f"| {term.name}", _definition(term), *[term.aside for _ in heads[2:]])) + " |"


def _listed(terms: Iterable[Term]) -> Iterator[str]:
    yield from (f"- **{term.name}**: {_definition(term)}" for term in terms)


def _definition(term: Term) -> str:
    return term.text + (f": {term.math}" if term.math else "")


PARTS = {
    "distances": list(_figures(glossary.DISTANCES, "wanted")),
    "retrieval": list(_figures(glossary.RETRIEVAL)),
    "gallery": list(_figures(glossary.GALLERY)),
    "pairs": list(_figures(glossary.VERIFICATION)),
    "classification": list(_figures(glossary.CLASSIFICATION)),
    "verdicts": list(_rules(glossary.VERDICTS, "verdict", "rule")),
    "statuses": list(_rules(glossary.STATUSES, "status", "meaning", "its score")),
    "others": list(
        _listed([*glossary.WORK, *glossary.OTHER_SCORES, *glossary.TESTS, *glossary.COST, *glossary.TUNING])
    ),
}

if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
