"""A plugin file with a mistake: one line that names the file and the rule, and no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from lossbench.cli import main

HEAD = """
import torch
from lossbench import Choice, Float, Int, Problem, loss

class Broken(torch.nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change
    def forward(self, embeddings, labels):
        return self.change(embeddings)

"""

REGISTRATION = {
    "does not import": ("import nowhere_to_be_found", "does not import: ModuleNotFoundError"),
    "has no syntax": ("def (:", "does not import: SyntaxError"),
    "ends the program": ("raise SystemExit(3)", "does not import: SystemExit"),
    "registers nothing": ("x = 1", "registers nothing; decorate a function with @lossbench.loss(...)"),
    "clashes with a built-in": (
        "@loss('arcface')\ndef f(problem): ...",
        "loss 'arcface' is already registered by lossbench itself",
    ),
    "clashes with itself": (
        "@loss('twice')\ndef f(problem): ...\n@loss('twice')\ndef g(problem): ...",
        "loss 'twice' is already registered by",
    ),
    "low above high": (
        "@loss('wide', space={'a': Float(64.0, 0.5)})\ndef f(problem, *, a=1.0): ...",
        "range [64.0, 0.5]: low must not exceed high",
    ),
    "low above high, whole numbers": (
        "@loss('wide', space={'a': Int(6, 2)})\ndef f(problem, *, a=3): ...",
        "range [6, 2]: low must not exceed high",
    ),
    "an argument not in its space": (
        "@loss('more')\ndef f(problem, *, a=1.0): ...",
        "loss 'more': argument 'a' is not in its space",
    ),
    "a range without an argument": (
        "@loss('less', space={'a': Float(0.0, 1.0)})\ndef f(problem): ...",
        "loss 'less': space names 'a', which is not an argument",
    ),
    "a default outside of what is valid": (
        "@loss('off', space={'a': Int(1, 3, valid=(1, 9))})\ndef f(problem, *, a=1.5): ...",
        "loss 'off': default of 'a': 1.5 is not a whole number",
    ),
    "an argument without default": (
        "@loss('bare', space={'a': Float(0.0, 1.0)})\ndef f(problem, *, a): ...",
        "loss 'bare': argument 'a' has no default",
    ),
}
BEHAVIOR = {
    "a vector": ("lambda x: x.square().sum(1)", "scalar: a batch of 24 x 8: returned a tensor of shape (24,)"),
    "a number": ("lambda x: 1.0", "scalar: a batch of 24 x 8: returned 'float' where a scalar tensor belongs"),
    "not a number": ("lambda x: x.sum() * float('nan')", "scalar: a batch of 24 x 8: the loss is nan"),
    "a detached loss": ("lambda x: x.detach().sum()", "scalar: a batch of 24 x 8: the loss is detached"),
}


@pytest.mark.parametrize("command", [["check"], ["run", "ablation", "--dry-run", "--plugin"]], ids=["check", "run"])
@pytest.mark.parametrize(("source", "rule"), REGISTRATION.values(), ids=REGISTRATION)
def test_a_file_that_does_not_register_a_loss_well(tmp_path, command, source, rule):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + source)
    result = CliRunner().invoke(main, [*command, str(path)])
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1, result.output
    line = result.output.strip()
    assert line.startswith("lossbench: error: ")
    assert f"plugin {path}: " in line
    assert rule in line


@pytest.mark.parametrize(("change", "rule"), BEHAVIOR.values(), ids=BEHAVIOR)
def test_a_loss_that_returns_what_is_no_loss(tmp_path, change, rule):
    path = tmp_path / "mine.py"
    name = tmp_path.name  # each its own: the names of this process are shared
    path.write_text(HEAD + f"@loss('{name}')\ndef mine(problem): return Broken({change})\n")
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if line.startswith("lossbench: error: ")]
    assert line.startswith(f"lossbench: error: plugin {path}: loss {name!r}: {rule}")


@pytest.mark.slow
@pytest.mark.parametrize(("change", "rule"), BEHAVIOR.values(), ids=BEHAVIOR)
def test_nothing_runs_with_a_loss_that_is_none(tmp_path, change, rule):
    path, name = tmp_path / "mine.py", f"run-{tmp_path.name}"
    path.write_text(HEAD + f"@loss('{name}')\ndef mine(problem): return Broken({change})\n")
    runs = tmp_path / "runs"
    given = ["--plugin", str(path), "--set", f'recipes=["softmax", "{name}"]', "--runs", str(runs)]
    result = CliRunner().invoke(main, ["run", "ablation", *given])
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert f"plugin {path}: loss {name!r}: {rule.removeprefix('scalar: ').replace('24 x 8', '24 x 32')}" in line
    assert not runs.exists()


def test_a_builder_that_builds_no_module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "@loss('no-module')\ndef mine(problem): return lambda x, y: x.sum()\n")
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 1
    assert "loss 'no-module': scalar: builds 'function', which is not an nn.Module" in result.output


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("arcfase", "unknown loss 'arcfase'; did you mean 'arcface'?"),
        ("nowhere.py", "plugin nowhere.py: No such file or directory"),
    ],
)
def test_check_of_what_is_not_there(name, rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["check", name])
    assert result.exit_code == 2
    assert rule in result.output.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("arcface", "loss 'arcface' is already registered; choose another name"),
        ("My Loss", "'My Loss': a new loss is named by small letters, digits and hyphens, such as 'my-loss'"),
        ("lambda", "'lambda' is a word of Python; choose another name"),
    ],
)
def test_new_loss_refuses_a_name(name, rule, tmp_path):
    result = CliRunner().invoke(main, ["new-loss", name, "--folder", str(tmp_path / "there")])
    assert result.exit_code == 2
    assert result.output == f"lossbench: error: {rule}\n"
    assert not (tmp_path / "there").exists()


@pytest.mark.slow
def test_new_loss_writes_a_plugin_that_conforms_and_a_test_that_passes_and_overwrites_nothing(tmp_path):
    result = CliRunner().invoke(main, ["new-loss", "my-own-loss", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    plugin, test = tmp_path / "my_own_loss.py", tmp_path / "test_my_own_loss.py"
    placeholder = CliRunner().invoke(main, ["check", str(plugin)])
    assert placeholder.exit_code == 1
    (line,) = [line for line in placeholder.output.splitlines() if line.startswith("lossbench: error: ")]
    assert "source: source = 'where the formula comes from" in line
    plugin.write_text(plugin.read_text().replace("where the formula comes from: a DOI or an arXiv number", "me"))
    checked = CliRunner().invoke(main, ["check", str(plugin)])
    assert checked.exit_code == 0, checked.output
    assert "FAIL" not in checked.output
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "free_name.py").write_text("mine")
    again = CliRunner().invoke(main, ["new-loss", "free-name", "--folder", str(tmp_path)])
    assert again.exit_code == 2
    assert "free_name.py is already there" in again.output
