"""Recipes that no answer may put at the top: they diverged, collapsed, failed, or are not better than untrained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lossbench.report.evidence.comparisons import EQUIVALENCE, QUALITY, Evidence
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats

UNTRAINED = "untrained"
STATUSES = ("diverged", "collapsed", "failed")
LONGEST_ERROR = 160  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What keeps a recipe out of the leading group.

    Attributes:
        runs: finished final runs; `statuses` how many of them diverged, collapsed or failed.
        error: the most frequent error of failed final runs; empty without any.
        untrained: its mean and the untrained network's where it was not shown to be better, else None.
    """

    recipe: str
    runs: int
    statuses: Mapping[str, int]
    error: str
    untrained: tuple[float, float] | None

    @property
    def hopeless(self) -> bool:
        """Whether every final run failed: there is no score at all."""
        return self.runs > 0 and self.statuses.get("failed", 0) == self.runs

    @property
    def sentence(self) -> str:
        """`triplet: 3 of 14 final runs diverged; not better than the untrained network (0.101 against 0.102).`"""
        parts = [f"{_counted(count, self.runs)} {status}" for status, count in self.statuses.items()]
        if self.error:
            parts[-1] += f" ({formats.shortened(self.error, LONGEST_ERROR)})"
        if self.untrained:
            own, bare = (formats.score(mean) for mean in self.untrained)
            parts.append(f"not better than the untrained network ({own} against {bare})")
        return f"{self.recipe}: {'; '.join(parts)}"


def troubles(evidence: Evidence, task: str) -> dict[str, Trouble]:
    """Recipe to its trouble, in the experiment's order; recipes without any are not in it."""
    material = evidence.material
    found = {}
    for recipe in material.recipes:
        rows = material.rows(task, recipe)
        counted = Counter(str(status) for status in rows["status"])
        statuses = {status: counted[status] for status in STATUSES if counted[status]}
        untrained = _not_above_untrained(evidence, task, recipe)
        if statuses or untrained:
            found[recipe] = Trouble(
                recipe=recipe,
                runs=len(rows),
                statuses=statuses,
                error=_most_frequent(errors(material, rows.loc[rows["status"] == "failed", "run_id"])),
                untrained=untrained,
            )
    return found


def errors(material: Material, runs: Iterable[str]) -> list[str]:
    """The last line of the error of each failed run, which names it."""
    texts = [str(material.record(str(run)).get("error") or "").strip() for run in runs]
    return [text.splitlines()[-1].strip() for text in texts if text]


def _most_frequent(found: list[str]) -> str:
    return Counter(found).most_common(1)[0][0] if found else ""


def _not_above_untrained(evidence: Evidence, task: str, recipe: str) -> tuple[float, float] | None:
    """Both means, unless a test puts the recipe above the untrained network.

    Before there are tests, the means do, where they are further apart than the region of practical equivalence.
    """
    material = evidence.material
    own, bare = (material.mean(task, name, PRIMARY) for name in (recipe, UNTRAINED))
    comparison = evidence.comparison(task, QUALITY[0], baselines=True)
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or not {recipe, UNTRAINED} <= known or not (math.isfinite(own) and math.isfinite(bare)):
        return None
    verdict = comparison.pair(recipe, UNTRAINED).verdict
    above = own - bare > EQUIVALENCE[PRIMARY] if verdict in ("undecided", "untested") else verdict == "better"
    return None if above else (own, bare)


def _counted(count: int, of: int) -> str:
    return "every final run" if count == of else f"{count} of {of} final runs"
