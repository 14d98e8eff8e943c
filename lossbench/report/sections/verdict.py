"""The answer per task: who leads by test, who ties, or why nobody can be named; one sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossbench.report.evidence.comparisons import EQUIVALENCE, QUALITY, Evidence
from lossbench.report.evidence.leaders import Top, own_interval, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.evidence.troubles import UNTRAINED
from lossbench.report.sections import convergence
from lossbench.report.sections.tuned import below_default
from lossbench.report.writing import formats
from lossbench.statistics.looks import FIRST_LOOK, LEAST_RANKED
from lossbench.statistics.power import StudiesNeeded
from lossbench.statistics.verdicts import PairVerdict

OPEN = ("indistinguishable", "undecided")  # verdicts that more studies may still change
MANY, FIRST = 12, 8  # of more names than MANY, the FIRST are printed
FEW = 4  # recipes that are each worth a line
Kind = Literal[
    "winner",
    "top group",
    "only one pays",
    "indistinguishable",
    "single",
    "unranked",
    "undecided",
    "baseline",
    "broken",
    "nothing",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the first screen says of a task.

    `names` are the recipes the answer is about; `label` says what they are; `sentence` says by how much, and how sure
    that is for who repeats the work; `details` say what could have been found, and what repeating means; `margin` is
    what is won over the baselines; `caveats` say which recipes are kept out, what is incomplete, and whether training
    was long enough.
    """

    task: str
    kind: Kind
    label: str
    names: tuple[str, ...]
    sentence: str
    details: tuple[str, ...] = ()
    margin: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The names to print; of many the first."""
        more = len(self.names) - FIRST
        return self.names if len(self.names) <= MANY else (*self.names[:FIRST], f"and {more} more")


def answer(evidence: Evidence, task: str) -> Answer:
    """The confirmatory verdict of a task in words that the tests allow."""
    found = top(evidence, task)
    if found is None:
        text = "No final run of this task is there yet."
        failed = tuple(f"{name}: every final run failed" for name in _without_scores(evidence.material, task))
        return Answer(task=task, kind="nothing", label="No answer yet", names=(), sentence=text, caveats=failed)
    kind, label, names, (sentence, *details) = _paying(evidence, task, found) or _say(evidence.material, task, found)
    if kind in ("winner", "top group", "only one pays", "indistinguishable", "baseline") and (
        beyond := _unbeaten(evidence, task, found.leader if found.sound else found.comparison.ranking[0].recipe)
    ):
        kind, label, names = "baseline", f"No recipe is shown to be better than {listed(beyond)}", ()
    return Answer(
        task=task,
        kind=kind,
        label=label,
        names=names,
        sentence=sentence,
        details=tuple(details),
        margin=_margin(evidence, task, found),
        caveats=tuple(_caveats(evidence, task, found)),
    )


def effect_text(pair: PairVerdict) -> str:
    """`+0.031 [0.020, 0.042], p = 0.002`: effect, interval at the pair's own level, adjusted p: they agree."""
    effect = pair.judged or pair.effect
    low, high = own_interval(pair)
    tested = f", {formats.p_text(pair.p_adjusted)}" if pair.p_adjusted == pair.p_adjusted else ""
    return f"{formats.signed(effect.mean)} {formats.interval(low, high)}{tested}"


def detectable_text(pairs: list[PairVerdict]) -> str:
    """The difference that as many studies find with 80 % power, over the given pairs."""
    found = np.array([pair.smallest_found for pair in pairs])
    found = found[np.isfinite(found)]
    if not found.size:
        return "there is no spread to say which difference would be found"
    low, high = formats.score(float(found.min())), formats.score(float(found.max()))
    size = low if low == high else f"{low} to {high}, depending on the pair,"
    return f"a difference of {size} is found with 80 % power"


def range_text(needed: StudiesNeeded | None) -> str:
    """`12 to 24`, `24 or more`: the looks between which an answer is to be expected; empty where none is."""
    if needed is None or needed.least is None:
        return ""
    if needed.least == needed.most:
        return formats.count(needed.least)
    return (
        f"{formats.count(needed.least)} to {formats.count(needed.most)}"
        if needed.most
        else f"{formats.count(needed.least)} or more"
    )


def needed_text(pairs: list[PairVerdict]) -> str:
    """How many studies show equivalence of those pairs that were not told apart; empty where that is not known."""
    needed = [pair.studies_for_equivalence for pair in pairs if pair.verdict == "indistinguishable"]
    known = [one for one in needed if one is not None and one.least is not None]
    if not known:
        return ""
    most = None if any(one.most is None for one in known) else max(one.most or 0 for one in known)
    return range_text(StudiesNeeded(least=min(one.least or 0 for one in known), most=most))


def listed(names: tuple[str, ...] | list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def units(material: Material, count: int) -> str:
    """`7 studies`, `1 seed`."""
    several = {"study": "studies", "seed": "seeds"}[material.unit]
    return f"{count} {material.unit if count == 1 else several}"


def repeated(material: Material, task: str) -> str:
    """What is new when somebody does the whole work again, and what stays, as a sentence."""
    if material.unit == "seed":
        return "To repeat it is to take other seeds of the same embeddings, on these samples."
    parts = ["deal train and validation anew"] if material.dealt(task) else []
    parts += ["tune anew"] if material.tuned else []
    new = listed([*parts, "take other seeds"])
    return f"To repeat it is to {new}, on these data, this pool of recipes and this test set."


def _say(material: Material, task: str, found: Top) -> tuple[Kind, str, tuple[str, ...], list[str]]:
    there = units(material, found.comparison.studies)
    if not found.sound:
        text = "Every recipe diverged, collapsed, failed, or is not better than the untrained network; see below."
        return "broken", "No recipe trained as it should", (), [text]
    if len(found.comparison.ranking) == 1:
        only = f"{found.leader} has a mean of {_mean(found, found.leader)} over {there}."
        return "single", "Only recipe with results", (found.leader,), [f"There is nothing to compare it with. {only}"]
    if not found.comparison.ranked:
        return "unranked", f"Not ranked: {there}", (), [_unranked(material, found)]
    if found.comparison.look is None:
        return "undecided", f"Undecided: {there}", (), [_undecided(material, found)]
    if len(found.sound) == 1:
        text = f"{found.leader} has a mean of {_mean(found, found.leader)} over {there}; the others are in trouble."
        return "single", "Only recipe that trained as it should", (found.leader,), [text]
    if found.alone:
        label = "Winner" if found.beats_all else "Leads the recipes that trained every time"
        return "winner", label, found.group, _winner(material, task, found)
    if found.worse:
        label = "Leading group, no single winner" if len(found.group) > 1 else "Highest mean, no winner"
        return "top group", label, found.group, _group(material, task, found)
    return _nobody(material, task, found)


def _paying(evidence: Evidence, task: str, found: Top) -> tuple[Kind, str, tuple[str, ...], list[str]] | None:
    """What is said where a test puts one recipe alone, or none, above the untrained network; None elsewhere."""
    useless = [one for one in found.troubles.values() if one.untrained]
    if not useless or len(useless) < len(found.troubles) or len(found.sound) > 1:
        return None
    others = f"none of the {len(useless)} {'other ' if found.sound else ''}recipes is shown to be"
    if not found.sound:
        text = f"A network that was never trained is as good: {others} better. {_highest(found)}."
        return "baseline", "No recipe is shown to be better than the untrained network", (), [text]
    comparison = evidence.comparison(task, QUALITY[0], baselines=True)
    if comparison is None or comparison.look is None:
        return None
    text = (
        f"{found.leader} is better than the untrained network, also for whoever repeats the whole work: by "
        f"{_exactly(comparison.pair(found.leader, UNTRAINED))}; {others}."
    )
    return "only one pays", "Training pays with one recipe only", found.group, [text, repeated(evidence.material, task)]


def _highest(found: Top) -> str:
    first = found.comparison.ranking[0]
    return f"The highest mean is that of {first.recipe} ({formats.score(first.mean)})"


def _unranked(material: Material, found: Top) -> str:
    """Means, no verdict, and what it would take."""
    studies = found.comparison.studies
    if material.unit == "seed":
        why = "So few seeds rank nothing"
    elif studies <= 1:
        why = "This speaks of one tuning only: another search, deal or seed may well turn the order round"
    else:
        why = f"{studies} studies rank nothing: another one may well turn the order round"
    several = units(material, LEAST_RANKED).partition(" ")[2]
    take = f"From {LEAST_RANKED} {several} on there are intervals to read, from {FIRST_LOOK} on tests"
    setting = f" (budget.studies = {FIRST_LOOK})" if material.unit == "study" else ""
    return f"{why}. Means only: {_means(found)}. {take}{setting}."


def _undecided(material: Material, found: Top) -> str:
    first = units(material, FIRST_LOOK)
    return f"Pairs are tested for the first time at {first}. Means so far: {_means(found)}."


def _winner(material: Material, task: str, found: Top) -> list[str]:
    second = found.sound[1]
    versus = found.comparison.pair(found.leader, second)
    others = "every other recipe" if found.beats_all else "every other recipe that trained every time"
    text = (
        f"{found.leader} is better than {others}, also for whoever repeats the whole work: by {_exactly(versus)} over "
        f"the next, {second}."
    )
    text += " The difference is below what matters in practice." if versus.negligible else ""
    return [text, repeated(material, task)]


def _group(material: Material, task: str, found: Top) -> list[str]:
    first, group = found.leader, found.group
    nearest = found.comparison.pair(first, found.worse[0])
    same = listed(group[1:]) if len(group) <= MANY else f"{len(group) - 1} others, from {group[1]} down to {group[-1]}"
    rest = "every other recipe that trained every time" if found.troubles else "every other recipe"
    leads = f"{first} has the highest mean ({_mean(found, first)})"
    leads += f" and is not told apart from {same}" if same else ""
    text = (
        f"{leads}; {rest} is worse than {first}, also for whoever repeats the whole work: the nearest, {nearest.b}, at "
        f"{_exactly(nearest.reversed())}."
    )
    pairs = [found.comparison.pair(first, name) for name in group[1:]]
    return [text, *([_power(material, pairs)] if pairs else []), repeated(material, task)]


def _nobody(material: Material, task: str, found: Top) -> tuple[Kind, str, tuple[str, ...], list[str]]:
    pairs = [found.comparison.pair(a, b) for i, a in enumerate(found.sound) for b in found.sound[i + 1 :]]
    different = [pair for pair in pairs if pair.verdict in ("better", "worse")]
    details = [_power(material, pairs), repeated(material, task)]
    if different:
        shown = "; ".join(f"{p.a} and {p.b} differ ({effect_text(p)})" for p in different[:3])
        more = f"; so do {len(different) - 3} more pairs" if len(different) > 3 else ""
        text = f"No recipe was shown to differ from {found.leader}, the highest mean. Yet {shown}{more}."
        return "top group", "No single winner", found.group, [text, *details]
    label, those = "No recipe was shown to differ", "recipes"
    if found.troubles:
        others = f"{len(found.troubles)} {'other is' if len(found.troubles) == 1 else 'others are'} in trouble"
        label = f"No difference shown between {_some(list(found.sound))}; {others}"
        those = "recipes that trained as they should"
    text = f"No pair of the {len(found.sound)} {those} was shown to differ."
    return "indistinguishable", label, (), [text, *details]


def _power(material: Material, pairs: list[PairVerdict]) -> str:
    """What as many studies find, and what equality would take."""
    text = f"{detectable_text(pairs)}{_equal(material, pairs)}."
    return text[0].upper() + text[1:]


def _exactly(pair: PairVerdict) -> str:
    """`+0.031 (99.4 % interval at this pair's own level: [0.010, 0.052]; adjusted p = 0.002)`."""
    effect = pair.judged or pair.effect
    low, high = own_interval(pair)
    return (
        f"{formats.signed(effect.mean)} ({pair.interval_name}: {formats.interval(low, high)}; adjusted "
        f"{formats.p_text(pair.p_adjusted)})"
    )


def _equal(material: Material, pairs: list[PairVerdict]) -> str:
    """How many pairs are equivalent, and how many studies it would take to show that of the others."""
    equal = [pair for pair in pairs if pair.verdict == "equivalent"]
    region = f"±{EQUIVALENCE[PRIMARY]:g}"
    text = f"; {len(equal)} of {len(pairs)} are equivalent within {region}" if equal else ""
    if takes := needed_text(pairs):
        text += f"; to show equality within {region} takes {takes} {units(material, 2).partition(' ')[2]}"
    return text


def _unbeaten(evidence: Evidence, task: str, leader: str) -> list[str]:
    """Baselines that the leader was not shown to be better than."""
    comparison = evidence.comparison(task, QUALITY[0], baselines=True)
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or leader not in known:
        return []
    return [
        _baseline(name)
        for name in evidence.material.baselines
        if name in known and comparison.pair(leader, name).verdict not in ("better", "undecided", "untested")
    ]


def _margin(evidence: Evidence, task: str, found: Top) -> str:
    """How far the leader, or the highest mean, is above each baseline: a small margin is a small result."""
    if not found.sound:
        return ""
    own = evidence.material.mean(task, found.leader, PRIMARY)
    means = {name: evidence.material.mean(task, name, PRIMARY) for name in evidence.material.baselines}
    parts = [
        f"{formats.signed(own - mean)} over {_baseline(name)} ({formats.score(mean)})"
        for name, mean in sorted(means.items(), key=lambda item: -item[1])
        if mean == mean
    ]
    return f"{found.leader}: {formats.score(own)}, {listed(parts)}." if parts else ""


def _baseline(name: str) -> str:
    return {"untrained": "the untrained network", "pixels": "raw pixels", "features": "the features as they are"}.get(
        name, name
    )


def _caveats(evidence: Evidence, task: str, found: Top) -> list[str]:
    material, comparison = evidence.material, found.comparison
    said = _troubled(material, found)
    said += [f"below its own default on test: {text}" for text in below_default(material, task)]
    said += convergence.warnings(evidence, task)
    waiting = [name for name in comparison.missing if name not in found.troubles]
    if waiting:
        said.append(f"no result yet: {listed(waiting)}")
    said += _dropped(material.dropped(task))
    if comparison.between_looks:
        there = units(material, comparison.studies)
        said.append(
            f"verdicts are those of the look at {comparison.look}: {there} are there, the next look is at "
            f"{comparison.next_look}"
        )
    incomplete = [pair for pair in comparison.pairs if pair.effect.incomplete and not _gone(pair, found)]
    if incomplete:
        several = units(material, 2).partition(" ")[2]
        said.append(f"incomplete: {len(incomplete)} of {len(comparison.pairs)} comparisons lack {several}")
    return said


def _troubled(material: Material, found: Top) -> list[str]:
    """Who is kept out, and why; those that merely do not beat the untrained network in one line where they are many."""
    kept_out = "kept out of the leading group" if found.group else "in trouble"
    useless = [one.recipe for one in found.troubles.values() if not one.statuses]
    many = useless if len(useless) > FEW else []
    said = [f"{kept_out}: {one.sentence}" for one in found.troubles.values() if one.recipe not in many]
    if many:
        count = f"{len(many)} of {len(material.recipes)} recipes"
        said.append(f"{kept_out}: {count} are not better than the untrained network: {_some(many)}")
    return said


def _dropped(dropped: Mapping[str, int]) -> list[str]:
    """Who left the race, and when; in a line a study where they are many."""
    if len(dropped) <= FEW:
        return [f"{name}: dropped after study {last}, not tested" for name, last in dropped.items()]
    return [
        f"dropped after study {last}, not tested: {_some([name for name, own in dropped.items() if own == last])}"
        for last in sorted(set(dropped.values()))
    ]


def _some(names: list[str]) -> str:
    """`a, b and c`; of many the first, and how many more."""
    return listed(names) if len(names) <= MANY else listed([*names[:FIRST], f"{len(names) - FIRST} more"])


def _gone(pair: PairVerdict, found: Top) -> bool:
    """Whether why it lacks studies was said already: a recipe was dropped, or failed every time."""
    named = {one.recipe for one in found.comparison.dropped}
    return bool({pair.a, pair.b} & (named | {name for name, one in found.troubles.items() if one.hopeless}))


def _without_scores(material: Material, task: str) -> list[str]:
    return [
        name
        for name in material.recipes
        if len(rows := material.rows(task, name)) and (rows["status"] == "failed").all()
    ]


def _means(found: Top) -> str:
    ranked = found.sound[:FIRST]
    more = len(found.sound) - len(ranked)
    named = [f"{name} {_mean(found, name)}" for name in ranked] + ([f"{more} more below"] if more else [])
    return listed(named)


def _mean(found: Top, name: str) -> str:
    return formats.score(next(one.mean for one in found.comparison.ranking if one.recipe == name))
