"""Fair, tuned, paired comparisons of metric-learning losses.

The names here are what plugins and notebooks use; importing them costs neither torch nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossbench.registry import Choice, Float, Int, Problem, backbone, dataset, loss, metric

if TYPE_CHECKING:
    from lossbench.store import load_results as load_results

__all__ = ["Choice", "Float", "Int", "Problem", "backbone", "dataset", "load_results", "loss", "metric"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import pandas only when results are loaded."""
    if name == "load_results":
        from lossbench.store import load_results

        return load_results
    raise AttributeError(f"module 'lossbench' has no attribute {name!r}")
