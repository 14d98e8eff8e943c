"""One stored run repeated: do its figures come out again, bit for bit or within a tolerance?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from lossbench import datasets
from lossbench.datasets.dataset import checksum_under
from lossbench.plugins import PluginError, registry
from lossbench.plugins.mistakes import nearest
from lossbench.specification.plan import provenance_of
from lossbench.specification.spec import Provenance, RunSpec, from_json
from lossbench.store import Store, StoreError
from lossbench.sweep.feed import execute_spec
from lossbench.sweep.jobs import Record

TOLERANCE = 0.01  # of a figure's size, or absolute below 1: what other kernels may move a short run by


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of repeating a run.

    Attributes:
        differences: what is not as it was when the run was stored, in words.
        figures: how many figures were compared.
        changed: figures that are not equal to the bit: name to (stored, repeated).
        beyond: those of `changed` that differ by more than the tolerance.
    """

    spec: RunSpec
    differences: tuple[str, ...]
    figures: int
    changed: Mapping[str, tuple[Any, Any]]
    beyond: tuple[str, ...]
    tolerance: float

    @property
    def agrees(self) -> bool:
        """To the bit, or within the tolerance where code, data, libraries or machine are others."""
        return not self.beyond if self.differences else not self.changed

    def lines(self) -> list[str]:
        """The finding for a reader."""
        spec = self.spec
        stages = [" + ".join(f"{term.weight:g} {term.loss}" for term in stage.terms) for stage in spec.stages]
        losses = " -> ".join(stages) or "no training"
        found = [f"run {spec.run_id}: {losses} on {spec.task.key}, seed {spec.seed}, lr {spec.lr:g}"]
        found += [f"  {line}" for line in self.differences]
        if not self.differences:
            found.append("  code, data, plugins, libraries and kind of machine are those of the stored run")
        if not self.changed:
            return [*found, f"all {self.figures} figures agree bit for bit"]
        widest = max(self.changed, key=lambda name: distance(*self.changed[name]))
        stored, now = self.changed[widest]
        found.append(f"{len(self.changed)} of {self.figures} figures differ; most of all {widest}: {stored}, now {now}")
        within = f"{self.tolerance:g} of a figure's size (absolute below 1)"
        if self.beyond:
            return [*found, f"{len(self.beyond)} differ by more than {within}"]
        return [*found, f"all differences are within {within}"]


def stored_run(store: Store, run_id: str) -> Record:
    """The record of a run.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    record = store.read(run_id)
    if record is not None:
        return record
    if run_id in store.damaged:
        raise StoreError(f"{store.folder(run_id)}: what is stored is damaged")
    known = [path.parent.name for path in store.root.glob("*/result.json")]
    raise StoreError(f"{store.root}: no run {run_id!r} is stored here{nearest(run_id, known)}")


def spec_of(record: Record) -> RunSpec:
    """The specification of a stored run.

    Raises:
        StoreError: it is of another version of lossbench.
    """
    try:
        return from_json(record["spec"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"run {record['run_id']}: its specification is of another version of lossbench") from error


def replay(record: Record, executor: Executor, *, tolerance: float = TOLERANCE) -> Replay:
    """Repeat a stored run on an executor and compare every figure but its costs.

    Raises:
        PluginError, DataError: what the run needs is not here.
    """
    spec = spec_of(record)
    now = _provenance_now(spec)
    repeated, _ = executor.submit(execute_spec, replace(spec, provenance=now)).result()
    if repeated["status"] == "failed" != record["status"]:
        raise PluginError(f"run {spec.run_id}: the repetition failed: {repeated['error']}")
    before, after = (dict(figures(each)) for each in (record, repeated))
    changed = {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    return Replay(
        spec=spec,
        differences=tuple(_differences(spec.provenance, now, record, repeated)),
        figures=len(before.keys() | after.keys()),
        changed=changed,
        beyond=tuple(name for name, pair in changed.items() if distance(*pair) > tolerance),
        tolerance=tolerance,
    )


def _provenance_now(spec: RunSpec) -> Provenance:
    registry.load_files(spec.plugin_files)
    losses = [registry.find("loss", term.loss) for stage in spec.stages for term in stage.terms]
    data = datasets.load(spec.task.dataset, spec.task.input_size or spec.training.input_size, spec.task.fit)
    checksum = checksum_under(data, spec.task.protocol)
    return provenance_of(spec.task, losses, spec.backbone, checksum, spec.plugin_files)


def _differences(before: Provenance, now: Provenance, record: Record, repeated: Record) -> Iterator[str]:
    if before.code != now.code:
        yield f"code: {before.code} then, {now.code} now"
    if before.data != now.data:
        yield f"data: {before.data[:16]} then, {now.data[:16]} now"
    if before.plugins != now.plugins:
        names = sorted({name for name, _ in set(before.plugins) ^ set(now.plugins)})
        yield f"plugins changed: {', '.join(names)}"
    then, here = dict(before.libraries), dict(now.libraries)
    places = [(then, here), (record.get("environment", {}), repeated["environment"])]
    seen = set()
    for old, new in places:
        for name in [*old, *(name for name in new if name not in old)]:
            if old.get(name) != new.get(name) and name not in seen:
                yield f"{name}: {old.get(name, 'not known')} then, {new.get(name, 'none')} now"
                seen.add(name)


def figures(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every figure of a record that a repetition must give again: names to numbers or words."""
    for name in ("status", "best_epoch", "diverged_epoch"):
        yield name, record.get(name)
    for group, scores in record.get("metrics", {}).items():
        for name, value in scores.items():
            yield f"{group}.{name}", _plain(value)
    for name, curve in record.get("curves", {}).items():
        if not name.endswith("_s"):  # seconds
            for epoch, value in enumerate(curve):
                yield f"{name}[{epoch}]", _plain(value)


def _plain(value: Any) -> Any:
    """As a result file has it: no figure is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def distance(before: Any, after: Any) -> float:
    """The difference by the figure's size, or as it is below 1; infinite between a figure and none."""
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) / max(1.0, abs(before))
    return math.inf
