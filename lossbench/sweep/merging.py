"""Runs folders of several machines united by content.

A run that several folders hold must be the same to the bit, or no copy of it is taken: which one is right, only
repeating it can say. Runs that differ in code, data, plugins or libraries have other ids, so they never meet; where
that parts the plans of an experiment, both are kept.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lossbench.store import Store, StoreError
from lossbench.store.foreign import read_run
from lossbench.store.records import RUN_ID, RefusedError, printable
from lossbench.sweep import plan_union
from lossbench.sweep.driver import driving
from lossbench.sweep.replay import figures

OWN = ("experiments", "claims", "probes", "logs", "submitters.json")  # of a runs folder, beside its runs
SHOWN = 3  # figures of a conflict that are printed


@dataclass(frozen=True)
class Source:
    """A runs folder to merge, and the name of whoever computed it, if one is given."""

    root: Path
    submitter: str = ""

    @classmethod
    def given(cls, text: str) -> Source:
        """`FOLDER` or `NAME=FOLDER`; a folder whose own name has an equals sign is a folder."""
        name, sign, folder = text.partition("=")
        return cls(Path(text)) if not sign or Path(text).exists() else cls(Path(folder), name)

    @property
    def label(self) -> str:
        """What messages call it; quoted where it holds what a terminal would not print."""
        return printable(self.submitter or str(self.root))

    @cached_property
    def _known(self) -> Mapping[str, list[str]]:
        """Run id to who computed it, as an earlier merge has it."""
        found: dict[str, list[str]] = {}
        for name, runs in Store(self.root).read_submitters().items():
            for run_id in runs:
                found.setdefault(run_id, []).append(name)
        return found

    def submitters(self, run_id: str) -> Sequence[str]:
        """Who computed a run: as an earlier merge has it, else the name given with the folder; perhaps nobody."""
        return self._known.get(run_id) or ([self.submitter] if self.submitter else [])


@dataclass(frozen=True, slots=True)
class Copy:
    """One folder's copy of a run, read and checked."""

    source: Source
    record: Mapping[str, Any]
    files: Mapping[str, bytes]


@dataclass(slots=True)
class Merge:
    """What came of a merge.

    Attributes:
        taken: runs that are in the new folder; agreed: those of them that several folders hold alike.
        notes: what a reader has to know, in lines.
        problems: files that were refused and runs whose copies differ, in lines.
        hosts: (source, kind of host) to how many runs it gave.
        submitted: a submitter's name to the runs that they computed.
    """

    taken: int = 0
    agreed: int = 0
    unfinished: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hosts: Counter[tuple[str, str]] = field(default_factory=Counter)
    submitted: dict[str, set[str]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The outcome for a reader; the problems come last."""
        yield f"{self.taken} runs merged, {self.agreed} of them in several folders and equal to the bit"
        for (who, host), count in sorted(self.hosts.items()):
            yield f"  {who}: {count} runs on {host}"
        if self.unfinished:
            yield f"{self.unfinished} unfinished runs left out"
        yield from self.notes
        yield from self.problems


def merge(sources: Sequence[Source], into: Path) -> Merge:
    """Unite runs folders in a new one. Sources are only read.

    Raises:
        StoreError: `into` is not empty or lies in a source, or a source is no runs folder.
    """
    _check_places(sources, into)
    found, store = Merge(), Store(into)
    into.mkdir(parents=True, exist_ok=True)
    with driving(into, "merge"):
        for run_id, holders in sorted(_holders(sources, found).items()):
            _merge_run(run_id, holders, store, found)
        if hasattr(os, "sync"):
            os.sync()  # once for all runs; what says how they belong together comes after them
        if found.submitted:
            store.write_submitters(found.submitted)
        notes, problems = plan_union.unite([(source.label, source.root) for source in sources], store)
        found.notes += notes
        found.problems += problems
    return found


def _check_places(sources: Sequence[Source], into: Path) -> None:
    for source in sources:
        if not (source.root / "experiments").is_dir():
            raise StoreError(f"{source.label}: is no runs folder: no experiment was run here")
        if into.resolve() == source.root.resolve() or source.root.resolve() in into.resolve().parents:
            raise StoreError(f"{into}: lies in {source.label}, which is only read; name another folder")
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise StoreError(f"{into}: is not empty; name a folder that is new")


def _holders(sources: Sequence[Source], found: Merge) -> dict[str, list[Source]]:
    """Run id to the folders that hold a finished run of it; what belongs in no runs folder is refused by name."""
    holders: dict[str, list[Source]] = {}
    for source in sources:
        with os.scandir(source.root) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if name in OWN or name.startswith("."):
                continue
            if not RUN_ID.fullmatch(name) or not (source.root / name).is_dir():
                found.problems.append(f"refused: {source.label}: {name!a} is no part of a runs folder")
            elif (source.root / name / "result.json").exists():
                holders.setdefault(name, []).append(source)
            else:
                found.unfinished += 1
    return holders


def _merge_run(run_id: str, holders: Sequence[Source], store: Store, found: Merge) -> None:
    """Take a run where its copies agree, and note who computed it."""
    copies = list(_copies(run_id, holders, found))
    finished = [copy for copy in copies if copy.record["status"] != "failed"]
    if finished and len(finished) < len(copies):
        failed = ", ".join(copy.source.label for copy in copies if copy not in finished)
        found.notes.append(f"run {run_id}: failed in {failed}; taken from {finished[0].source.label}")
    copies = finished or copies
    if not copies:
        return
    if differing := [text for other in copies[1:] if (text := difference(copies[0], other))]:
        found.problems += [f"conflict: run {run_id}: {text}; neither is taken" for text in differing]
        return
    folder = store.folder(run_id)
    folder.mkdir()
    for name, content in copies[0].files.items():  # the result comes last, as in any folder
        (folder / name).write_bytes(content)
    found.taken += 1
    found.agreed += len(copies) > 1
    for copy in copies:
        found.hosts[copy.source.label, host(copy.record)] += 1
        for name in copy.source.submitters(run_id):
            found.submitted.setdefault(name, set()).add(run_id)


def _copies(run_id: str, holders: Sequence[Source], found: Merge) -> Iterator[Copy]:
    for source in holders:
        folder = source.root / run_id
        try:
            yield Copy(source, *read_run(folder))
        except RefusedError as error:
            found.problems.append(f"refused: {source.label}: {run_id}/result.json {error}")
        except OSError as error:
            found.problems.append(f"refused: {source.label}: {run_id}: {(error.strerror or str(error)).lower()}")


def difference(a: Copy, b: Copy) -> str:
    """What of a run is not equal to the bit in two folders, with both figures; empty where nothing is."""
    before, after = dict(figures(a.record)), dict(figures(b.record))
    names = [name for name in before | after if before.get(name) != after.get(name)]
    shown = [
        f"{name} is {before.get(name)} in {a.source.label} and {after.get(name)} in {b.source.label}"
        for name in names[:SHOWN]
    ]
    shown += [f"{len(names) - SHOWN} more figures differ"] if len(names) > SHOWN else []
    names = sorted(a.files.keys() | b.files.keys())
    shown += [f"{name} differs" for name in names if not _same(name, a.files.get(name), b.files.get(name))]
    if shown and host(a.record) != host(b.record):
        shown.append(f"computed on {host(a.record)} and on {host(b.record)}")
    return "; ".join(shown)


def _same(name: str, a: bytes | None, b: bytes | None) -> bool:
    """Whether two files say the same: arrays by value, as another zlib packs them otherwise."""
    if a is None or b is None or a == b or name == "result.json":  # whose figures are compared one by one
        return a is b or (a is not None and b is not None)
    if name == "audit.json":
        return bool(orjson.loads(a) == orjson.loads(b))
    if name == "embeddings.npz":
        return _same_arrays(a, b)
    return False


def _same_arrays(a: bytes, b: bytes) -> bool:
    try:
        first, second = (np.load(io.BytesIO(content), allow_pickle=False) for content in (a, b))
        return sorted(first.files) == sorted(second.files) and all(
            (first[name].dtype, first[name].shape) == (second[name].dtype, second[name].shape)
            and first[name].tobytes() == second[name].tobytes()
            for name in first.files
        )
    except Exception:  # whatever a file that is no archive raises
        return False


def host(record: Mapping[str, Any]) -> str:
    """The kind of machine and its libraries, as the record has them."""
    found = record.get("environment", {})
    text = ", ".join(f"{name} {value}" for name, value in found.items()) or "a host that its record does not name"
    return printable(text)
