"""`lossbench diff A B`: what changed between two reports or runs folders, in the specification and in the results."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.report.evidence.material import PRIMARY, gather
from lossbench.report.sections.findings import verdict_word
from lossbench.report.sections.protocol import environments, resolved_toml
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, make_table, plain
from lossbench.statistics.effects import Effect, paired_effect
from lossbench.statistics.multiplicity import holm
from lossbench.store import Store, StoreError, load_results

ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side: the resolved experiment, one row a run, and what else the runs depend on, where that is known."""

    place: Path
    settings: Mapping[str, str]
    provenance: Mapping[str, str] | None
    table: pd.DataFrame
    answers: Mapping[str, str]


def diff(first: Path, second: Path) -> Iterator[str]:
    """Lines: changed settings and answers, the paired effect B - A of every recipe on every task, then the provenance.

    Studies pair the scores of a recipe: one study has one deal and the same initial
    weights. Holm corrects over all rows.

    Raises:
        StoreError: a side is neither a report nor a runs folder with one experiment.
    """
    a, b = read_side(first), read_side(second)
    yield f"A: {a.place}"
    yield f"B: {b.place}"
    yield ""
    yield from _changes("Specification", a.settings, b.settings)
    yield ""
    yield from _answers(a.answers, b.answers)
    yield from _results(a.table, b.table)
    yield ""
    if a.provenance is not None and b.provenance is not None:
        yield from _changes("Provenance", a.provenance, b.provenance)
        return
    unknown = [name for name, side in (("A", a), ("B", b)) if side.provenance is None]
    yield f"Provenance: not known of {' and '.join(unknown)}"


def read_side(place: Path) -> Side:
    """A report folder, its `results.json`, a plan file `RUNS/experiments/NAME.json`, or a runs folder.

    Of a published report, which has no `results.json`, settings and results are known.
    """
    folder = place.parent if place.name == "results.json" else place
    if (folder / "results.json").is_file():
        found = json.loads((folder / "results.json").read_bytes())
        protocol = found["protocol"]
        settings, provenance = _settings(resolved_toml(protocol["resolved"])), _flat(protocol.get("provenance", {}))
        provenance |= _places(protocol.get("environments", ()))
        answers = {item["task"]: item["answer"]["sentence"] for item in found["tasks"]}
        return Side(place=place, settings=settings, provenance=provenance, table=load_results(folder), answers=answers)
    if (folder / "results.csv").is_file() and (folder / "experiment.toml").is_file():
        settings = _settings((folder / "experiment.toml").read_text(encoding="utf-8"))
        return Side(place=place, settings=settings, provenance=None, table=load_results(folder), answers={})
    store, name = _store_and_name(place)
    material = gather(name, store.root)
    settings, provenance = _settings(resolved_toml(material.experiment)), _flat(material.plan["provenance"])
    provenance |= _places(environments(material))
    return Side(place=place, settings=settings, provenance=provenance, table=material.table, answers={})


def _store_and_name(place: Path) -> tuple[Store, str]:
    if place.suffix == ".json" and place.parent.name == "experiments":
        return Store(place.parent.parent), place.stem
    plans = sorted((place / "experiments").glob("*.json"))
    if len(plans) == 1:
        return Store(place), plans[0].stem
    if not plans:
        raise StoreError(f"{place}: is neither a report nor a runs folder")
    raise StoreError(f"{place}: holds {len(plans)} experiments; name one, as {plans[0]}")


def _places(environments: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What is known of the machines, as `processor`, to its values on all of them."""
    found: dict[str, set[str]] = {}
    for environment in environments:
        for name, value in environment.items():
            found.setdefault(name, set()).add(value)
    return {name: " and ".join(sorted(values)) for name, values in found.items()}


def _changes(what: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    changed = [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
    yield f"{what}: {len(changed)} differ" if changed else f"{what}: the same"
    for name in changed:
        yield f"  {name}: {a.get(name, 'absent')} -> {b.get(name, 'absent')}"


def _answers(a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[str]:
    for task in [task for task in a if task in b and a[task] != b[task]]:
        yield f"Answer on {task}:"
        yield f"  A: {a[task]}"
        yield f"  B: {b[task]}"
        yield ""


def _results(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    scores = _scores(a), _scores(b)
    common = [key for key in scores[0] if key in scores[1]]
    effects = {key: _effect(scores[0][key], scores[1][key]) for key in common}
    adjusted = dict(zip(effects, holm([effect.p for effect in effects.values()]), strict=True))
    columns = [
        Column("task", numeric=False), Column("recipe", numeric=False), Column("role", numeric=False),
        Column("A"), Column("B"), Column("B - A"), Column("95 % interval"), Column("p Holm"), Column("studies"),
        Column("B against A", numeric=False),
    ]  # fmt: skip
    rows = [
        Row(
            (
                *[Cell(part) for part in key],
                *[Cell(formats.score(_mean(side[key]), 4)) for side in scores],
                Cell(formats.signed(effect.mean, 4)),
                Cell(formats.interval(effect.low, effect.high, 4)),
                Cell(formats.p_value(float(adjusted[key]))),
                Cell(str(effect.n)),
                Cell(verdict_word(effect, float(adjusted[key]), ALPHA)),
            )
        )
        for key, effect in effects.items()
    ]
    only = [(name, [key for key in side if key not in other]) for name, side, other in
            (("A", scores[0], scores[1]), ("B", scores[1], scores[0]))]  # fmt: skip
    yield "Results, test MAP@R on the sphere:" if rows else "Results: no recipe is in both"
    if rows:
        yield from (f"  {line}" for line in plain(make_table("diff", "", columns, rows)))
    for name, keys in only:
        if keys:
            yield f"Only in {name}: {', '.join(' '.join(key) for key in keys)}"


def _scores(table: pd.DataFrame) -> dict[tuple[str, str, str], dict[int, float]]:
    """(task, recipe, role) to study to the mean score of its runs, of roles that score test."""
    if PRIMARY not in table:
        return {}
    found: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for row in table[~table["role"].isin(["pilot", "trial", "candidate"])].to_dict("records"):
        key = (f"{row['dataset']}/{row['protocol']}", str(row["recipe"]), str(row["role"]))
        found.setdefault(key, {}).setdefault(int(row["study"]), []).append(float(row[PRIMARY]))
    return {key: {study: sum(of) / len(of) for study, of in studies.items()} for key, studies in found.items()}


def _effect(a: Mapping[int, float], b: Mapping[int, float]) -> Effect:
    studies = sorted(set(a) & set(b))
    return paired_effect([b[study] for study in studies], [a[study] for study in studies])


def _mean(scores: Mapping[int, float]) -> float:
    known = [score for score in scores.values() if score == score]
    return sum(known) / len(known) if known else float("nan")


def _settings(toml: str) -> dict[str, str]:
    """The settings of a resolved experiment file by their paths."""
    return _flat(tomllib.loads(toml))


def _flat(content: Any, place: str = "") -> dict[str, str]:
    """Every leaf of nested tables by its path."""
    if isinstance(content, Mapping):
        return {
            key: text
            for name, value in content.items()
            for key, text in _flat(value, f"{place}.{name}" if place else str(name)).items()
        }
    return {place: json.dumps(content)}
