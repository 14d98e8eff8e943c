"""What the first screen says of a task in plain words: effect, certainty, cost and catch, each made from the tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import Top, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections import convergence
from lossbench.report.sections.costs import relative_step
from lossbench.report.sections.setting import data
from lossbench.report.sections.verdict import OPEN, Answer, listed, needed_text, units
from lossbench.report.writing import formats
from lossbench.statistics.looks import FIRST_LOOK

NEAREST = "test.sphere.precision_at_1"
MOST = 4  # recipes whose costs are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A task at a glance: `rows` are (question, answer), `beware` the catches `caught`, or else what was looked for."""

    data: str
    rows: tuple[tuple[str, str], ...]
    beware: tuple[str, ...]
    caught: bool


def card(evidence: Evidence, task: str, answer: Answer) -> Card:
    """The card of a task; what is not known is left out."""
    found = top(evidence, task)
    rows = () if found is None or not found.sound else tuple(_rows(evidence, task, found, answer))
    catches = tuple(_beware(evidence, task, found, answer))
    beware = catches or (_nothing(evidence.material),)
    return Card(data=data(evidence.material, task), rows=rows, beware=beware, caught=bool(catches))


def _rows(evidence: Evidence, task: str, found: Top, answer: Answer) -> Iterator[tuple[str, str]]:
    yield "Effect", _effect(evidence, task, found)
    yield "How sure", _sure(evidence.material, found, answer)
    if cost := _cost(evidence.material, task, found):
        yield "Cost", cost


def _effect(evidence: Evidence, task: str, found: Top) -> str:
    """The leader against the reference and the highest baseline, how far the group reaches, and nearest neighbors."""
    material, leader, reference = evidence.material, found.leader, evidence.material.reference
    means = {name: material.mean(task, name, PRIMARY) for name in (leader, reference, *material.baselines)}
    bare = max((means[name] for name in material.baselines if means[name] == means[name]), default=math.nan)
    against = [(reference, means[reference])] if leader != reference else []
    against += [(name, bare) for name in material.baselines if means[name] == bare][:1]
    gains = [
        f"{formats.signed(means[leader] - mean)} over {name} ({formats.score(mean)})"
        for name, mean in against
        if mean == mean
    ]
    text = f"{leader} has a MAP@R of {formats.score(means[leader])}" + (f": {listed(gains)}" if gains else "")
    if len(found.group) > 1:
        lowest = material.mean(task, found.group[-1], PRIMARY)
        others = f"the other {len(found.group) - 1} reach" if len(found.group) > 2 else "the other reaches"
        text += f"; {others} down to {formats.score(lowest)}"
    return f"{text}. {_nearest(material, task, leader, reference)}".strip()


def _nearest(material: Material, task: str, leader: str, reference: str) -> str:
    """`The nearest neighbor is right for 35.4 % of test samples (softmax: 33.8 %).`"""
    own, other = (material.mean(task, name, NEAREST) for name in (leader, reference))
    if math.isnan(own):
        return ""
    text = f"The nearest neighbor is right for {formats.share(own)} of test samples"
    return text + (f" ({reference}: {formats.share(other)})." if other == other and leader != reference else ".")


def _sure(material: Material, found: Top, answer: Answer) -> str:
    """How many studies, what was shown, what is open, and what would settle it."""
    comparison, text = found.comparison, units(material, found.comparison.studies)
    if answer.kind in ("unranked", "undecided"):
        return f"{text}: no verdict; {units(material, FIRST_LOOK)} give the first tests."
    if answer.kind == "single":
        return f"{text}; nothing to compare it with."
    said = []
    if found.worse:
        highest = max(comparison.pair(found.leader, name).p_adjusted for name in found.worse)
        more = [f"{len(found.worse) - MOST} more"] if len(found.worse) > MOST else []
        said.append(
            f"{listed([*found.worse[:MOST], *more])} {'are' if len(found.worse) > 1 else 'is'} worse than "
            f"{found.leader} (adjusted {formats.p_text(highest)}{' at most' if len(found.worse) > 1 else ''})"
        )
    pairs = [comparison.pair(found.leader, name) for name in found.group[1:]]
    unsettled = [pair for pair in pairs if pair.verdict in OPEN]
    if unsettled:
        several = units(material, 2).partition(" ")[2]
        takes = needed_text(unsettled)
        would = f"; {takes} {several} would show that they are equal" if takes else ""
        said.append(f"which of the {len(found.group)} is highest is open{would}")
    return f"{text}: {'; '.join(said)}." if said else f"{text}."


def _cost(material: Material, task: str, found: Top) -> str:
    """A step of each leader in units of the bare network's own; without a probe the seconds of a run."""
    names = list(found.group or found.sound[:1])
    costs = {name: cost for name in names if (cost := relative_step(material, task, name)) == cost}
    if costs:
        order = sorted(costs, key=lambda name: costs[name])
        listed_costs = [f"{formats.score(costs[name], 2)} {name}" for name in order[:MOST]]
        more = f" (and {len(order) - MOST} more)" if len(order) > MOST else ""
        return f"A training step takes this many bare steps: {listed(listed_costs)}{more}."
    seconds = material.mean(task, found.leader, "cost.train_wall_s")
    if math.isnan(seconds):
        return ""
    return f"A run of {found.leader} trains for {formats.significant(seconds)} s on a shared machine; not probed."


def _beware(evidence: Evidence, task: str, found: Top | None, answer: Answer) -> Iterator[str]:
    """Every caveat of the answer, the leaders that were not told from the reference, and what was not checked."""
    yield from answer.caveats
    same = _like_reference(evidence, task, found) if found else []
    if same:
        yield f"not told from {evidence.material.reference} either: {listed(same)}"
    if found and found.sound and evidence.material.unit == "study":
        yield from _how_long(evidence, task)


def _how_long(evidence: Evidence, task: str) -> Iterator[str]:
    """What is not known of the length of training, where neither twice the epochs nor a pilot tells."""
    needs = [need for need in _pilot(evidence.material) if need["task"] == task]
    rising = [need["recipe"] for need in needs if not need["settled"]]
    if rising:
        yield f"the pilot's longest training was not enough for {listed(rising)}"
    elif not needs and convergence.checked(evidence, task) is None:
        yield "whether training was long enough was not checked"


def _pilot(material: Material) -> Sequence[Mapping[str, Any]]:
    """What each recipe needed of the pilot's training; empty without one."""
    needs: Sequence[Mapping[str, Any]] = (material.plan.get("pilot") or {}).get("needs", [])
    return needs


def _nothing(material: Material) -> str:
    """`nothing found: no trouble, none below its default`: all that was looked for."""
    looked = ["no trouble"]
    if material.unit == "study":
        piloted = bool(_pilot(material))
        looked.append("trained as long as the pilot found" if piloted else "twice the epochs move no effect at the top")
    if material.tuned:
        looked.append("none below its default")
    return f"nothing found: {', '.join(looked)}"


def _like_reference(evidence: Evidence, task: str, found: Top) -> list[str]:
    reference = evidence.material.reference
    known = {standing.recipe for standing in found.comparison.ranking}
    if reference in found.group or reference not in known or not found.worse:
        return []
    return [name for name in found.group if found.comparison.pair(name, reference).verdict in OPEN]
