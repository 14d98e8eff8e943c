"""Losses that also work alone: `from lossbench.losses import CenterLoss`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.losses.center import CenterLoss as CenterLoss
    from lossbench.losses.contrastive import ContrastiveLoss as ContrastiveLoss
    from lossbench.losses.softmax import SoftmaxLoss as SoftmaxLoss
    from lossbench.losses.triplet import TripletLoss as TripletLoss

_HOME = {
    "CenterLoss": "center",
    "ContrastiveLoss": "contrastive",
    "SoftmaxLoss": "softmax",
    "TripletLoss": "triplet",
}
__all__ = ["CenterLoss", "ContrastiveLoss", "SoftmaxLoss", "TripletLoss"]


def __getattr__(name: str) -> Any:
    """Import torch only when a loss is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"lossbench.losses.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.losses' has no attribute {name!r}")
