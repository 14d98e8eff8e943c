"""Whatever bytes stand where a file is expected: an experiment or its mistakes, a record or none, never a traceback."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import ABLATION
from lossbench.plugins.mistakes import SpecError
from lossbench.specification.experiment import Experiment
from lossbench.specification.parsing import read_experiment
from lossbench.specification.spec import SCHEMA
from lossbench.store import Store, StoreError

TEXT = ABLATION.read_text()
NESTED = ("training.epochs", "budget.trials", 'params."softmax".lr')
KEYS = [*sorted(Experiment.model_fields), *NESTED]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
trees = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)


def parsed(content: bytes, overrides: tuple[str, ...] = ()) -> None:
    """Either an experiment or mistakes of one line each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_bytes(content)
        try:
            lines = read_experiment(path, overrides).name.splitlines()
        except SpecError as error:
            lines = list(error.mistakes)
        assert lines
        assert all(line and "\n" not in line for line in lines)


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_experiment_or_its_mistakes(content):
    parsed(content)


@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=12))
@settings(max_examples=150, deadline=None)
def test_an_experiment_with_a_piece_replaced(start, length, piece):
    parsed((TEXT[:start] + piece + TEXT[start + length :]).encode("utf-8", "surrogatepass"))


@given(st.sampled_from(KEYS), trees)
@settings(max_examples=200, deadline=None)
def test_any_value_for_any_key(key, value):
    parsed(TEXT.encode(), (f"{key}={json.dumps(value)}",))


@given(st.text(max_size=40) | st.text("#=[]{}'\".a1\n", max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_override(text):
    parsed(TEXT.encode(), (text,))


def found(content: bytes) -> None:
    """Nothing that was not written by a store is taken for a result or a plan."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        (store.root / "experiments").mkdir()
        store.folder("0123456789abcdef").mkdir()
        (store.folder("0123456789abcdef") / "result.json").write_bytes(content)
        assert store.read("0123456789abcdef") is None
        assert store.damaged == {"0123456789abcdef"}
        (store.root / "experiments" / "x.json").write_bytes(content)
        with contextlib.suppress(StoreError):
            assert store.read_plan("x")["schema"] == SCHEMA


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_no_result(content):
    found(content)


@given(trees, trees)
@settings(max_examples=150, deadline=None)
def test_any_json_is_no_result(value, other):
    found(json.dumps(value).encode())
    record = {"schema": SCHEMA, "run_id": "0123456789abcdef", "sha256": "0" * 64, "status": other, "files": value}
    found(json.dumps(record).encode())


def test_a_file_nested_beyond_reason_is_neither():
    found(b"[" * 100_000)
    parsed(b"name = " + b"[" * 100_000)
    parsed(TEXT.encode(), ("tasks=" + "[" * 100_000,))


def test_names_that_are_no_names_are_mistakes():
    for value in ("[[1]]", "[{name=[1]}]", "[{name={a=1}, use=[2]}]", "[{}]"):
        parsed(TEXT.encode(), (f"recipes={value}",))
