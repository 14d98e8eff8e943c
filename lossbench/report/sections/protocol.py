"""How the numbers came about: settings, data, seeds, versions, and the file that repeats them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.report.evidence.comparisons import EQUIVALENCE
from lossbench.report.evidence.material import PRIMARY, Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Facts in pairs of name and text, the resolved experiment as TOML, and the command that repeats it."""

    facts: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    toml: str
    command: str


def protocol(material: Material) -> Protocol:
    """Everything needed to judge and to repeat the experiment."""
    return Protocol(
        facts=tuple(_facts(material)),
        rules=_rules(material),
        toml=resolved_toml(material.experiment),
        command="lossbench run experiment.toml",
    )


def environments(material: Material) -> list[str]:
    """Where runs happened, each kind once."""
    found = set()
    for run in material.table["run_id"].unique():
        environment = material.record(str(run)).get("environment", {})
        if environment:
            found.add(", ".join(f"{key} {value}" for key, value in environment.items()))
    return sorted(found)


def resolved_toml(experiment: Mapping[str, Any]) -> str:
    """The experiment with every default and every override filled in, as a TOML file."""
    plain = {key: value for key, value in experiment.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if value is not None]
    for key, table in experiment.items():
        if isinstance(table, Mapping):
            lines += list(_toml_table(key, table))
    return "\n".join(lines) + "\n"


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    experiment, training = material.experiment, material.experiment["training"]
    yield "backbone", f"{experiment['backbone']}, embedding dimension {experiment['embedding_dim']}"
    yield "training", ", ".join(f"{key} {value}" for key, value in training.items() if value is not None)
    budget = experiment["budget"]
    yield (
        "budget",
        f"{budget['studies']} studies; in each, for every recipe and task, {budget['trials']} trials, the highest "
        f"{budget['candidates']} and the default again with {budget['candidate_seeds']} fresh seeds, and "
        f"{budget['seeds']} final runs of the one chosen",
    )
    yield "seeds", f"named streams of seed {experiment['seed']}, the study, the task, and in a search the recipe's name"
    for task in material.tasks:
        if (folds := material.folds(task)) > 1:
            yield f"folds of {task}", f"{folds}; a study is one of them, with a search on the split without folds"
    for task, found in material.plan["provenance"].items():
        images = material.plan.get("train_images", {}).get(task)
        size = f", {images:,} training images" if images else ""
        yield f"data of {task}", f"SHA-256 {found['data']}{size}"
    for code in sorted({found["code"] for found in material.plan["provenance"].values()}):
        yield "code digest", str(code)
    libraries = {tuple(pair) for found in material.plan["provenance"].values() for pair in found["libraries"]}
    yield "libraries", ", ".join(f"{name} {version}" for name, version in sorted(libraries))
    for plugin in sorted({tuple(pair) for found in material.plan["provenance"].values() for pair in found["plugins"]}):
        yield "plugin", f"{plugin[0]}, SHA-256 {plugin[1]}"
    for environment in environments(material):
        yield "environment", environment
    progress = material.progress
    yield "runs", f"{progress.finished} of {progress.planned} planned, {progress.failed} failed"


def _rules(material: Material) -> tuple[str, ...]:
    return (
        "One frozen setting for every recipe; recipes differ by what they declare and nothing else.",
        "The same number of tuning trials for every recipe; tuning and the choice of the epoch see training and "
        "validation data only. Test is embedded at the one epoch that validation chose.",
        "Final runs use seeds that no search saw. Within a study recipes share the deal of training and validation "
        "and, under one sampler, initial weights and batches, so effects are paired over studies.",
        "An effect is the mean paired difference with its 95 % t interval; p is the paired t test's, Holm-corrected "
        "over all pairs of recipes of one figure and task. Test MAP@R on the sphere is confirmatory, everything else "
        "exploratory.",
        f"Region of practical equivalence: ±{EQUIVALENCE[PRIMARY]:g} MAP@R, by two one-sided tests at 5 %.",
        "Collapsed: no variance left on the sphere, or cross-entropy stuck at chance. Diverged: a value that is not "
        "finite. Both are scored at their chosen finite epoch and stay in every comparison; failed runs have no score.",
    )


def _toml_table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping) and value is not None}
    if plain:
        yield f"\n[{name}]"
        yield from (f"{_key(key)} = {_toml(value)}" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, Mapping) and name == "params":
            yield f"\n[{name}.{_key(key)}]"
            yield from (f"{_key(inner)} = {_toml(item)}" for inner, item in value.items() if item is not None)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value)


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isalnum() and bare.isascii() else json.dumps(name)
