"""The notebooks in `examples/` run from the first cell to the last."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from plugins.test_identity import readable

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(notebook: Path) -> list[Any]:
    """The values that the code cells show, as a notebook would: each cell's last expression."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        file = readable(source)
        *body, last = ast.parse(source).body
        if not isinstance(last, ast.Expr):
            body, last = [*body, last], None
        exec(compile(ast.Module(body, []), file, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), file, "eval"), names))
    return shown


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["compare.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        assert cell.get("outputs", []) == []


@pytest.mark.slow
def test_the_comparison_runs(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    results, table, verdicts, axes, same = run(EXAMPLES / "compare.ipynb")
    assert "pull_push" in repr(results)
    assert "<table" in results._repr_html_()
    assert set(table["recipe"]) >= {"softmax", "triplet", "pull_push"}
    assert len(verdicts) == 3
    assert axes.get_xlabel().startswith("difference in test MAP@R from softmax")
    assert same is True
    assert (tmp_path / "reports" / "index.html").is_file()
    means = dict(zip(table["recipe"], table["mean"], strict=True))
    assert means["pull_push"] > means["untrained"]
