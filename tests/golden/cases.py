"""The reference values, computed once by an independent implementation in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "metrics.json"


def golden_cases() -> list[Any]:
    """The reference cases as parameters."""
    return [pytest.param(case, id=f"case{number}") for number, case in enumerate(json.loads(GOLDEN.read_text()))]
