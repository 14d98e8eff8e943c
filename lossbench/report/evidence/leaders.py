"""Who is at the top of a task: the recipes that trained as they should and were not shown to be worse than the highest.

The tests are those of `Comparison`, over all recipes. A recipe in trouble stays in them, and out of the leading group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.troubles import Trouble, troubles
from lossbench.statistics.verdicts import Comparison, PairVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """The top of a task.

    Attributes:
        sound: recipes with a score and without trouble, highest mean first; empty where none is.
        group: the leading group; empty below four studies.
        alone: whether the first of it was shown to be better than every other recipe without trouble.
        troubles: of the recipes that are kept out of it.
    """

    comparison: Comparison
    sound: tuple[str, ...]
    group: tuple[str, ...]
    alone: bool
    troubles: Mapping[str, Trouble]

    @property
    def leader(self) -> str:
        """The highest mean among recipes without trouble."""
        return self.sound[0]

    @property
    def worse(self) -> tuple[str, ...]:
        """Recipes without trouble that were shown to be worse than the leader."""
        return tuple(name for name in self.sound if name not in self.group) if self.group else ()

    @property
    def beats_all(self) -> bool:
        """Whether the leader was also shown to be better than every recipe in trouble that has a score."""
        return self.alone and all(
            self.comparison.pair(self.leader, standing.recipe).verdict == "better"
            for standing in self.comparison.ranking
            if standing.recipe != self.leader
        )

    @property
    def deciding(self) -> tuple[PairVerdict, ...]:
        """The leader against the rest of its group and the nearest recipe below it: what an answer rests on."""
        below = self.worse[:1]
        return tuple(self.comparison.pair(self.leader, name) for name in (*self.group[1:], *below))


def top(evidence: Evidence, task: str) -> Top | None:
    """The top of a task; None where no recipe has a score."""
    comparison = evidence.primary[task]
    if comparison is None or not comparison.ranking:
        return None
    found = troubles(evidence, task)
    sound = tuple(one.recipe for one in comparison.ranking if one.recipe not in found)
    group: tuple[str, ...] = ()
    if sound and comparison.ranked:
        group = tuple(name for name in sound if name == sound[0] or comparison.pair(sound[0], name).verdict != "better")
    others = [comparison.pair(sound[0], name) for name in sound[1:]]
    return Top(
        comparison=comparison,
        sound=sound,
        group=group,
        alone=bool(group) and bool(others) and all(pair.verdict == "better" for pair in others),
        troubles=found,
    )


def letters(evidence: Evidence, task: str) -> dict[str, str]:
    """The letters of each recipe on the primary figure."""
    found = top(evidence, task)
    return letters_of(found.comparison, found.troubles) if found else {}


def letters_of(comparison: Comparison, troubles: Collection[str]) -> dict[str, str]:
    """`Comparison.letters`; a recipe in trouble has none, as it has no place in any group."""
    return {name: "" if name in troubles else own for name, own in comparison.letters.items()}


def own_interval(pair: PairVerdict) -> tuple[float, float]:
    """The interval that a verdict rests on, at the pair's own level; before the first look the unadjusted one."""
    effect = pair.judged or pair.effect
    return effect.low, effect.high
