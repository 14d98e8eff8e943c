"""One description, one identity: what changes a loss changes it, what does not leaves it, what has none is refused."""

from __future__ import annotations

import functools
import linecache
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lossbench.plugins import PluginError
from lossbench.plugins.identity import identity

CELLS = iter(range(1000))


def readable(source: str) -> str:
    """A file name under which Python finds the source, as it does that of a notebook's cell."""
    file = f"<test cell {next(CELLS)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return file


def cell(source: str, **names: Any) -> dict[str, Any]:
    """The names that a notebook's cell leaves."""
    found = {"__name__": "__main__", **names}
    exec(compile(source, readable(source), "exec"), found)
    return found


def of(source: str, name: str = "f", **names: Any) -> str:
    return identity(cell(source, **names)[name])


PLAIN = "def f(e, y):\n    return e.sum() * m\n"


def test_the_same_source_and_values_are_the_same_wherever_they_were_written():
    assert of(PLAIN, m=2.0) == of(PLAIN, m=2.0) == of("x = 1\n" + PLAIN, m=2.0)
    assert of(PLAIN, m=2.0).startswith("object ")


@pytest.mark.parametrize(
    "other",
    [
        {"m": 2.5},
        {"m": 2},
        {"m": torch.tensor(2.0)},
        {"m": np.float32(2.0)},
        {"m": [2.0]},
        {"m": (2.0,)},
    ],
    ids=str,
)
def test_another_value_of_a_name_is_another_loss(other):
    assert of(PLAIN, m=2.0) != of(PLAIN, **other)
    assert of(PLAIN, **other) == of(PLAIN, **other)


def test_names_that_are_not_read_play_no_part():
    assert of(PLAIN, m=2.0, other=object()) == of(PLAIN, m=2.0)
    assert of("def f(e, y):\n    return e.m\n", m=object()) == of("def f(e, y):\n    return e.m\n")


def test_closed_over_values_defaults_and_helpers_count():
    closing = "def make(m):\n    def f(e, y, k={0}):\n        return h(e) * m * k\n    return f\n"
    closing += "def h(e):\n    return e + {1}\n"
    found = [
        identity(cell(closing.format(*constants))["make"](m)) for constants in ((1, 1), (2, 1), (1, 2)) for m in (1, 2)
    ]
    assert len(set(found)) == 6
    assert identity(cell(closing.format(1, 1))["make"](1)) == found[0]


def test_two_functions_of_one_line_differ():
    for first, second in (("e.sum()", "e.mean()"), ("e * 1", "e * 2"), ("(lambda: e.sum())()", "(lambda: e.mean())()")):
        one, other = cell(f"fs = [lambda e, y: {first}, lambda e, y: {second}]\n")["fs"]
        assert identity(one) != identity(other)


def test_recursion_ends():
    assert of("def f(e, y):\n    return g(e, y)\ndef g(e, y):\n    return f(e, y)\n")


def test_modules_are_known_by_class_settings_and_state():
    source = "class L(nn.Module):\n    def forward(self, e, y):\n        return e.sum() * {}\n"
    one, other = (cell(source.format(k), nn=nn)["L"] for k in (1, 2))
    assert identity(one()) == identity(cell(source.format(1), nn=nn)["L"]())
    assert identity(one()) != identity(other())
    torch.manual_seed(0)
    line = nn.Linear(2, 2)
    before = identity(line)
    assert before == identity(line)
    with torch.no_grad():
        line.weight[0, 0] += 1
    assert identity(line) != before
    assert identity(nn.CosineEmbeddingLoss(margin=0.1)) != identity(nn.CosineEmbeddingLoss(margin=0.2))


def test_what_is_installed_goes_by_name_and_version():
    assert of("def f(e, y):\n    return functional.relu(e).sum()\n", functional=functional)
    assert of("def f(e, y):\n    return relu(e).sum()\n", relu=functional.relu) != of(
        "def f(e, y):\n    return relu(e).sum()\n", relu=functional.elu
    )
    assert identity(functools.partial(functional.relu, inplace=True)) != identity(functional.relu)
    assert identity(nn.Linear) != identity(nn.Conv2d)


@pytest.mark.slow
def test_another_process_finds_the_same():
    source = "import torch\nm = {'b': 1, 'a': torch.ones(2)}\ns = {'x', 'y', 'z', 'w'}\n"
    source += "def f(e, y):\n    return m, s, torch.exp(e)\n"
    program = (
        f"import linecache\nsource = {source!r}\n"
        "linecache.cache['<c>'] = (len(source), None, source.splitlines(keepends=True), '<c>')\n"
        "names = {'__name__': '__main__'}\nexec(compile(source, '<c>', 'exec'), names)\n"
        "from lossbench.plugins.identity import identity\nprint(identity(names['f']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == of(source)


@pytest.mark.parametrize(
    ("source", "names", "said"),
    [
        (PLAIN, {"m": (each for each in ())}, "'m', which f names, is a generator, whose value cannot be written down"),
        (PLAIN, {"m": np.random.default_rng(0)}, "is a Generator"),
        (PLAIN, {"m": [object()]}, "is a object"),
        ("def f(e, y, k=o):\n    return e\n", {"o": object()}, "a default of f is a object"),
    ],
)
def test_what_has_no_value_to_write_down_is_refused(source, names, said):
    with pytest.raises(PluginError, match=said):
        of(source, **names)


def test_an_open_file_and_a_function_without_source_are_refused(tmp_path):
    with (tmp_path / "x").open("w") as file, pytest.raises(PluginError, match="is a TextIOWrapper"):
        of(PLAIN, m=file)
    found: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(e, y):\n    return e\n", found)
    with pytest.raises(PluginError, match="f has no source that can be read"):
        identity(found["f"])
