"""The reference values, which are not part of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def _golden_file() -> Path:
    return Path(os.environ.get("LOSSBENCH_GOLDEN", ROOT.parent / "shared" / "golden" / "metrics.json"))


def golden_cases() -> list[Any]:
    """The reference cases as parameters; one skipped parameter where the file is absent."""
    if not _golden_file().is_file():
        reason = "set LOSSBENCH_GOLDEN to the file of reference values"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    return [
        pytest.param(case, id=f"case{number}") for number, case in enumerate(json.loads(_golden_file().read_text()))
    ]
