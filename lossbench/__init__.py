"""Fair, tuned, paired comparisons of metric-learning losses.

The names here are what plugins and notebooks use. Each is imported on first use (PEP 562): importing the package
costs nothing, so that the command line can take over Ctrl-C before anything else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.plugins import Choice, Float, Int, Problem, backbone, dataset, loss, metric
    from lossbench.store import load_results

# Of the others: `plugins`. What trains has no import here, not even for its types: the report imports this file.
_HOME = {
    "compare": "comparing",
    "load_exported": "run.exported",
    "load_results": "store",
    "read_report": "report.reading",
}
__all__ = [
    "Choice",
    "Float",
    "Int",
    "Problem",
    "backbone",
    "compare",
    "dataset",
    "load_exported",
    "load_results",
    "loss",
    "metric",
    "read_report",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The public name from its module; pandas is imported only where results are loaded."""
    if name not in __all__:
        raise AttributeError(f"module 'lossbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lossbench.{_HOME.get(name, 'plugins')}"), name)


def __dir__() -> list[str]:
    return __all__
