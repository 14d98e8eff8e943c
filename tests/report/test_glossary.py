"""Every word that a report uses is defined, once: the page, the Markdown and docs/protocol.md have the same text."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from report.stored import TASK, fill

from lossbench import report
from lossbench.report.document import compose
from lossbench.report.evidence.comparisons import DISTANCES, EQUIVALENCE, QUALITY, Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.writing import glossary
from lossbench.report.writing.page import linked
from lossbench.statistics.looks import looks_until

pytestmark = pytest.mark.usefixtures("text_only")

DOCS = Path(__file__).parents[2] / "docs"
# Headers that say themselves what stands below them.
PLAIN = re.compile(
    r"a|b|claim|claimed|figure|first|second|n|recipe|role|run|seed|study \d+|chosen epoch|lr|tuned|error|runs|"
    r"sampling|forward|loss|backward|optimizer|evaluation|training|throughput|parameters|tuning|time to .*|"
    r"proper|test picks the epoch|luckiest study only|reference untuned"
)


def test_every_figure_has_a_definition() -> None:
    labels = [figure.label for figure in QUALITY] + [label for _, label, _ in DISTANCES]
    assert [label for label in labels if glossary.of_header(label, label) is None] == []


def test_every_header_of_a_report_is_explained_or_plain(tmp_path: Path) -> None:
    fill(tmp_path, {"softmax": [0.5] * 7, "triplet": [0.6 + 0.01 * index for index in range(7)]})
    material = gather("toy", tmp_path)
    document = compose(material, Evidence(material))
    columns = [
        column for part in (document, *document.tasks) for table in part.tables.values() for column in table.columns
    ]
    unexplained = {
        column.header
        for column in columns
        if glossary.of_header(column.header, column.label) is None and not PLAIN.fullmatch(column.label)
    }
    assert unexplained == set()
    assert len(columns) > 60


def test_the_protocol_has_the_same_definitions() -> None:
    spec = importlib.util.spec_from_file_location("make_words", DOCS / "make_words.py")
    assert spec is not None
    assert spec.loader is not None
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert page == words.page(page), "run: python docs/make_words.py"
    assert sorted(found[1] for found in words.MARK.findall(page)) == sorted(words.PARTS)
    for term in glossary.TERMS:
        assert term.text in page, term.name


def test_numbers_in_definitions_are_those_of_the_tests() -> None:
    text = {term.name: term.text for term in glossary.TERMS}
    assert text["region of practical equivalence"].endswith(f"±{EQUIVALENCE['test.sphere.map_at_r']:g}")
    assert ", ".join(str(look.studies) for look in looks_until(36)) in text["look"]


def test_page_and_markdown_end_with_all_of_them(tmp_path: Path) -> None:
    fill(tmp_path / "runs", {"softmax": [0.5, 0.6], "triplet": [0.6, 0.5]})
    list(report.write("toy", tmp_path / "runs", tmp_path))
    page, markdown = ((tmp_path / "toy" / name).read_text() for name in ("index.html", "report.md"))
    for term in glossary.TERMS:
        assert f'id="{term.id}"' in page
        assert f"- **{term.name}**" in markdown.replace("&#64;", "@")
    assert TASK in page


def test_a_word_in_a_sentence_leads_to_its_definition_and_names_stay_text() -> None:
    found = str(linked("<b> has a MAP@R of 0.5, softmax@balanced in 7 studies"))
    assert '<a class="term" href="#word-map-r" data-term="word-map-r">MAP@R</a>' in found
    assert found.startswith("&lt;b&gt; has")
    assert ">studies</a>" in found
    assert "softmax@balanced in" in found
