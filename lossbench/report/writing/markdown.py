"""The report as Markdown that renders on a code host, with figures in files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lossbench.report.document import Document, TaskReport
from lossbench.report.drawing.figures import Picture
from lossbench.report.sections.acting import Steps
from lossbench.report.sections.claim_answers import sentence
from lossbench.report.sections.findings import INTERVALS, Finding
from lossbench.report.writing import glossary
from lossbench.report.writing.cells import Table

_ESCAPES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "\\|",
        "*": "\\*",
        "_": "\\_",
        "`": "\\`",
        "[": "\\[",
        "]": "\\]",
        "\\": "\\\\",
        "~": "\\~",
        "@": "&#64;",  # no code host shall read softmax@balanced as somebody's name
    }
)
_SECTIONS = (
    ("Pull of the centers", (), ("pulls",)),
    ("Distances within and between classes", ("compactness", "histograms"), ("distances_sphere", "distances_raw")),
    ("Training", ("loss", "validation"), ()),
    ("Cost and equal time", ("cost", "parts", "time", "fronts"), ("steps", "cost", "equal_time")),
    ("Tuning", ("tuning", "surface"), ("tuned", "tuning_tax", "importances")),
    ("Under bad practice", (), ("malpractice",)),
    ("Every study", (), ("studies", "folds")),
)


def escape(text: str) -> str:
    """Any text as Markdown text.

    >>> escape("a|b <c>")
    'a\\\\|b &lt;c&gt;'
    """
    return " ".join(text.translate(_ESCAPES).split())


def render(document: Document) -> str:
    """The whole report."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def table(content: Table) -> Iterator[str]:
    """A pipe table under its caption; notes below."""
    yield f"**{escape(content.caption)}**\n"
    yield "| " + " | ".join(escape(column.header) for column in content.columns) + " |"
    yield "|" + "|".join(" ---: " if column.numeric else " --- " for column in content.columns) + "|"
    for row in content.rows:
        yield "| " + " | ".join(escape(cell.text) for cell in row.cells) + " |"
    yield ""
    for note in content.notes:
        yield f"<sub>{escape(note)}</sub>\n"


def _lines(document: Document) -> Iterator[str]:
    yield f"# {escape(document.question or document.name)}\n"
    if document.headline:
        yield f"**{escape(document.headline)}**\n"
    about = escape(" · ".join((*document.setting, f"lossbench {document.version}")))
    yield f"Experiment **{escape(document.name)}** · {about}. Every statement holds {document.scope}.\n"
    if document.state:
        yield f"> {escape(document.state)}\n"
    for missing in document.left_out:
        yield f"> {escape(missing.sentence)}\n"
    for item in document.tasks:
        yield from _answer(item)
    yield from _claims(document)
    if "overall" in document.tables:
        yield "## All data sets\n"
        yield from _pictures(document.pictures, ("ranks", "profiles"))
        yield from table(document.tables["overall"])
    if document.findings or "noise" in document.pictures:
        yield "## Wrong labels\n"
        yield from _pictures(document.pictures, ("noise",))
        yield from _findings(document.findings)
    if any("map" in item.pictures for item in document.tasks):
        yield "## Embedding maps\n"
        for item in document.tasks:
            yield from _pictures(item.pictures, ("map",))
    if any("features" in item.pictures for item in document.tasks):
        yield "## Features of training and test\n"
        for item in document.tasks:
            yield from _pictures(item.pictures, ("features",))
            if item.animation:
                yield f"![Test features of {escape(item.task)} by epoch](figures/{item.key}-features.gif)\n"
    for title, pictures, tables in _SECTIONS:
        if any(name in item.tables for item in document.tasks for name in tables) or any(
            name in item.pictures for item in document.tasks for name in pictures
        ):
            yield f"## {title}\n"
            for item in document.tasks:
                yield f"### {escape(item.task)}\n"
                yield from _pictures(item.pictures, pictures)
                yield from _tables(item, tables)
    if "scaling" in document.tables:
        yield "## Scaling of the losses\n"
        yield from _pictures(document.pictures, ("scaling",))
        yield from table(document.tables["scaling"])
    yield from _protocol(document)


def _answer(item: TaskReport) -> Iterator[str]:
    yield f"## {escape(item.task)}\n"
    names = ", ".join(f"**{escape(name)}**" for name in item.answer.shown)
    yield f"**{escape(item.answer.label)}**{': ' + names if names else ''}. {escape(item.answer.sentence)}\n"
    for question, text in item.card.rows:
        yield f"- **{escape(question)}**: {escape(text)}"
    for line in item.card.beware:
        yield f"- **Beware**: {escape(line)}"
    if item.card.data:
        yield f"- {escape(item.card.data)}"
    yield ""
    for text in filter(None, (item.answer.margin, *item.answer.details)):
        yield f"{escape(text)}\n"
    yield from _steps(item.steps)
    yield from _pictures(item.pictures, ("headline",))
    yield from _tables(item, ("ranking", "errors"))
    yield from _findings(item.findings)
    yield from _pictures(item.pictures, ("sweeps", "forest", "variance"))
    yield from _tables(item, ("effects", "convergence", "variance", "quality"))


def _steps(steps: Steps) -> Iterator[str]:
    """What would settle it, and how to take the recipe along; the code is on the page."""
    if settle := steps.settle:
        yield f"What would settle it: {escape(settle.sentence)}\n"
        if settle.command:
            yield f"```sh\n{settle.command}\n```\n"
        if settle.pairs:
            yield from table(settle.pairs)
    if use := steps.use:
        yield f"To take {escape(use.recipe)}, {escape(use.standing)}, along:\n"
        yield f"```sh\n{use.export}\n```\n"


def _findings(found: Sequence[Finding]) -> Iterator[str]:
    for finding in found:
        tag = "" if finding.confirmatory else " (exploratory)"
        yield f"- **{escape(finding.question)}**{tag} {escape(finding.text)}"
    yield f"\n<sub>{escape(INTERVALS)}</sub>\n" if found else ""


def _claims(document: Document) -> Iterator[str]:
    if not document.claims:
        return
    yield "## Claims\n"
    for claim in document.claims:
        source = f"{escape(claim.source)}; " if claim.source else ""
        yield f"- **{claim.verdict.capitalize()}: {escape(claim.text)}** ({source}{escape(claim.standing)})"
        for check in claim.checks:
            yield f"  - {escape(sentence(check))}"
    yield ""
    yield from table(document.tables["claims"])


def _tables(item: TaskReport, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in item.tables:
            yield from table(item.tables[name])


def _pictures(pictures: Mapping[str, Picture], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name in pictures:
            yield f"{_image(pictures[name])}\n"
            if pictures[name].caption:
                yield f"<sub>{escape(pictures[name].caption)}</sub>\n"


def _image(picture: Picture) -> str:
    return f"![{escape(picture.alt)}](figures/{picture.name}.svg)"


def _protocol(document: Document) -> Iterator[str]:
    yield "## Protocol and environment\n"
    for rule in document.protocol.rules:
        yield f"- {escape(rule)}"
    yield "\n| | |\n| --- | --- |"
    for name, text in document.protocol.facts:
        yield f"| {escape(name)} | {escape(text)} |"
    yield "\nTo repeat it, with the resolved experiment that lies beside this file:\n"
    yield f"```sh\n{document.protocol.command}\n```\n"
    if document.too_small:
        yield f"Left out, with nothing to say at this size: {escape('; '.join(document.too_small))}.\n"
    yield "## Words\n"
    for terms in glossary.GROUPS.values():
        yield from (f"- **{escape(term.name)}**: {escape(term.plain)}." for term in terms)
        yield ""
