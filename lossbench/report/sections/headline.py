"""One line over all tasks, for whoever reads nothing else: who leads where, at what cost, and against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.leaders import Top, top
from lossbench.report.sections.costs import relative_step
from lossbench.report.sections.verdict import Answer, listed
from lossbench.report.writing import formats

LED = ("winner", "top group", "only one pays")  # kinds of answers that have a leader
PAYS = "only one pays"
SELF_EXPLAINING = ("baseline", "indistinguishable")  # whose label says it all
NAMED = 2  # tasks without the leader that are named; more are counted
_WHY = {
    "single": "there is only one recipe",
    "unranked": "so few repetitions rank nothing",
    "undecided": "the first test is still to come",
    "broken": "no recipe trained as it should",
    "nothing": "there is no result yet",
}


def headline(evidence: Evidence, answers: Sequence[Answer]) -> str:
    """`softmax+center ties for first on both tasks at 1.2 times the bare step; triplet costs 1.6 to 2.0. ...`

    The recipe that is in the leading group of most tasks; of several such the one that no other was shown to be
    cheaper than, of those the one with the highest mean rank. Empty without any answer.
    """
    tops = {each.task: found for each in answers if each.kind in LED and (found := top(evidence, each.task))}
    if not tops:
        return _without_a_leader(answers)
    pick, rivals = _pick(evidence, tops)
    led = [task for task, found in tops.items() if pick in found.group]
    alone = [each.task for each in answers if each.task in led and (tops[each.task].alone or each.kind == PAYS)]
    verb = "wins" if len(alone) == len(led) else "wins or ties for first" if alone else "ties for first"
    says = f"{pick} {verb}"
    if all(each.kind == PAYS for each in answers if each.task in led):
        says = f"Training pays with {pick} only,"
    text = f"{says} on {_where(led, answers)}{_cost(evidence, led, pick, rivals)}."
    rest = [each for each in answers if each.task not in led]
    return " ".join(filter(None, (text, _versus_reference(evidence, led, pick), _elsewhere(rest))))


def _pick(evidence: Evidence, tops: Mapping[str, Top]) -> tuple[str, list[str]]:
    """The recipe to speak of, and those that lead on as many tasks."""
    material = evidence.material
    places = {name: [found.group for found in tops.values() if name in found.group] for name in material.recipes}
    most = max(map(len, places.values()))
    equals = [name for name in material.recipes if len(places[name]) == most]
    ranks = {name: sum(found.sound.index(name) for found in tops.values() if name in found.sound) for name in equals}
    cheap = [name for name in equals if not any(_cheaper(evidence, tops, other, name) for other in equals)]
    pick = min(cheap or equals, key=lambda name: ranks[name])
    return pick, [name for name in equals if name != pick]


def _cheaper(evidence: Evidence, tops: Mapping[str, Top], one: str, other: str) -> bool:
    """Whether a step of `one` was shown to cost less than one of `other` on every task on which both were timed."""
    verdicts = []
    for task in tops:
        probed = evidence.step_times(task)
        known = {standing.recipe for standing in probed.ranking} if probed else set()
        if probed and {one, other} <= known and one != other:
            verdicts.append(probed.pair(one, other).verdict)
    return bool(verdicts) and all(verdict == "better" for verdict in verdicts)


def _where(led: Sequence[str], answers: Sequence[Answer]) -> str:
    if len(led) < len(answers):
        return led[0] if len(led) == 1 else f"{len(led)} of {len(answers)} tasks"
    return led[0] if len(led) == 1 else "both tasks" if len(led) == 2 else f"all {len(led)} tasks"


def _cost(evidence: Evidence, led: Sequence[str], pick: str, rivals: Sequence[str]) -> str:
    """What a step costs in units of the bare network's, beside that of the dearest rival; empty without a probe."""
    own = _range(evidence, led, pick)
    if not own:
        return ""
    dear = {name: found for name in rivals if (found := _range(evidence, led, name))}
    text = f" at {_times(own)} times the bare step"
    dearest = max(dear, key=lambda name: sum(dear[name]), default=None)
    if dearest and _times(dear[dearest]) != _times(own):
        text += f"; {dearest} costs {_times(dear[dearest])}"
    return text


def _range(evidence: Evidence, tasks: Sequence[str], recipe: str) -> tuple[float, float] | None:
    found = [cost for task in tasks if (cost := relative_step(evidence.material, task, recipe)) == cost]
    return (min(found), max(found)) if found else None


def _times(found: tuple[float, float]) -> str:
    """`1.2`, `1.6 to 2.0`."""
    low, high = (formats.score(value, 1) for value in found)
    return low if low == high else f"{low} to {high}"


def _elsewhere(rest: Sequence[Answer]) -> str:
    """What is to be said of the tasks on which the recipe does not lead."""
    if not rest:
        return ""
    if len(rest) > NAMED:
        return f"On {len(rest)} tasks it does not."
    tasks: dict[str, list[str]] = {}
    for each in rest:
        tasks.setdefault(_instead(each), []).append(each.task)
    return " ".join(f"On {listed(where)} {what}." for what, where in tasks.items())


def _instead(found: Answer) -> str:
    if found.kind in SELF_EXPLAINING or (found.kind == "single" and found.caveats):  # trained beside others in trouble
        return found.label[0].lower() + found.label[1:]
    if found.kind == PAYS:
        return f"training pays with {listed(found.shown)} only"
    if found.kind in LED:
        return f"{listed(found.shown)} {'wins' if found.kind == 'winner' else 'lead'}"
    return _WHY.get(found.kind, "there is no answer")


def _versus_reference(evidence: Evidence, led: Sequence[str], pick: str) -> str:
    """On which of its tasks the recipe was shown to be better than the reference, and where it was not told from it."""
    reference = evidence.material.reference
    if pick == reference:
        return ""
    better: list[str] = []
    same: list[str] = []
    for task in led:
        comparison = evidence.primary[task]
        known = {standing.recipe for standing in comparison.ranking} if comparison else set()
        if comparison and reference in known:
            (better if comparison.pair(pick, reference).verdict == "better" else same).append(task)
    if not same:
        return f"It is better than {reference}{'' if len(better) == 1 else ' on each'}." if better else ""
    if not better:
        return f"It was not told from {reference}{'' if len(same) == 1 else ' on any'}."
    return f"It is better than {reference} on {_counted(better)}, and was not told from it on {_counted(same)}."


def _counted(tasks: Sequence[str]) -> str:
    return listed(list(tasks)) if len(tasks) <= NAMED else f"{len(tasks)} tasks"


def _without_a_leader(answers: Sequence[Answer]) -> str:
    if not answers:
        return ""
    if len(answers) <= NAMED:
        text = "; ".join(f"{each.task}: {_instead(each)}" for each in answers)
    else:
        kinds = list(dict.fromkeys(_instead(each) for each in answers))
        text = "; ".join(f"{kind} (on {sum(_instead(each) == kind for each in answers)} tasks)" for kind in kinds)
    return f"{text[0].upper()}{text[1:]}." if len(answers) > NAMED else f"{text}."
