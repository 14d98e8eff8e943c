"""Sweeps: recipes of one rule that differ in one fixed parameter, and tasks that differ in their wrong labels only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossbench.report.evidence.comparisons import (
    EQUIVALENCE,
    QUALITY,
    Evidence,
    Figure,
    distance_figures,
    summary,
)
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.sections.findings import Finding, words
from lossbench.report.sections.verdict import detectable_text, effect_text, listed
from lossbench.report.writing import formats
from lossbench.statistics.effects import mean_interval
from lossbench.statistics.looks import LEAST_RANKED
from lossbench.statistics.verdicts import Comparison, PairVerdict

FEWEST = 3  # values that make a sweep
PAPER = {"lambda": 0.003, "alpha": 0.5}  # of center loss
COMPACT = next(figure for figure in distance_figures("sphere") if figure.column.endswith("intra_inter_ratio"))
FIGURES = (QUALITY[0], COMPACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Recipes of one rule over one parameter.

    Attributes:
        points: (value, recipe), ascending.
        held: `alpha 0.5`: the other fixed parameters that differ elsewhere in the experiment.
    """

    rule: str
    parameter: str
    points: tuple[tuple[float, str], ...]
    held: str

    @property
    def title(self) -> str:
        """`lambda of softmax+center at alpha 0.5`."""
        return f"{self.parameter} of {self.rule}" + (f" at {self.held}" if self.held else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is drawn at one value: every study, their mean and its interval."""

    value: float
    scores: tuple[float, ...]
    mean: float
    low: float
    high: float


def find(material: Material) -> list[Sweep]:
    """Every sweep of an experiment, in the order of its recipes."""
    rules = {entry["name"]: entry["use"] for entry in material.experiment["recipes"]}
    fixed = {entry["name"]: _fixed(entry) for entry in material.plan["recipes"]}
    groups: dict[tuple[Any, ...], dict[float, str]] = defaultdict(dict)
    for name, values in fixed.items():
        for parameter, value in values.items():
            if isinstance(value, int | float):
                rest = tuple(sorted((key, other) for key, other in values.items() if key != parameter))
                groups[rules[name], parameter, rest].setdefault(float(value), name)
    return [
        Sweep(
            rule=rule,
            parameter=parameter,
            points=tuple(sorted(points.items())),
            held=_held(rest, [fixed[name] for name in fixed if rules[name] == rule]),
        )
        for (rule, parameter, rest), points in groups.items()
        if len(points) >= FEWEST
    ]


def points(material: Material, task: str, sweep: Sweep, column: str) -> list[Point]:
    """The figure at every value that has it."""
    return [
        found for value, recipe in sweep.points if (found := point(material, task, recipe, column, value)) is not None
    ]


def point(material: Material, task: str, recipe: str, column: str, value: float) -> Point | None:
    """One recipe's studies at a value; None without any."""
    scores = [score for score in material.values(task, recipe, column).values() if np.isfinite(score)]
    if not scores:
        return None
    found = summary(material, task, recipe, column)
    mean, low, high = (float(number) for number in (found.mean, found.low, found.high))
    return Point(value=value, scores=tuple(scores), mean=mean, low=low, high=high)


def families(material: Material) -> list[tuple[str, dict[float, str]]]:
    """Tasks that differ in the share of wrong labels only: what they have in common, and share to task."""
    found: dict[str, dict[float, str]] = defaultdict(dict)
    for task, settings in zip(material.tasks, material.experiment["tasks"], strict=True):
        if settings.get("label_noise") is not None:
            noise = float(settings["label_noise"])
            found[task.replace(f"/noise={noise:g}", "")][noise] = task
    return [(name, dict(sorted(shares.items()))) for name, shares in found.items() if len(shares) >= FEWEST]


def findings(evidence: Evidence, task: str) -> Iterator[Finding]:
    """For each sweep: where the highest mean lies, and which values the tests tell from it."""
    for sweep in find(evidence.material):
        sentences = [
            sentence for figure in FIGURES if (sentence := _extreme(evidence.comparison(task, figure), sweep, figure))
        ]
        if sentences:
            sentences += [said for said in (_forgiving(evidence.material, task, sweep),) if said]
            low, high = sweep.points[0][0], sweep.points[-1][0]
            yield Finding(
                about=task,
                question=f"How much does {sweep.title} matter, from {low:g} to {high:g}?",
                text=" ".join(sentences),
                confirmatory=False,
                section="effects",
            )


def noise_findings(evidence: Evidence) -> Iterator[Finding]:
    """For each sweep over tasks with wrong labels: the smallest value against the largest at every share."""
    for name, shares in families(evidence.material):
        for sweep in find(evidence.material):
            small, large = sweep.points[0][1], sweep.points[-1][1]
            parts = []
            for share, task in shares.items():
                pair = _pair(evidence.primary[task], small, large)
                if pair is not None and pair.verdict != "undecided":
                    parts.append(f"with {100 * share:g} % wrong labels {words(pair)} ({effect_text(pair)})")
            if parts:
                yield Finding(
                    about=name,
                    question=f"Does a small {sweep.parameter} protect from wrong labels?",
                    text=f"In MAP@R, {'; '.join(parts)}.",
                    confirmatory=False,
                )


def _extreme(comparison: Comparison | None, sweep: Sweep, figure: Figure) -> str:
    """`In MAP@R the highest mean is at lambda 0.03. Worse: ... Not told from it: ...`."""
    values = {recipe: value for value, recipe in sweep.points}
    if comparison is None:
        return ""
    ranked = [standing for standing in comparison.ranking if standing.recipe in values]
    if len(ranked) < FEWEST:
        return ""
    first = ranked[0]
    pairs = [comparison.pair(standing.recipe, first.recipe) for standing in ranked[1:]]
    if all(pair.verdict == "undecided" for pair in pairs):
        return ""
    told = [pair for pair in pairs if pair.verdict == "worse"]
    same = [pair for pair in pairs if pair.verdict in ("indistinguishable", "equivalent")]
    kind = "highest" if figure.direction > 0 else "lowest"
    text = f"In {figure.label} the {kind} mean is at {values[first.recipe]:g} ({formats.score(first.mean)})."
    if told:
        text += f" Worse: {_values(told, values)}."
    if same:
        text += f" Not told from it: {listed([f'{values[pair.a]:g}' for pair in same])}; {detectable_text(same)}."
    return text


def forgiving(material: Material, task: str, sweep: Sweep) -> dict[int, float]:
    """Study to the share of the sweep's values whose MAP@R is within the region of equivalence of the study's highest.

    The tolerance is fixed: one that shrinks with the number of runs would make any parameter look less forgiving.
    """
    scores = [material.values(task, recipe, PRIMARY) for _, recipe in sweep.points]
    common = sorted(set.intersection(*(set(own) for own in scores)))
    found = {study: np.array([own[study] for own in scores]) for study in common}
    return {
        study: float(np.mean(own >= own.max() - EQUIVALENCE[PRIMARY]))
        for study, own in found.items()
        if np.isfinite(own).all()
    }


def _forgiving(material: Material, task: str, sweep: Sweep) -> str:
    """`Within 0.005 of a study's highest are 62.0 % [50.1 %, 73.9 %] of the 6 values.`"""
    shares = list(forgiving(material, task, sweep).values())
    if len(shares) < LEAST_RANKED:
        return ""
    band = mean_interval(shares, bounds=(0.0, 1.0))
    low, high = (formats.share(float(end)) for end in (band.low, band.high))
    paper = f" Wen et al. 2016 use {PAPER[sweep.parameter]:g}." if sweep.parameter in PAPER else ""
    return (
        f"Within {EQUIVALENCE[PRIMARY]:g} of a study's highest are {formats.share(float(band.mean))} [{low}, {high}] "
        f"of the {len(sweep.points)} values (mean over studies, 95 % interval).{paper}"
    )


def _values(pairs: Sequence[PairVerdict], values: dict[str, float]) -> str:
    return listed([f"{values[pair.a]:g} ({effect_text(pair)})" for pair in pairs])


def _fixed(entry: Any) -> dict[str, Any]:
    return {name: value for name, value in entry["defaults"].items() if name not in entry["searched"]}


def _held(rest: Sequence[tuple[str, Any]], siblings: Sequence[dict[str, Any]]) -> str:
    """The parameters of `rest` that are not the same in all recipes of the rule."""
    varied = [(name, value) for name, value in rest if len({str(each.get(name)) for each in siblings}) > 1]
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in varied)


def _pair(comparison: Comparison | None, a: str, b: str) -> PairVerdict | None:
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    return comparison.pair(a, b) if comparison and {a, b} <= known else None
