"""The confirmatory figure, and how recipes are tested on it: what report and sweep must not see differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

PRIMARY = "test.sphere.map_at_r"
VALIDATION = "val.sphere.map_at_r"  # what chooses trials, points and epochs
EQUIVALENCE = 0.005  # half a point of MAP@R: half the width of the region of practical equivalence
REFERENCE = "softmax"
COMPARISONS = 4_000_000_000  # of queries with a gallery: half a minute on a core; all 60,502 photographs of SOP may ask
FEWEST_QUERIES = 1_000
MOST_IN_ALL_PAIRS = 12  # recipes; of more, most pairs ask which of two bad losses is worse


def reference(recipes: Sequence[str]) -> str:
    """The recipe that others are held against: `softmax` where it takes part, else the first."""
    return REFERENCE if REFERENCE in recipes else recipes[0]


def family(recipes: Sequence[str]) -> Literal["all pairs", "leaders"]:
    """Which pairs are tested: all of up to a dozen recipes; of more, with the reference and within the lead."""
    return "all pairs" if len(recipes) <= MOST_IN_ALL_PAIRS else "leaders"


def most_queries(gallery: int) -> int:
    """How many queries at most ask a gallery of so many samples; of more, a fixed sample does.

    >>> most_queries(60_502), most_queries(400_000)
    (66113, 10000)
    """
    return max(FEWEST_QUERIES, COMPARISONS // gallery)
