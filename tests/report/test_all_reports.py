"""The page of all reports: what each asked and found, safe whatever names and files lie in the folder."""

from __future__ import annotations

import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report.stored import fill

from lossbench import report
from lossbench.report import all_reports

CLEAR = {"softmax": [0.5, 0.51, 0.49, 0.5] * 2, "triplet": [0.6, 0.62, 0.61, 0.6] * 2}
HOSTILE = '"><script>alert(1)</script>'


def results(question: str = "Which?", recipes: tuple[str, ...] = ("a",), missing: int = 0, **more: object) -> str:
    """The part of `results.json` that the page reads."""
    answer = {"kind": "winner", "label": "Winner", "recipes": list(recipes), "sentence": "It is."}
    runs = {"planned": 9, "finished": 9 - missing, "missing": missing, "failed": 0}
    tasks = [{"task": "digits/closed-set", "answer": answer}]
    return json.dumps({"question": question, "recipes": ["a", "b"], "tasks": tasks, "runs": runs, **more})


def put(folder: Path, content: str, written_s: int = 0) -> None:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(content)
    (folder / "index.html").write_text("<p>")
    os.utime(folder / "index.html", (written_s, written_s))


class Elements(HTMLParser):
    """The elements and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]


@pytest.mark.slow
def test_every_report_that_is_written_stands_on_it(tmp_path):
    fill(tmp_path / "runs", CLEAR)
    *_, page = report.write("toy", tmp_path / "runs", tmp_path / "reports")
    assert page == str(tmp_path / "reports" / "toy" / "index.html")
    text = html.unescape((tmp_path / "reports" / "index.html").read_text())
    assert "Which of these?" in text
    assert "triplet wins on toy/closed-set." in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC</time> · 2 recipes, 1 task, \d+ runs; 0\.\d MB", text)
    assert "./toy/index.html" in Elements(text).links


def test_the_newest_comes_first_and_what_is_missing_is_said(tmp_path):
    put(tmp_path / "old", results("Old?"), 1)
    put(tmp_path / "new", results("New?", missing=2), 2)
    (tmp_path / "no-page").mkdir()
    (tmp_path / "no-page" / "results.json").write_text(results())
    found = list(all_reports.entries(tmp_path))
    assert [(entry.name, entry.question, entry.state) for entry in found] == [
        ("new", "New?", "partial: 2 runs of 9 missing"),
        ("old", "Old?", ""),
    ]
    assert found[1].written == "1970-01-01 00:00"


def test_the_answer_over_all_tasks_comes_instead_of_each(tmp_path):
    put(tmp_path / "whole", results(headline="a wins on both."))
    assert next(all_reports.entries(tmp_path)).answers == ("a wins on both.",)


def test_hostile_names_are_text(tmp_path):
    put(tmp_path / "javascript:alert(1)", results(HOSTILE, (HOSTILE,)))
    put(tmp_path / "a b&c#d?e%2f", results())
    path = all_reports.write(tmp_path)
    found = Elements(path.read_text())
    assert "script" not in found.tags
    assert sorted(found.links) == sorted(
        ["data:,", "./javascript%3Aalert%281%29/index.html", "./a%20b%26c%23d%3Fe%252f/index.html"]
    )
    assert html.unescape(path.read_text()).count(HOSTILE) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"question": 1, "tasks": 3}', "\x00"])
def test_a_report_that_cannot_be_read_is_still_there(tmp_path, content):
    put(tmp_path / "broken", content)
    put(tmp_path / "whole", results())
    entry = next(entry for entry in all_reports.entries(tmp_path) if entry.name == "broken")
    assert entry.state == "results.json cannot be read"
    assert "broken" in all_reports.write(tmp_path).read_text()


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path, monkeypatch):
    put(tmp_path / "closed", results())
    put(tmp_path / "open", results())
    may = Path.is_file

    def is_file(path):
        if path.parent.name == "closed":
            raise PermissionError(path)
        return may(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert [entry.name for entry in all_reports.entries(tmp_path)] == ["open"]


def test_a_page_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "index.html").write_text("my home page")
    assert all_reports.write(tmp_path) is None
    assert (tmp_path / "index.html").read_text() == "my home page"
    put(tmp_path / "sub" / "index.html", results())  # an experiment of that name
    assert all_reports.write(tmp_path / "sub") is None


def test_it_may_fetch_and_run_nothing(tmp_path):
    page = all_reports.render([])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    assert "default-src &#39;none&#39;" in policy
    assert "0 reports" in page
