"""The answers to an experiment's claims: supported, refuted or undecided, each from a test.

A claim about a difference (or about a distance from a number) is tested against its own smallest effect by a paired t
test over studies, or over rounds of the cost probe. Holm corrects over the experiment's tests of scores, and over those
of times apart: how busy a machine was must not tip a verdict on scores, which repeat bit by bit. `equal` is tested by
two one-sided tests. What is claimed of the share of an area is judged by that share's posterior interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lossbench.report.evidence import derived
from lossbench.report.evidence.comparisons import DISTANCES, QUALITY, SPACES, Evidence
from lossbench.report.evidence.landscape import landscape
from lossbench.report.evidence.material import Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.specification.claims import FORGIVING_AREA, TIMED, digest
from lossbench.specification.spec import UNSEEDED
from lossbench.statistics.effects import Effect, paired_effect
from lossbench.statistics.multiplicity import holm

Verdict = Literal["supported", "refuted", "undecided", "unanswerable"]
ALPHA = 0.05
# How far the first side must be from the second: sign of the wanted difference, and of the smallest effect in it.
_WANTED = {"higher": (1, 1), "lower": (-1, -1), "not lower": (1, -1), "not higher": (-1, 1)}
_LABELS = {figure.column: figure.label for figure in QUALITY} | {
    f"test.{space}.{name}": f"{label} {'on the sphere' if space == 'sphere' else 'raw'}"
    for space in SPACES
    for name, label, _ in DISTANCES
} | {
    "train.head_accuracy": "head accuracy on train",
    "curve.epochs_to_95": "epochs to 95 % of the final validation score",
    FORGIVING_AREA: "share of the area within one standard error of the highest",
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
    """A claim with all its parts: refuted where one part is, supported where all are."""

    text: str
    source: str
    verdict: Verdict
    checks: tuple[Check, ...]
    post_hoc: bool


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
            )
        )
    return tuple(found)


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
        "shown to be on the other side. Each test is a paired t test against that effect over studies, over rounds for "
        "the cost probe; the share of an area is judged by its 95 % posterior interval. Post hoc: stated or changed "
        "after a final run was stored.",
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
    dataset, _, protocol = task.partition("/")
    short = protocol.partition("/")[0]
    return wanted is None or wanted in (task, dataset, short, f"{dataset}/{short}")


def _check(material: Material, task: str, claim: Mapping[str, Any]) -> Check:
    first, second = claim["comparison"]
    for side in claim["comparison"]:
        if isinstance(side, str) and side not in (*material.recipes, *material.baselines):
            return _unanswerable(task, claim, f"{side} is no recipe of this experiment")
    if claim["metric"] == FORGIVING_AREA:
        return _area_check(material, task, claim)
    one = derived.values(material, task, first, claim["metric"])
    if isinstance(second, str):
        other = derived.values(material, task, second, claim["metric"])
        if second in UNSEEDED and len(other) == 1:  # no seed enters it
            other = dict.fromkeys(one, next(iter(other.values())))
    else:
        other = dict.fromkeys(one, float(second))
    seeds = sorted(set(one) & set(other))
    if len(seeds) < 2:
        missing = "fewer than two common studies" if one or other else "there is no such figure here"
        return _unanswerable(task, claim, missing)
    scores = [one[seed] for seed in seeds], [other[seed] for seed in seeds]
    effect = paired_effect(*scores)
    verdict, p = _tested(scores, effect, claim)
    return Check(
        task=task,
        claim=claim,
        verdict=verdict,
        first=math.fsum(scores[0]) / len(seeds),
        second=math.fsum(scores[1]) / len(seeds),
        mean=effect.mean,
        low=effect.low,
        high=effect.high,
        n=effect.n,
        p=p,
        p_holm=math.nan,
    )


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


def _area_check(material: Material, task: str, claim: Mapping[str, Any]) -> Check:
    first, second = claim["comparison"]
    found = landscape(material, task, first)
    if found is None or isinstance(second, str):
        return _unanswerable(task, claim, "lambda and alpha were not searched in enough trials")
    sign, side = _WANTED.get(claim["direction"], (1, 1))
    bound = float(second) + side * float(claim["smallest_effect"])
    verdict: Verdict = "undecided"
    if found.low > bound or found.high < bound:
        verdict = "supported" if (found.low > bound) == (sign > 0) else "refuted"
    return Check(
        task=task,
        claim=claim,
        verdict=verdict,
        first=found.share,
        second=float(second),
        mean=found.share - float(second),
        low=found.low - float(second),
        high=found.high - float(second),
        n=found.trials,
        p=math.nan,
        p_holm=math.nan,
        reason=f"From a surface through {found.trials} trials, its interval is the posterior's",
    )


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
            Cell("post hoc" if answer.post_hoc else "registered before the final runs"),
        )
    )
