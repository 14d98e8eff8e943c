"""The confirmatory figure, and how recipes are tested on it: what report and sweep must not see differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

PRIMARY = "test.sphere.map_at_r"
VALIDATION = "val.sphere.map_at_r"  # what chooses trials, points and epochs
EQUIVALENCE = 0.005  # half a point of MAP@R: half the width of the region of practical equivalence
REFERENCE = "softmax"
MOST_IN_ALL_PAIRS = 12  # recipes; of more, most pairs ask which of two bad losses is worse


def reference(recipes: Sequence[str]) -> str:
    """The recipe that others are held against: `softmax` where it takes part, else the first."""
    return REFERENCE if REFERENCE in recipes else recipes[0]


def family(recipes: Sequence[str]) -> Literal["all pairs", "leaders"]:
    """Which pairs are tested: all of up to a dozen recipes; of more, with the reference and within the lead."""
    return "all pairs" if len(recipes) <= MOST_IN_ALL_PAIRS else "leaders"
