"""Data sets as plugins: `load("digits")` gives images and labels, `splits.split` gives train, val and test."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.datasets.cache import cached as cached
    from lossbench.datasets.dataset import DataError as DataError
    from lossbench.datasets.dataset import Dataset as Dataset
    from lossbench.datasets.dataset import Request as Request
    from lossbench.datasets.loading import load as load
    from lossbench.datasets.loading import outline as outline

_HOME = {
    "DataError": "dataset",
    "Dataset": "dataset",
    "Request": "dataset",
    "cached": "cache",
    "load": "loading",
    "outline": "loading",
}
__all__ = ["DataError", "Dataset", "Request", "cached", "load", "outline"]


def __getattr__(name: str) -> Any:
    """Import NumPy only when a data set is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"lossbench.datasets.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
