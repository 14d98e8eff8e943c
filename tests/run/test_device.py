"""What a record says of the machine, and a device that answers no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import DIGITS, run_spec
from lossbench.run.device import environment
from lossbench.run.execution import execute


def test_a_record_names_the_processor(monkeypatch):
    assert execute(run_spec("softmax", DIGITS)).record["environment"]["processor"] == environment("cpu")["processor"]
    text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: A CPU\n\nmodel name\t: Another"
    monkeypatch.setattr(Path, "read_text", lambda path, **_: text)
    assert environment("cpu")["processor"] == "A CPU (family 25, model 17)"

    def none(path, **_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", none)
    assert environment("cpu")["processor"]


def test_a_run_that_loses_the_device_ends_its_process(monkeypatch):
    too_slow = run_spec("softmax", "training.time_limit_s=0.000001")
    monkeypatch.setattr("lossbench.run.device.is_lost", lambda device: True)
    with pytest.raises(SystemExit, match="answers this process no more: TimeLimitError"):
        execute(too_slow)
