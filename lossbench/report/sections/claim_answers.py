"""The answers to an experiment's claims: supported, refuted or undecided, each from a test.

A claim about a difference (or about a distance from a number) is tested against its own smallest effect by a paired t
test over studies, or over rounds of the cost probe. Holm corrects over the experiment's tests of scores, and over those
of times apart: how busy a machine was must not tip a verdict on scores, which repeat bit by bit. `equal` is tested by
two one-sided tests. Claims that speak of trained networks wait for a convergence check of what they compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lossbench.report.evidence import derived
from lossbench.report.evidence.comparisons import DISTANCES, QUALITY, SPACES, Evidence
from lossbench.report.evidence.material import Material
from lossbench.report.sections import convergence
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.specification.claims import STEPS_TO_SCORE, TIMED, digest
from lossbench.specification.experiment import UNSEEDED
from lossbench.specification.task import named_in
from lossbench.statistics.effects import Effect, paired_effect
from lossbench.statistics.looks import LEAST_RANKED, looks_until
from lossbench.statistics.multiplicity import holm

Verdict = Literal["supported", "refuted", "undecided", "unanswerable"]
ALPHA = 0.05
# What is said of these is said of networks that have been trained to the end.
TRAINED = frozenset({"train.head_accuracy", "test.head_accuracy", STEPS_TO_SCORE})
# How far the first side must be from the second: sign of the wanted difference, and of the smallest effect in it.
_WANTED = {"higher": (1, 1), "lower": (-1, -1), "not lower": (1, -1), "not higher": (-1, 1)}
_LABELS = {figure.column: figure.label for figure in QUALITY} | {
    f"test.{space}.{name}": f"{label} {'on the sphere' if space == 'sphere' else 'raw'}"
    for space in SPACES
    for name, label, _ in DISTANCES
} | {
    "train.head_accuracy": "head accuracy on train",
    STEPS_TO_SCORE: "steps to the fixed validation score",
    "probe.step_relative": "step time in units of the backbone's own",
    "probe.step_s": "step time, s",
    "probe.loss_s": "step time beyond the backbone's own, s",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim on one task: what was found, and what follows.

    `mean`, `low`, `high` are the difference of the two sides with its 95 % interval (not adjusted); `p` is two-sided
    against the smallest effect, `p_holm` corrected over the tests of scores, or of times. NaN: there is none.
    """

    task: str
    claim: Mapping[str, Any]
    verdict: Verdict
    first: float
    second: float
    mean: float
    low: float
    high: float
    n: int
    p: float
    p_holm: float
    reason: str = ""

    @property
    def label(self) -> str:
        """The figure as a reader calls it."""
        return label(str(self.claim["metric"]))

    @property
    def claimed(self) -> str:
        """What was claimed, in one line."""
        first, second = self.claim["comparison"]
        other = formats.significant(second) if isinstance(second, float) else second
        return f"{first} {bounds(self.claim)} {other}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A claim with all its parts: refuted where one part is, supported where all are.

    `stated`: when, and in which file, by the first digits of its SHA-256.
    """

    text: str
    source: str
    verdict: Verdict
    checks: tuple[Check, ...]
    post_hoc: bool
    stated: str = ""

    @property
    def standing(self) -> str:
        """`stated before the runs of this folder (2026-05-01, file 0123456789ab)`: no more is known than that."""
        if self.post_hoc:
            return "post hoc: stated or changed after a final run of this folder was stored"
        return f"stated before the runs of this folder{f' ({self.stated})' if self.stated else ''}"


def label(metric: str) -> str:
    """A figure's name for a reader; the column's own where it has none.

    >>> label("test.sphere.map_at_r")
    'MAP@R'
    """
    return _LABELS.get(metric, metric)


def bounds(claim: Mapping[str, Any]) -> str:
    """The claimed relation in words, with the smallest effect that matters.

    >>> bounds({"direction": "not lower", "smallest_effect": 0.01})
    'at most 0.0100 lower than'
    """
    effect, direction = float(claim["smallest_effect"]), str(claim["direction"])
    size = formats.significant(effect)
    if direction == "equal":
        return f"within ±{size} of"
    if direction.startswith("not "):
        return f"at most {size} {direction.removeprefix('not ')} than"
    return f"at least {size} {direction} than" if effect else f"{direction} than"


def answers(evidence: Evidence) -> tuple[Answer, ...]:
    """Every claim of the experiment, in the order of the file."""
    material = evidence.material
    claims = [dict(claim) for claim in material.experiment.get("claims", ())]
    if not claims:
        return ()
    checks = _holm_corrected([check for claim in claims for check in _checks(material, claim)])
    known = material.store.read_claims(material.name)
    found = []
    for text in dict.fromkeys(claim["text"] for claim in claims):
        own = [claim for claim in claims if claim["text"] == text]
        parts = tuple(check for check in checks if check.claim["text"] == text)
        found.append(
            Answer(
                text=text,
                source=next((claim["source"] for claim in own if claim.get("source")), ""),
                verdict=_together([check.verdict for check in parts]),
                checks=parts,
                post_hoc=any(known.get(digest(claim), {}).get("post_hoc", True) for claim in own),
                stated=_stated([known.get(digest(claim), {}) for claim in own]),
            )
        )
    return tuple(found)


def _stated(registered: Iterable[Mapping[str, Any]]) -> str:
    """Date and file of the part that was registered last."""
    last = max(registered, key=lambda one: str(one.get("date", "")))
    date, file = str(last.get("date", "")), str(last.get("file_sha256", ""))[:12]
    return ", ".join(filter(None, [date, f"file {file}" if file else ""]))


def table(found: Iterable[Answer]) -> Table:
    """One row a test: claim, task, figure, both sides, difference, interval, p and verdict."""
    columns = [
        Column("claim", numeric=False),
        Column("task", numeric=False),
        Column("figure", numeric=False),
        Column("claimed", numeric=False),
        Column("first", "mean"),
        Column("second", "mean or number"),
        Column("difference", "paired"),
        Column("95 % interval", "unadjusted"),
        Column("p", "Holm, over scores or times"),
        Column("n", "studies or rounds"),
        Column("verdict", numeric=False),
        Column("standing", numeric=False),
    ]
    rows = [_row(answer, check) for answer in found for check in answer.checks]
    notes = (
        "Supported: the difference was shown to be on the claimed side of the smallest effect that matters. Refuted: "
        "shown to be on the other side. Each test is a paired t test against that effect over studies, at the looks of "
        "the ranking, or over rounds of the cost probe. Post hoc: stated or changed after a final run of this folder "
        "was stored.",
    )
    return make_table("claims", "Claims stated with the experiment", columns, rows, notes=notes)


def sentence(check: Check) -> str:
    """What was found, with its figures: `Supported on digits/closed-set: ...`."""
    where = f" on {check.task}" if check.task else ""
    start = f"{check.verdict.capitalize()}{where}: {check.label}"
    if check.verdict == "unanswerable":
        return f"{start}: {check.reason}."
    first, second = check.claim["comparison"]
    against = formats.significant(float(check.second))
    other = against if isinstance(second, float) else f"{against} of {second}"
    found = f"{formats.signed_significant(check.mean)} {formats.interval_significant(check.low, check.high)}"
    tested = f", {formats.p_text(check.p_holm)}" if check.p_holm == check.p_holm else ""
    return (
        f"{start} is {formats.significant(check.first)} for {first}, against {other}: {found}{tested}. "
        f"Claimed: {bounds(check.claim).removesuffix(' than').removesuffix(' of')}."
        + (f" {check.reason}." if check.reason else "")
    )


def summary(found: Iterable[Answer]) -> str:
    """How many claims came out how: `2 supported, 1 refuted, 3 undecided`."""
    verdicts = [answer.verdict for answer in found]
    order: tuple[Verdict, ...] = ("supported", "refuted", "undecided", "unanswerable")
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in order if verdict in verdicts)


def _checks(material: Material, claim: Mapping[str, Any]) -> list[Check]:
    tasks = [task for task in material.tasks if _about(claim.get("task"), task)]
    if not tasks:
        return [_unanswerable("", claim, f"no task of this experiment is {claim['task']}")]
    return [_check(material, task, claim) for task in tasks]


def _about(wanted: str | None, task: str) -> bool:
    dataset, short = named_in(task)
    return wanted is None or wanted in (task, dataset, short, f"{dataset}/{short}")


def _check(material: Material, task: str, claim: Mapping[str, Any]) -> Check:
    first, second = claim["comparison"]
    for side in claim["comparison"]:
        if isinstance(side, str) and side not in (*material.recipes, *material.baselines):
            return _unanswerable(task, claim, f"{side} is no recipe of this experiment")
    if untrained := _untrained(material, task, claim):
        return _unanswerable(task, claim, untrained)
    one = derived.values(material, task, first, claim["metric"])
    if isinstance(second, str):
        other = derived.values(material, task, second, claim["metric"])
        if second in UNSEEDED and len(other) == 1:  # no seed enters it
            other = dict.fromkeys(one, next(iter(other.values())))
    else:
        other = dict.fromkeys(one, float(second))
    studies = sorted(set(one) & set(other))
    if len(studies) < LEAST_RANKED:
        missing = f"fewer than {LEAST_RANKED} common {_units(material, claim)}"
        return _unanswerable(task, claim, missing if one or other else "there is no such figure here")
    scores = [one[study] for study in studies], [other[study] for study in studies]
    effect = paired_effect(*scores)
    verdict, p = _over_looks(scores, claim)
    reason = _censored(material, task, claim)
    if reason and _leans_on_censored(material, task, claim, verdict, effect):
        p = 1.0  # the steps that are not known would tip it
    return Check(
        task=task,
        claim=claim,
        verdict=verdict,
        first=math.fsum(scores[0]) / len(studies),
        second=math.fsum(scores[1]) / len(studies),
        mean=effect.mean,
        low=effect.low,
        high=effect.high,
        n=effect.n,
        p=p,
        p_holm=math.nan,
        reason=reason,
    )


def _untrained(material: Material, task: str, claim: Mapping[str, Any]) -> str:
    """Why a claim that speaks of trained networks has none to speak of; empty where it has."""
    change = convergence.of_claim(material, task, claim["comparison"]) if claim["metric"] in TRAINED else None
    if change is None or change.answer == "holds":
        return ""
    sides = " against ".join(filter(None, (change.a, change.b)))
    moved = f"{formats.signed(change.effect.mean)} {formats.interval(change.effect.low, change.effect.high)} of MAP@R"
    if change.answer == "moves":
        return f"it speaks of trained networks, and twice the epochs move {sides} by {moved}"
    return f"it speaks of trained networks, and whether twice the epochs move {sides} cannot be told: {moved}"


def _units(material: Material, claim: Mapping[str, Any]) -> str:
    if claim["metric"] in TIMED:
        return "rounds"
    return "studies" if material.unit == "study" else "seeds"


def _never(material: Material, task: str, claim: Mapping[str, Any]) -> list[int]:
    """In how many studies each side never reached the fixed score."""
    if claim["metric"] != STEPS_TO_SCORE:
        return [0, 0]
    return [
        len(derived.steps_to_score(material, task, side).censored) if isinstance(side, str) else 0
        for side in claim["comparison"]
    ]


def _censored(material: Material, task: str, claim: Mapping[str, Any]) -> str:
    """`softmax never reached the score in 2 studies: counted as the last step, it may be more`; empty where all did."""
    parts = [
        f"{side} never reached the score in {formats.counted(count, 'study')}"
        for side, count in zip(claim["comparison"], _never(material, task, claim), strict=True)
        if count
    ]
    return f"{' and '.join(parts)}: counted as the last step, it may be more" if parts else ""


def _leans_on_censored(
    material: Material, task: str, claim: Mapping[str, Any], verdict: Verdict, effect: Effect
) -> bool:
    """Whether more steps of a side that never got there could turn the verdict round."""
    first, second = _never(material, task, claim)
    if claim["direction"] == "equal":
        return verdict == "supported" or bool(first if effect.mean < 0 else second)
    sign, _ = _WANTED[claim["direction"]]
    high = (sign > 0) == (verdict == "supported")  # the verdict says that the first side is the higher one
    return bool(second if high else first)


def _over_looks(scores: tuple[list[float], list[float]], claim: Mapping[str, Any]) -> tuple[Verdict, float]:
    """The verdict of the look that shows most, and its p over the look's share: valid over all looks together.

    The cost probe is measured once, and tested once.
    """
    if claim["metric"] in TIMED:
        return _tested(scores, paired_effect(*scores), claim)
    found: list[tuple[float, Verdict]] = []
    for look in looks_until(len(scores[0])):
        first = scores[0][: look.studies], scores[1][: look.studies]
        verdict, p = _tested(first, paired_effect(*first), claim)
        found.append((p / look.share, verdict))
    p, verdict = min(found, key=lambda one: one[0], default=(1.0, "undecided"))
    return verdict, min(p, 1.0)


def _tested(scores: tuple[list[float], list[float]], effect: Effect, claim: Mapping[str, Any]) -> tuple[Verdict, float]:
    """The verdict if the test called it, and the two-sided p of that test."""
    size, direction = float(claim["smallest_effect"]), str(claim["direction"])
    if direction == "equal":
        return _equality(scores, effect, size)
    sign, side = _WANTED[direction]
    shifted = paired_effect(scores[0], [score + side * size for score in scores[1]])
    return ("supported" if sign * shifted.mean > 0 else "refuted"), shifted.p


def _equality(scores: tuple[list[float], list[float]], effect: Effect, size: float) -> tuple[Verdict, float]:
    """Two one-sided tests within +-size; outside, the test against the nearer bound."""
    above, below = (paired_effect(scores[0], [score + bound for score in scores[1]]) for bound in (-size, size))
    if abs(effect.mean) >= size:
        return "refuted", above.p if effect.mean < 0 else below.p
    return "supported", max(above.p, below.p) / 2


def _holm_corrected(checks: list[Check]) -> list[Check]:
    """The checks with Holm's p over those of their kind; what that p does not reach is undecided."""
    p = np.array([check.p for check in checks])
    timed = np.array([check.claim["metric"] in TIMED for check in checks])
    adjusted = np.empty(len(checks))
    for family in (timed, ~timed):
        adjusted[family] = holm(p[family])
    found = []
    for check, corrected in zip(checks, adjusted.tolist(), strict=True):
        decided = math.isnan(check.p) or corrected < ALPHA
        found.append(replace(check, p_holm=corrected, verdict=check.verdict if decided else "undecided"))
    return found


def _together(verdicts: list[Verdict]) -> Verdict:
    """Of all parts: one refuted part refutes; what nothing can be said of keeps the rest from support."""
    if "refuted" in verdicts:
        return "refuted"
    if set(verdicts) == {"supported"}:
        return "supported"
    return "unanswerable" if set(verdicts) == {"unanswerable"} else "undecided"


def _unanswerable(task: str, claim: Mapping[str, Any], reason: str) -> Check:
    nothing = math.nan
    return Check(
        task=task, claim=claim, verdict="unanswerable", first=nothing, second=nothing, mean=nothing, low=nothing,
        high=nothing, n=0, p=nothing, p_holm=nothing, reason=reason,
    )  # fmt: skip


def _row(answer: Answer, check: Check) -> Row:
    mark = {"supported": "up", "refuted": "down"}.get(check.verdict, "muted")
    return Row(
        (
            Cell(answer.text),
            Cell(check.task or formats.NONE),
            Cell(check.label),
            Cell(check.claimed),
            Cell(formats.significant(check.first), check.first),
            Cell(formats.significant(check.second), check.second),
            Cell(formats.signed_significant(check.mean), check.mean, "strong"),
            Cell(formats.interval_significant(check.low, check.high), check.low),
            Cell(formats.p_value(check.p_holm), check.p_holm),
            Cell(str(check.n) if check.n else formats.NONE, float(check.n)),
            Cell(check.verdict, mark=mark),
            Cell(answer.standing),
        )
    )
