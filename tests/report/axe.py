"""axe-core, which measures contrast and looks for what a screen reader would miss; fetched, never kept here."""

from __future__ import annotations

import os
from pathlib import Path

# The single file of the npm package, MPL-2.0; `.ci/run` fetches it. Without it the test is skipped and says so.
VARIABLE = "LOSSBENCH_AXE"
DEFAULT = Path(__file__).parents[2] / ".cache" / "axe-core" / "package" / "axe.min.js"


def script() -> str | None:
    """The source of axe-core, or None where it was not fetched."""
    path = Path(os.environ.get(VARIABLE, DEFAULT))
    return path.read_text(encoding="utf-8") if path.is_file() else None
