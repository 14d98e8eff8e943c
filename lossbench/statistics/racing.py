"""When to stop, and who need not run on. Neither is a finding: verdicts come from `verdicts.compare_all` alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from lossbench.statistics.pairing import Constant, Scores
from lossbench.statistics.verdicts import Comparison

RACING_ERRORS = 4.0  # standard errors behind the leader at which a recipe leaves
LEAST_STUDIES = 2


def undecided_at_top(comparison: Comparison) -> bool:
    """True until every two recipes of the leading group are better, worse or equivalent: more studies could help.

    Dropped recipes and those shown to be worse do not matter; a lone recipe has nothing to decide.
    """
    top = set(comparison.top_group)
    return any(
        pair.verdict in ("undecided", "indistinguishable") for pair in comparison.pairs if {pair.a, pair.b} <= top
    )


def clearly_beaten(
    scores: Mapping[str, Scores], *, higher_is_better: bool = True, keep: Collection[str] = ()
) -> tuple[str, ...]:
    """Recipes so far behind the highest mean that no more studies are spent on them; a rule of thrift, not a test.

    Over the studies that all recipes given have, from two on: behind the leader by more than four standard errors,
    taken from the larger of the pair's own sd and that of all recipes pooled (two studies estimate no sd of a pair).
    In the order of their names; never one of `keep`, never a constant. A recipe that leaves so is dropped, not worse.
    """
    recipes = {name: values for name, values in scores.items() if not isinstance(values, Constant)}
    common = sorted(set.intersection(*(_present(values) for values in recipes.values()))) if recipes else []
    if len(common) < LEAST_STUDIES or len(recipes) < 2:
        return ()
    names = sorted(recipes)
    table = np.array([[recipes[name][study] for study in common] for name in names])  # (recipes, studies)
    table = table if higher_is_better else -table
    leader = table[table.mean(axis=1).argmax()]
    behind = leader - table
    residuals = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    pooled = 2 * np.square(residuals).sum() / ((len(names) - 1) * (len(common) - 1))  # variance of a difference
    spread = np.sqrt(np.maximum(behind.var(axis=1, ddof=1), pooled))
    gone = behind.mean(axis=1) > RACING_ERRORS * spread / math.sqrt(len(common))
    return tuple(name for name, left in zip(names, gone, strict=True) if left and name not in keep)


def _present(values: Mapping[int, float]) -> set[int]:
    return {study for study, score in values.items() if not math.isnan(score)}
