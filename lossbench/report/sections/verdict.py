"""The answer per task: who leads by test, who ties, or why nobody can be named; one sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossbench.report.evidence.comparisons import EQUIVALENCE, QUALITY, Evidence
from lossbench.report.evidence.leaders import Top, own_interval, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections import convergence
from lossbench.report.sections.tuned import below_default
from lossbench.report.writing import formats
from lossbench.statistics.verdicts import PairVerdict

MANY, FIRST = 12, 8  # of more names than MANY, the FIRST are printed
FIRST_LOOK = 7  # studies at which pairs are tested for the first time
ENOUGH = 4  # and from which there are intervals to read
Kind = Literal[
    "winner", "top group", "indistinguishable", "single", "unranked", "undecided", "baseline", "broken", "nothing"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the first screen says of a task.

    `names` are the recipes the answer is about; `label` says what they are; `sentence` says how sure that is for who
    repeats the work, with effect, interval and p; `margin` is what is won over the baselines; `caveats` say which
    recipes are kept out, what is incomplete, and whether training was long enough.
    """

    task: str
    kind: Kind
    label: str
    names: tuple[str, ...]
    sentence: str
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
    kind, label, names, sentence = _say(evidence.material, task, found)
    if kind in ("winner", "top group", "indistinguishable") and (beyond := _unbeaten(evidence, task, found)):
        kind, label, names = "baseline", f"No recipe is shown to be better than {listed(beyond)}", ()
    return Answer(
        task=task,
        kind=kind,
        label=label,
        names=names,
        sentence=sentence,
        margin=_margin(evidence, task, found),
        caveats=tuple(_caveats(evidence, task, found)),
    )


def effect_text(pair: PairVerdict, alpha: float = 0.05) -> str:
    """`+0.031 [0.020, 0.042], p = 0.002`: effect, interval at the pair's own level, adjusted p: they agree."""
    low, high, _ = own_interval(pair, alpha)
    return f"{formats.signed(pair.effect.mean)} {formats.interval(low, high)}, {formats.p_text(pair.p_holm)}"


def detectable_text(pairs: list[PairVerdict], unit: str = "study") -> str:
    """The difference that as many studies find with 80 % power, over the given pairs."""
    found = np.array([pair.min_detectable_holm for pair in pairs])
    found = found[np.isfinite(found)]
    units = {"study": "studies", "seed": "seeds"}[unit]
    if not found.size:
        return f"these {units} have no spread to say which difference they would find"
    low, high = formats.score(float(found.min())), formats.score(float(found.max()))
    size = low if low == high else f"{low} (or {high}, depending on the pair)"
    return f"a difference of {size} is found with 80 % power by as many {units}"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def repeated(material: Material, task: str) -> str:
    """What differs when somebody does the whole work again, and what stays."""
    if material.unit == "seed":
        return "whoever repeats it with other seeds"
    settings = material.experiment["tasks"][material.tasks.index(task)]
    dealt = settings.get("splits", "dealt") == "dealt" and settings["protocol"] != "verification"
    parts = ["another deal of train and validation"] if dealt else []
    if len(material.studies) and material.tuned:
        parts.append("other tuning")
    parts.append("other seeds")
    return f"whoever repeats the whole work ({', '.join(parts)}; these data, this pool of recipes, this test set)"


def _say(material: Material, task: str, found: Top) -> tuple[Kind, str, tuple[str, ...], str]:
    units = _units(material, found.studies)
    if not found.sound:
        text = "Every recipe diverged, collapsed, failed, or is not better than the untrained network; see below."
        return "broken", "No recipe trained as it should", (), text
    if len(found.comparison.ranking) == 1:
        only = f"{found.leader} has a mean of {_mean(found, found.leader)} over {units}."
        return "single", "Only recipe with results", (found.leader,), f"There is nothing to compare it with. {only}"
    if found.studies < ENOUGH:
        return "unranked", f"Not ranked: {units}", (), _unranked(material, found)
    if all(pair.verdict == "undecided" for pair in found.comparison.pairs):
        return "undecided", f"Undecided: {units}", (), _undecided(material, found)
    if found.alone:
        label = "Winner" if found.beats_all else "Leads the recipes that trained every time"
        return "winner", label, found.group, _winner(material, task, found)
    if found.worse:
        label = "Leading group, no single winner" if len(found.group) > 1 else "Highest mean, no winner"
        return "top group", label, found.group, _group(material, task, found)
    return _nobody(material, task, found)


def _unranked(material: Material, found: Top) -> str:
    """Means, no verdict, and what it would take."""
    if material.unit == "seed":
        why = "So few seeds rank nothing"
    elif found.studies <= 1:
        why = "This speaks of one tuning only: another search, deal or seed may well turn the order round"
    else:
        why = f"{found.studies} studies rank nothing: another one may well turn the order round"
    take = f"from {ENOUGH} on there are intervals to read, from {FIRST_LOOK} on tests"
    setting = f" (budget.studies = {FIRST_LOOK})" if material.unit == "study" else ""
    return f"{why}. Means only: {_means(found)}. {take.capitalize()}{setting}."


def _undecided(material: Material, found: Top) -> str:
    units = _units(material, FIRST_LOOK)
    return f"The first look, at which pairs are tested, is at {units}. Means so far: {_means(found)}."


def _winner(material: Material, task: str, found: Top) -> str:
    second = found.sound[1]
    versus = found.comparison.pair(found.leader, second)
    text = f"{found.leader} is better than every other recipe"
    text += "" if found.beats_all else " that trained every time"
    text += f", and so {repeated(material, task)} is to find; by {_exactly(versus, found)} over the next, {second}."
    return text + (" The difference is below what matters in practice." if versus.negligible else "")


def _group(material: Material, task: str, found: Top) -> str:
    first, group = found.leader, found.group
    nearest = found.comparison.pair(first, found.worse[0])
    rest = "Every other recipe that trained every time" if found.troubles else "Every other recipe"
    below = (
        f"{rest} is worse, and so {repeated(material, task)} is to find; {first} is above the nearest, {nearest.b}, "
        f"by {_exactly(nearest, found)}."
    )
    if len(group) == 1:
        return f"{first} has the highest mean ({_mean(found, first)}). {below}"
    same = listed(group[1:]) if len(group) <= MANY else f"{len(group) - 1} others, from {group[1]} down to {group[-1]}"
    pairs = [found.comparison.pair(first, name) for name in group[1:]]
    return (
        f"{first} has the highest mean ({_mean(found, first)}); not told apart from it: {same}{_equal(pairs)}; "
        f"{detectable_text(pairs, material.unit)}. {below}"
    )


def _nobody(material: Material, task: str, found: Top) -> tuple[Kind, str, tuple[str, ...], str]:
    pairs = [found.comparison.pair(a, b) for i, a in enumerate(found.sound) for b in found.sound[i + 1 :]]
    different = [pair for pair in pairs if pair.verdict in ("better", "worse")]
    if different:
        shown = "; ".join(f"{p.a} and {p.b} differ ({effect_text(p)})" for p in different[:3])
        more = f"; so do {len(different) - 3} more pairs" if len(different) > 3 else ""
        text = f"No recipe was shown to differ from {found.leader}, the highest mean. Yet {shown}{more}."
        return "top group", "No single winner", found.group, text
    text = (
        f"No pair of the {len(found.sound)} recipes was shown to differ{_equal(pairs)}; "
        f"{detectable_text(pairs, material.unit)} (MAP@R)."
    )
    return "indistinguishable", "Indistinguishable", (), text


def _exactly(pair: PairVerdict, found: Top) -> str:
    """`+0.031 (99.4 % interval, the pair's own level: [0.010, 0.052]; adjusted p = 0.002)`."""
    low, high, confidence = own_interval(pair, found.comparison.alpha)
    return (
        f"{formats.signed(pair.effect.mean)} ({formats.share(confidence)} interval, the pair's own level: "
        f"{formats.interval(low, high)}; adjusted {formats.p_text(pair.p_holm)})"
    )


def _equal(pairs: list[PairVerdict]) -> str:
    equal = [pair for pair in pairs if pair.verdict == "equivalent"]
    if not equal:
        return ""
    return f" ({len(equal)} of {len(pairs)} equivalent within ±{EQUIVALENCE[PRIMARY]:g})"


def _unbeaten(evidence: Evidence, task: str, found: Top) -> list[str]:
    """Baselines that the leader was not shown to be better than."""
    comparison = evidence.comparison(task, QUALITY[0], baselines=True)
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or found.leader not in known:
        return []
    return [
        _baseline(name)
        for name in evidence.material.baselines
        if name in known and comparison.pair(found.leader, name).verdict not in ("better", "undecided")
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
    return {"untrained": "the untrained network", "pixels": "raw pixels"}.get(name, name)


def _caveats(evidence: Evidence, task: str, found: Top) -> list[str]:
    material, comparison = evidence.material, found.comparison
    kept_out = "kept out of the leading group" if found.group else "in trouble"
    said = [f"{kept_out}: {trouble.sentence}" for trouble in found.troubles.values()]
    said += [f"below its own default on test: {text}" for text in below_default(material, task)]
    said += convergence.warnings(evidence, task)
    waiting = [name for name in comparison.missing if name not in found.troubles]
    if waiting:
        said.append(f"no result yet: {listed(waiting)}")
    incomplete = [pair for pair in comparison.pairs if pair.effect.incomplete]
    if incomplete:
        units = _units(material, 2).partition(" ")[2]
        said.append(f"incomplete: {len(incomplete)} of {len(comparison.pairs)} comparisons lack {units}")
    return said


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


def _units(material: Material, count: int) -> str:
    several = {"study": "studies", "seed": "seeds"}[material.unit]
    return f"{count} {material.unit if count == 1 else several}"
