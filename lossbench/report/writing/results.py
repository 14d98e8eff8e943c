"""`results.json`: every aggregate with its interval, under `results.schema.json`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from lossbench import __version__
from lossbench.report.document import Document, TaskReport
from lossbench.report.evidence import derived
from lossbench.report.evidence.comparisons import (
    EQUIVALENCE,
    QUALITY,
    SPACES,
    Evidence,
    Figure,
    bounds,
    distance_figures,
)
from lossbench.report.evidence.leaders import letters_of, own_interval, top
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.evidence.overall import Overall
from lossbench.report.sections import tuning_tax
from lossbench.report.sections.claim_answers import Answer as ClaimAnswer
from lossbench.report.sections.claim_answers import sentence
from lossbench.report.sections.findings import scope
from lossbench.report.sections.importance import importances
from lossbench.report.sections.verdict import Answer
from lossbench.specification.claims import STEP_RELATIVE, STEP_S
from lossbench.statistics.aggregates import Aggregate
from lossbench.statistics.effects import mean_interval
from lossbench.statistics.verdicts import Comparison, PairVerdict

SCHEMA_VERSION = 2
_INTERVAL = {"estimate": "mean", "low": "low", "high": "high"}
GROUPS = ("test.", "val.", "train.", "cost.")


def results(evidence: Evidence, document: Document) -> dict[str, Any]:
    """Everything a program may want of a report, as plain values; empty figures are null."""
    material = evidence.material
    standing = summary(evidence, {item.task: item.answer for item in document.tasks})
    return standing | {
        "headline": document.headline,
        "tasks": [
            short | _details(evidence, item) for short, item in zip(standing["tasks"], document.tasks, strict=True)
        ],
        "claims": [_claim(answer) for answer in document.claims],
        "overall": _overall(Overall(material)),
        "protocol": {
            "facts": [list(fact) for fact in document.protocol.facts],
            "resolved": material.experiment,
            "provenance": material.plan["provenance"],
            "environments": [dict(place) for place in document.protocol.environments],
        },
    }


def summary(evidence: Evidence, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """The part of it that needs no page: what was compared, and of each task answer, aggregates and comparisons."""
    material = evidence.material
    progress = material.progress
    return {
        "schema_version": SCHEMA_VERSION,
        "lossbench": __version__,
        "experiment": material.name,
        "question": str(material.experiment.get("question", "")),
        "scope": scope(material),
        "confirmatory": PRIMARY,
        "equivalence": EQUIVALENCE,
        "runs": {
            "planned": progress.planned,
            "finished": progress.finished,
            "missing": progress.missing,
            "failed": progress.failed,
        },
        "recipes": list(material.recipes),
        "baselines": list(material.baselines),
        "reference": material.reference,
        "tasks": [_standing(evidence, task, answer) for task, answer in answers.items()],
    }


def _standing(evidence: Evidence, task: str, answer: Answer) -> dict[str, Any]:
    return {
        "task": task,
        "answer": {
            "kind": answer.kind,
            "label": answer.label,
            "recipes": list(answer.names),
            "sentence": answer.sentence,
            "details": list(answer.details),
            "margin": answer.margin,
            "caveats": list(answer.caveats),
        },
        "aggregates": list(_aggregates(evidence.material, task)),
        "comparisons": list(_comparisons(evidence, task)),
    }


def _details(evidence: Evidence, item: TaskReport) -> dict[str, Any]:
    return {
        "findings": [
            {"question": found.question, "text": found.text, "confirmatory": found.confirmatory}
            for found in item.findings
        ],
        "tuned": _tuned(evidence.material, item.task),
        "tuning": _tuning(evidence.material, item.task),
        "probe": _probe(evidence.material, item.task),
    }


def _aggregates(material: Material, task: str) -> Iterator[dict[str, Any]]:
    """Mean over studies with its t interval of every figure, for each recipe and role but single trials."""
    columns = material.columns(*GROUPS)
    roles = [(recipe, role) for recipe in material.recipes for role in ("final", "default")]
    for name, role in [*roles, *[(baseline, "baseline") for baseline in material.baselines]]:
        if not len(material.rows(task, name, role)):
            continue
        of_studies = [list(material.values(task, name, column, role).values()) for column in columns]
        found = mean_interval(np.array(of_studies, dtype=float).T, axis=0)
        for index, column in enumerate(columns):
            low, high = bounds(column) or (-math.inf, math.inf)
            if found.n[index]:
                yield {
                    "recipe": name,
                    "role": role,
                    "figure": column,
                    "mean": _plain(found.mean[index]),
                    "low": _plain(max(found.low[index], low)),
                    "high": _plain(min(found.high[index], high)),
                    "sd": _plain(found.sd[index]),
                    "studies": int(found.n[index]),
                }


def _comparisons(evidence: Evidence, task: str) -> Iterator[dict[str, Any]]:
    figures: list[Figure] = [*QUALITY, *[figure for space in SPACES for figure in distance_figures(space)]]
    found = top(evidence, task)
    for figure in figures:
        comparison = evidence.comparison(task, figure)
        if comparison is not None:
            yield _comparison(figure, comparison, found.troubles if found else {})


def _comparison(figure: Figure, comparison: Comparison, troubles: Collection[str]) -> dict[str, Any]:
    """What the tests say; a recipe in trouble stays in them, and neither wins nor leads nor has a letter."""
    return {
        "figure": figure.column,
        "confirmatory": figure.column == PRIMARY,
        "higher_is_better": comparison.higher_is_better,
        "alpha": comparison.alpha,
        "tests": comparison.tests,
        "incomplete": comparison.incomplete,
        "studies": comparison.studies,
        "look": comparison.look,
        "next_look": comparison.next_look,
        "dropped": [standing.recipe for standing in comparison.dropped],
        "ranking": [standing.recipe for standing in comparison.ranking],
        "winner": None if comparison.winner in troubles else comparison.winner,
        "top_group": [name for name in comparison.top_group if comparison.ranked and name not in troubles],
        "tie_groups": [list(group) for group in comparison.tie_groups if comparison.ranked],
        "letters": letters_of(comparison, troubles),
        "pairs": [_pair(pair) for pair in comparison.pairs],
    }


def _pair(pair: PairVerdict) -> dict[str, Any]:
    effect, own = pair.effect, own_interval(pair)
    return {
        "a": pair.a,
        "b": pair.b,
        "verdict": pair.verdict,
        "negligible": pair.negligible,
        "mean": _plain(effect.mean),
        "low": _plain(effect.low),
        "high": _plain(effect.high),
        "p": _plain(effect.p),
        "p_adjusted": _plain(pair.p_adjusted),
        "p_sign_flip": _plain(pair.p_sign_flip),
        "own_low": _plain(own[0]),
        "own_high": _plain(own[1]),
        "own_confidence": _plain(pair.judged.confidence if pair.judged else None),
        "found": _plain(pair.smallest_found),
        "studies": effect.n,
        "incomplete": effect.incomplete,
    }


def _claim(answer: ClaimAnswer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "source": answer.source,
        "verdict": answer.verdict,
        "post_hoc": answer.post_hoc,
        "standing": answer.standing,
        "checks": [
            {
                "task": check.task or None,
                "figure": check.claim["metric"],
                "comparison": list(check.claim["comparison"]),
                "direction": check.claim["direction"],
                "smallest_effect": check.claim["smallest_effect"],
                "verdict": check.verdict,
                "sentence": sentence(check),
                **{
                    name: _plain(getattr(check, name))
                    for name in ("first", "second", "mean", "low", "high", "p", "p_holm")
                },
                "n": check.n,
            }
            for check in answer.checks
        ],
    }


def _overall(overall: Overall) -> dict[str, Any] | None:
    """All data sets in one figure; null for a single one."""
    if not overall.worthwhile:
        return None
    test = overall.friedman
    return {
        "critical_difference": overall.critical_difference,
        "friedman_p": _plain(test.p) if test else None,
        "recipes": [
            {
                "recipe": recipe,
                "average_rank": _plain(overall.ranks[recipe]),
                "inter_quartile_mean": _aggregate(overall.means[recipe]),
                "above_reference": _aggregate(overall.improvements[recipe]) if recipe in overall.improvements else None,
            }
            for recipe in overall.recipes
        ],
    }


def _aggregate(found: Aggregate) -> dict[str, Any]:
    return {"estimate": _plain(found.estimate), "low": _plain(found.low), "high": _plain(found.high)}


def _tuned(material: Material, task: str) -> dict[str, Any]:
    names = material.columns("param.")
    found = {}
    for recipe in material.recipes:
        rows = material.rows(task, recipe)
        if len(rows):
            first = rows.iloc[0]
            values = {name.removeprefix("param."): _plain(first[name]) for name in names}
            found[recipe] = {
                "trial": int(first["trial"]),
                "params": {name: value for name, value in values.items() if value is not None},
            }
    return found


def _tuning(material: Material, task: str) -> dict[str, Any]:
    """What tuning was worth, for each recipe with trials."""
    found = {}
    for recipe in material.recipes:
        curve = tuning_tax.curve(material, task, recipe)
        if curve.size:
            found[recipe] = {
                "expected_best": [_plain(value) for value in curve],
                "importances": importances(material, task, recipe),
            }
    return found


def _probe(material: Material, task: str) -> dict[str, Any]:
    """What a step costs, in units of the backbone's own, with its 95 % interval over rounds, and in seconds."""
    found = {}
    for recipe in material.recipes:
        rounds = derived.probe_rounds(material, task, recipe, STEP_RELATIVE)
        if rounds:
            mean = mean_interval(list(rounds.values()))
            seconds = list(derived.probe_rounds(material, task, recipe, STEP_S).values())
            found[recipe] = {
                "step_relative": {name: _plain(getattr(mean, key)) for name, key in _INTERVAL.items()},
                "step_s": float(np.median(seconds)),
                "rounds": len(rounds),
            }
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    number = float(value) if isinstance(value, (float, int, np.floating, np.integer)) else math.nan
    return number + 0.0 if math.isfinite(number) else None  # minus zero is zero
