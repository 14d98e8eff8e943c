"""`runs/`: one folder a run, written whole or not at all.

runs/<run_id>/result.json       written last: a run without it did not finish
runs/<run_id>/embeddings.npz    what the report draws
runs/<run_id>/model.pt          the model at the best epoch, loadable with weights_only=True
runs/<run_id>/audit.json        per-epoch test scores: sealed, read by one section of the report
runs/experiments/<name>.json    the resolved plan: which run plays which role
runs/claims/<name>.json         digests of its claims, and which of them are post hoc
runs/probes/<name>.json         what its cost probe measured
runs/submitters.json            of a merged folder: who computed which runs
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from lossbench.specification.spec import SCHEMA
from lossbench.store.records import (
    RefusedError,
    StoreError,
    described,
    dump,
    opened,
    with_checksum,
    write_whole,
)
from lossbench.store.tables import METRIC_GROUPS, plan_table

KEPT_RECORDS = 1024  # in memory


class Store:
    """Results on disk, by run id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: set[str] = set()  # runs whose files were read and are not as they were written
        self._cache: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def folder(self, run_id: str) -> Path:
        """Where a run's files lie."""
        return self.root / run_id

    def read(self, run_id: str) -> dict[str, Any] | None:
        """The record of a finished run; None where there is none or where it is `damaged`."""
        if run_id not in self._cache:
            try:
                with open(f"{self.root}/{run_id}/result.json", "rb") as file:  # noqa: PTH123  # ten thousand at a resume
                    record = opened(file.read(), run_id)
            except OSError:
                return None
            except RefusedError:
                self.damaged.add(run_id)
                return None
            if not self._has_files(record):
                self.damaged.add(run_id)
                return None
            self._keep(record)
        return self._cache[run_id]

    def write(
        self,
        record: Mapping[str, Any],
        *,
        arrays: Mapping[str, np.ndarray] | None = None,
        audit: Mapping[str, Any] | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        """Store one run; `result.json` comes last, so that a run is there whole or not at all."""
        folder = self.folder(record["run_id"])
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):  # half-written, by a process that was killed
            left.unlink()
        files: dict[str, bytes] = {}
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the names for flags
            files["embeddings.npz"] = buffer.getvalue()
        if audit:
            files["audit.json"] = dump(audit)
        if checkpoint is not None:
            files["model.pt"] = checkpoint
        for name, stored in files.items():
            write_whole(folder / name, stored)
        beside = {name: described(stored) for name, stored in files.items()}
        content = dump({**record, "files": beside})
        write_whole(folder / "result.json", with_checksum(content))
        self.damaged.discard(record["run_id"])
        self._keep(orjson.loads(content))

    def _keep(self, record: dict[str, Any]) -> None:
        """Remember the records read last, so that a driver of any number of runs keeps its size."""
        self._cache[record["run_id"]] = record
        if len(self._cache) > KEPT_RECORDS:
            self._cache.popitem(last=False)

    def _has_files(self, record: Mapping[str, Any]) -> bool:
        """Whether the files beside a result are there in their size; their content is checked when it is read."""
        folder = f"{self.root}/{record['run_id']}"
        return all(_size(f"{folder}/{name}") == known["bytes"] for name, known in record.get("files", {}).items())

    def arrays(self, run_id: str) -> dict[str, np.ndarray]:
        """The arrays kept for drawing; empty where there are none.

        Raises:
            StoreError: they are not what was written.
        """
        path = self.folder(run_id) / "embeddings.npz"
        if not path.exists():
            return {}
        content = path.read_bytes()
        known = (self.read(run_id) or {}).get("files", {}).get(path.name)
        if known is not None and known != described(content):
            raise StoreError(f"{path}: is damaged; delete {path.parent} and run the experiment again")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return dict(stored)

    def audit(self, run_id: str) -> dict[str, Any]:
        """Per-epoch test scores of a final run. For the section on bad practice only."""
        path = self.folder(run_id) / "audit.json"
        return orjson.loads(path.read_bytes()) if path.exists() else {}

    def records(self) -> Iterator[dict[str, Any]]:
        """Every finished run."""
        for path in sorted(self.root.glob("*/result.json")):
            record = self.read(path.parent.name)
            if record is not None:
                yield record

    def last_written(self, run_ids: Iterable[str]) -> str:
        """The day, in UTC, on which the latest of these runs was written; empty without any."""
        seconds = [path.stat().st_mtime for run in run_ids if (path := self.folder(str(run)) / "result.json").exists()]
        return datetime.fromtimestamp(max(seconds), UTC).date().isoformat() if seconds else ""

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the resolved plan of an experiment."""
        (self.root / "experiments").mkdir(parents=True, exist_ok=True)
        write_whole(self.root / "experiments" / f"{plan['name']}.json", dump(plan))

    def read_plan(self, name: str) -> dict[str, Any]:
        """The resolved plan of an experiment.

        Raises:
            StoreError: there is none of that name.
        """
        path = self.root / "experiments" / f"{name}.json"
        try:
            plan = orjson.loads(path.read_bytes())
        except FileNotFoundError as error:
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none yet"
            raise StoreError(f"{self.root}: no experiment {name!r} was run here (known: {known})") from error
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error
        if not isinstance(plan, dict) or plan.get("schema") != SCHEMA:
            raise StoreError(f"{path}: is not a plan of schema {SCHEMA}")
        return plan

    def write_claims(self, name: str, claims: Mapping[str, Any]) -> None:
        """Keep which claims of an experiment are registered: digest to text and `post_hoc`."""
        folder = self.root / "claims"
        folder.mkdir(parents=True, exist_ok=True)
        document = {"schema": SCHEMA, "experiment": name, "claims": claims}
        write_whole(folder / f"{name}.json", json.dumps(document, indent=1).encode())

    def read_claims(self, name: str) -> dict[str, dict[str, Any]]:
        """Digest to text and `post_hoc` of every claim that was ever registered for an experiment."""
        try:
            document = json.loads((self.root / "claims" / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        claims = document.get("claims") if isinstance(document, dict) else None
        return dict(claims) if isinstance(claims, dict) else {}

    def write_probe(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep what the cost probe of an experiment measured."""
        (self.root / "probes").mkdir(parents=True, exist_ok=True)
        write_whole(self.root / "probes" / f"{name}.json", dump(content))

    def read_probe(self, name: str) -> dict[str, Any] | None:
        """What the cost probe of an experiment measured; None where there is nothing to read."""
        try:
            content = orjson.loads((self.root / "probes" / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None

    def write_submitters(self, runs: Mapping[str, Iterable[str]]) -> None:
        """Keep who computed what: a submitter's name, as given, to run ids."""
        document = {"schema": SCHEMA, "runs": {name: sorted(own) for name, own in sorted(runs.items())}}
        write_whole(self.root / "submitters.json", json.dumps(document, indent=1).encode())

    def read_submitters(self) -> dict[str, list[str]]:
        """A submitter's name to the runs that they computed; empty where nobody was named."""
        try:
            document = json.loads((self.root / "submitters.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        runs = document.get("runs") if isinstance(document, dict) else None
        return (
            {str(name): list(map(str, own)) for name, own in runs.items() if isinstance(own, list)}
            if isinstance(runs, dict)
            else {}
        )

    def table(self, plan: Mapping[str, Any]) -> pd.DataFrame:
        """One row a planned run, one column a figure; runs that are not there yet have status `missing`."""
        return plan_table(plan, self._figures)

    def _figures(self, run_id: str) -> dict[str, Mapping[str, Any]]:
        """What the table shows of a run, by group of columns."""
        record = self.read(run_id) or {"status": "missing"}
        whole = {name: record.get(name) for name in ("status", "best_epoch", "diverged_epoch")}
        scores = record.get("metrics", {})
        return {"": whole, "cost": record.get("cost", {})} | {group: scores.get(group, {}) for group in METRIC_GROUPS}


def load_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """One row a run, one column a figure, units in the column names.

    Args:
        path: a `results.csv`, a report folder that holds one, or a runs folder (all its experiments).

    Raises:
        StoreError: nothing of the kind is there.
    """
    place = Path(path)
    csv = place / "results.csv" if place.is_dir() else place
    if csv.is_file():
        return pd.read_csv(csv, dtype={"run_id": str})
    store = Store(place)
    tables = [store.table(store.read_plan(plan.stem)) for plan in sorted((place / "experiments").glob("*.json"))]
    if not tables:
        raise StoreError(f"{place}: holds neither results.csv nor the plan of an experiment")
    return pd.concat(tables, ignore_index=True)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # several for each of ten thousand runs
    except OSError:
        return None
