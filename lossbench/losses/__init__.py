"""Losses that also work alone: `from lossbench.losses import CenterLoss`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.losses.adaface import AdaFaceLoss as AdaFaceLoss
    from lossbench.losses.center import CenterLoss as CenterLoss
    from lossbench.losses.contrastive import ContrastiveLoss as ContrastiveLoss
    from lossbench.losses.contrastive_center import ContrastiveCenterLoss as ContrastiveCenterLoss
    from lossbench.losses.island import IslandLoss as IslandLoss
    from lossbench.losses.magface import MagFaceLoss as MagFaceLoss
    from lossbench.losses.ring import RingLoss as RingLoss
    from lossbench.losses.softmax import SoftmaxLoss as SoftmaxLoss
    from lossbench.losses.triplet import TripletLoss as TripletLoss
    from lossbench.losses.triplet_center import TripletCenterLoss as TripletCenterLoss

_HOME = {
    "AdaFaceLoss": "adaface",
    "CenterLoss": "center",
    "ContrastiveCenterLoss": "contrastive_center",
    "ContrastiveLoss": "contrastive",
    "IslandLoss": "island",
    "MagFaceLoss": "magface",
    "RingLoss": "ring",
    "SoftmaxLoss": "softmax",
    "TripletCenterLoss": "triplet_center",
    "TripletLoss": "triplet",
}
__all__ = [
    "AdaFaceLoss",
    "CenterLoss",
    "ContrastiveCenterLoss",
    "ContrastiveLoss",
    "IslandLoss",
    "MagFaceLoss",
    "RingLoss",
    "SoftmaxLoss",
    "TripletCenterLoss",
    "TripletLoss",
]


def __getattr__(name: str) -> Any:
    """Import torch only when a loss is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"lossbench.losses.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
