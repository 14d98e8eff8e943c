"""Where and on what the numbers were made, in a few words: data, budget, machine and date."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lossbench.report.evidence.material import Material
from lossbench.report.writing import formats

PARTS = {"train": "training", "val": "validation", "test": "test"}


def setting(material: Material) -> tuple[str, ...]:
    """What the first screen says of the experiment, one fact an item."""
    return tuple(_facts(material))


def data(material: Material, task: str) -> str:
    """`Training: 60 classes, 813 samples; Test: 260 classes, 3,344 samples`; what is not known is left out."""
    parts = splits(material, task)
    sizes = [
        f"{word.capitalize()}: {formats.count(part['classes'])} classes, {formats.count(part['samples'])} samples"
        for name, word in PARTS.items()
        if (part := parts.get(name)) and part["samples"]
    ]
    folds = "" if not sizes or material.one_test(task) else " (in the last fold)"
    return "; ".join(sizes) + folds + _asking(material, task)


def _asking(material: Material, task: str) -> str:
    """`, of which 10,000 ask all of them`, where test is so large that a sample of it does; else empty."""
    column = "test.sphere.queries_sampled"
    counts = material.table.loc[material.table["task"] == task, column].max() if column in material.table else math.nan
    return f", of which {formats.count(counts)} ask all of them" if counts > 0 else ""


def splits(material: Material, task: str) -> Mapping[str, Mapping[str, int]]:
    """Part to its classes and samples, as the plan has them; of an older plan the test set that a run kept."""
    found: Mapping[str, Any] = material.plan.get("splits", {}).get(task, {})
    if found:
        return found
    for recipe in material.recipes:
        run = material.representative(task, recipe)
        labels = material.arrays(run).get("labels") if run else None
        if labels is not None:
            return {"test": {"classes": len(set(labels.tolist())), "samples": len(labels)}}
    return {}


def machine(material: Material) -> str:
    """`Linux x86_64, AVX512`: of the first finished run; empty where none says."""
    for run in material.table["run_id"][:1]:
        environment = material.record(str(run)).get("environment", {})
        return ", ".join(str(environment[key]) for key in ("system", "cpu", "gpu") if environment.get(key))
    return ""


def _facts(material: Material) -> Iterator[str]:
    if date := material.store.last_written(material.table["run_id"]):
        yield date
    counts = sorted({material.studies(task) for task in material.tasks})
    several = "seeds" if material.unit == "seed" else "studies"
    studies = formats.count(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    yield f"{studies} {several if studies != '1' else material.unit}"
    if material.unit == "study":
        yield f"{formats.counted(int(material.experiment['budget']['seeds']), 'final run')} a study"
    yield formats.counted(len(material.recipes), "recipe")
    if found := machine(material):
        yield found
