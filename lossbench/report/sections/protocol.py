"""How the numbers came about: settings, data, seeds, versions, and the file that repeats them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.report.evidence.material import Material
from lossbench.report.sections.setting import data
from lossbench.report.writing import formats


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Facts in pairs of name and text, where runs happened, the resolved experiment as TOML, and what repeats it."""

    facts: tuple[tuple[str, str], ...]
    environments: tuple[Mapping[str, str], ...]
    rules: tuple[str, ...]
    toml: str
    command: str


def protocol(material: Material) -> Protocol:
    """Everything needed to judge and to repeat the experiment."""
    places = environments(material)
    return Protocol(
        facts=tuple(_facts(material, places)),
        environments=tuple(places),
        rules=_rules(material),
        toml=resolved_toml(material.experiment),
        command="lossbench run experiment.toml",
    )


def environments(material: Material) -> list[dict[str, str]]:
    """Where runs happened, each kind once."""
    runs = material.table["run_id"].unique()
    found = {tuple(material.record(str(run)).get("environment", {}).items()) for run in runs}
    return [dict(each) for each in sorted(found) if each]


def submitters(material: Material) -> list[str]:
    """Of a merged folder who computed how many of the runs, on which kinds of host, by the names they gave."""
    planned, found = set(material.table["run_id"]), []
    for name, runs in material.store.read_submitters().items():
        own = planned.intersection(runs)
        hosts = {material.record(run).get("environment", {}).get("system", "an unnamed host") for run in own}
        found += [f"{name}: {len(own):,} runs on {', '.join(sorted(hosts))}"] if own else []
    return found


def resolved_toml(experiment: Mapping[str, Any]) -> str:
    """The experiment with every default and every override filled in, as a TOML file."""
    plain = {key: value for key, value in experiment.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if value is not None]
    for key, table in experiment.items():
        if isinstance(table, Mapping):
            lines += list(_toml_table(key, table))
    return "\n".join(lines) + "\n"


def _facts(material: Material, places: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    experiment, training = material.experiment, material.experiment["training"]
    yield "backbone", f"{experiment['backbone']}, embedding dimension {experiment['embedding_dim']}"
    if pretrained := experiment.get("pretrained"):
        yield "pretrained", _pretrained(pretrained, material.plan["weights"])
    for entry in material.plan["recipes"]:
        if entry.get("neck"):
            before = ", ".join(entry["before_neck"]) or "no loss"
            yield f"neck of {entry['name']}", f"{entry['neck']}; before it {before}, after it the others and the test"
        if share := entry.get("negatives"):
            yield f"classes of {entry['name']}", f"{share:g} of them at a step, those of the batch always"
    yield "training", ", ".join(f"{key} {value}" for key, value in training.items() if value is not None)
    yield "budget", f"{_budget(material)}; base seed {experiment['seed']}"
    for task, found in material.plan["provenance"].items():
        yield f"data of {task}", "; ".join(filter(None, (f"SHA-256 {found['data']}", data(material, task))))
    for code in sorted({found["code"] for found in material.plan["provenance"].values()}):
        yield "code digest", str(code)
    libraries = {tuple(pair) for found in material.plan["provenance"].values() for pair in found["libraries"]}
    yield "libraries", ", ".join(f"{name} {version}" for name, version in sorted(libraries))
    for plugin in sorted({tuple(pair) for found in material.plan["provenance"].values() for pair in found["plugins"]}):
        yield "plugin", f"{plugin[0]}, SHA-256 {plugin[1]}"
    for environment in places:
        yield "environment", ", ".join(f"{key} {value}" for key, value in environment.items())
    for submitter in submitters(material):
        yield "computed by", submitter
    progress = material.progress
    yield "runs", f"{progress.finished} of {progress.planned} planned, {progress.failed} failed"


def _pretrained(settings: Mapping[str, Any], digest: str) -> str:
    factor = settings["lr_factor"]
    if settings["freeze"]:
        how = "what it fills is frozen"
    elif isinstance(factor, Mapping):
        how = f"what it fills learns at {factor['low']:g} to {factor['high']:g} times the rate, searched by all recipes"
    else:
        how = f"what it fills learns at {factor:g} times the rate"
    return f"{settings['weights']}, SHA-256 {digest}; {how}"


def _budget(material: Material) -> str:
    budget = material.experiment["budget"]
    if material.unit == "seed":
        return f"{budget['seeds']} seeds of embeddings from elsewhere"
    studies = budget.get("studies", 1)
    count = f"{studies['least']} to {studies['most']}" if isinstance(studies, Mapping) else str(studies)
    parts = []
    if material.tuned:
        candidates = formats.counted(budget["candidates"], "candidate")
        fresh = formats.counted(budget["candidate_seeds"], "fresh seed")
        parts = [formats.counted(budget["trials"], "trial"), f"{candidates} beside the default, each with {fresh}"]
    parts.append(f"{formats.counted(budget['seeds'], 'final run')}{'' if parts else ', nothing is tuned'}")
    return f"studies: {count}; for each recipe, task and study {', '.join(parts)}"


def _rules(material: Material) -> tuple[str, ...]:
    return (
        "One frozen setting for every recipe; recipes differ by what they declare and nothing else.",
        "The same number of tuning trials for every recipe; tuning and the choice of the epoch see training and "
        "validation data only. Test is embedded at the one epoch that validation chose.",
        "Within a study all recipes have the same deal, and their final runs the same initial weights and, under one "
        "sampler, the same batches: effects are paired by study. One point of a search is chosen among its highest "
        "trials and the default, by fresh validation seeds.",
        "Below four studies nothing is ranked. A recipe that diverged, collapsed or failed in any final run, or was "
        "not shown to be above the untrained network, is named and kept out of the leading group.",
    )


def _toml_table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    nested = name in ("params", "terms")
    plain = {key: value for key, value in table.items() if value is not None and not (nested and _is_table(value))}
    if plain:
        yield f"\n[{name}]"
        yield from (f"{_key(key)} = {_toml(value)}" for key, value in plain.items())
    for key, value in table.items():
        if nested and _is_table(value):
            yield f"\n[{name}.{_key(key)}]"
            yield from (f"{_key(inner)} = {_toml(item)}" for inner, item in value.items() if item is not None)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


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
