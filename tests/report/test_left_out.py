"""No figure takes the report with it, and curves that a logarithmic axis cannot hold are drawn on another."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.stored import EPOCHS, TASK, fill

from lossbench import report
from lossbench.report.drawing import figures, overall_figures, task_figures
from lossbench.report.drawing.figures import Picture
from lossbench.report.drawing.palette import looks
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.writing.markdown import escape

SCORES = {"softmax": [0.5, 0.51], "triplet": [0.6, 0.62]}
STUB = Picture(name="stub", title="stub", alt="stub", svg="<svg></svg>")


def stubbed(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Every figure is a stub but one, which cannot be drawn."""

    def fail(*_: object) -> Picture:
        raise FloatingPointError("no positive value\n<b>")

    def stub(_: object, *rest: str) -> Picture:
        return replace(STUB, name=rest[-1])

    for module in (task_figures, overall_figures):
        makers = {kind: (title, fail if kind == broken else stub) for kind, (title, _) in module.FIGURES.items()}
        monkeypatch.setattr(module, "FIGURES", makers)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("left-out"), SCORES, tasks=(TASK, "toy/open-set"))


TITLES = {kind: title for module in (task_figures, overall_figures) for kind, (title, _) in module.FIGURES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TITLES)
def test_a_figure_that_cannot_be_drawn_is_named_and_the_rest_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stubbed(monkeypatch, kind)
    lines = list(report.write("toy", runs, tmp_path))
    about = TASK if kind in task_figures.FIGURES else "all tasks together"
    sentence = f'The figure "{TITLES[kind]}" of {about} is left out: it could not be drawn (FloatingPointError: '
    assert any(line.startswith(sentence) for line in lines)
    page = (tmp_path / "toy" / "index.html").read_text()
    assert sentence in html.unescape(page)
    assert "<b>)" not in page
    assert escape(sentence) in (tmp_path / "toy" / "report.md").read_text()
    written = {path.stem for path in (tmp_path / "toy" / "figures").glob("*.svg")}
    names = {f"t0-{task_figures.NAMES.get(each, each)}" for each in task_figures.FIGURES}
    names |= {f"all-{each}" for each in overall_figures.FIGURES}
    assert names - written == {f"{'t0' if about == TASK else 'all'}-{task_figures.NAMES.get(kind, kind)}"}


def test_mistakes_and_interactive_maps_that_cannot_be_made_are_named_too(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lossbench.report.drawing import maps
    from lossbench.report.sections import gallery

    stubbed(monkeypatch, "none of them")
    for module, name in ((maps, "interactive"), (gallery, "galleries")):
        monkeypatch.setattr(module, name, lambda *_: 1 / 0)
    lines = "\n".join(report.write("toy", runs, tmp_path))
    for figure in ("embedding maps", "worst retrieval mistakes"):
        assert f'The figure "{figure}" of {TASK} is left out: it could not be drawn (ZeroDivisionError' in lines


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("loss", "axis"),
    [
        ({"softmax": [2.0, 1.0, 0.5], "triplet": [0.3, 0.2, 0.1]}, "positive"),
        ({"softmax": [2.0, 1.0, 0.5], "triplet": [0.3, 0.001, 0.0]}, "linear near zero"),
        ({"softmax": [0.0, 0.0, 0.0], "triplet": [0.0, 0.0, 0.0]}, "linear."),
        ({"softmax": [-1.0, -1.5, -2.0], "triplet": [-0.001, -3.0, -4.0]}, "linear near zero"),
        ({"softmax": [-1.0, -1.5, -2.0], "triplet": [-1.0, -3.0, -4.0]}, "linear."),
    ],
)
def test_losses_at_or_below_zero_are_drawn(tmp_path: Path, loss: dict[str, list[float]], axis: str) -> None:
    """`triplet` with margin 0, alignment and uniformity: nothing is above zero, and a logarithm has nothing to show."""
    evidence = Evidence(gather("toy", fill(tmp_path, SCORES, loss=loss)))
    drawn, left_out = task_figures.pictures(evidence, TASK)
    assert left_out == ()
    assert ("linear" not in drawn["loss"].caption) if axis == "positive" else (axis in drawn["loss"].caption)
    assert drawn["loss"].svg.count("softmax") >= 1


def test_a_name_stands_at_the_end_of_its_curve_on_every_scale() -> None:
    """The last of two values is the largest on the axis: its name has to stand at the top."""
    for scale, values in (("log", (0.01, 10.0)), ("symlog", (-1.0, 10.0)), ("linear", (-1.0, 10.0))):
        y = np.array(values)
        line = figures.Line(name="a", x=np.arange(2), mean=y, low=y, high=y)
        flat = figures.Line(name="b", x=np.arange(2), mean=y[:1].repeat(2), low=y, high=y)
        drawn = figures.curves("f", TASK, [line, flat], looks(["a", "b"]), title="t", ylabel="t", scale=scale)
        height = {
            name: float(text.rpartition('y="')[2].partition('"')[0])
            for name in "ab"
            for text in [drawn.svg[: drawn.svg.index(f">{name}</text>")]]
        }
        assert height["a"] < height["b"] - 80, scale
    assert EPOCHS == 3
