"""`runs/`: one folder a run, written whole or not at all; and the table made from it.

runs/<run_id>/result.json       written last: a run without it did not finish
runs/<run_id>/embeddings.npz    what the report draws
runs/<run_id>/model.pt          the model at the best epoch, loadable with weights_only=True
runs/<run_id>/audit.json        per-epoch test scores: sealed, read by one section of the report
runs/experiments/<name>.json    the resolved plan: which run plays which role
runs/claims/<name>.json         digests of its claims, and which of them are post hoc
runs/probes/<name>.json         what its cost probe measured
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from lossbench.specification.spec import SCHEMA

ROW_COLUMNS = ["experiment", "dataset", "protocol", "study", "recipe", "role", "trial", "seed", "run_id", "status"]
KEPT_RECORDS = 1024  # in memory
METRIC_GROUPS = ("train", "val", "test")
JSON = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY  # NaN, which JSON lacks, is null
CHECKSUM, END = b',\n  "sha256": "', b"\n}"  # a result ends with the SHA-256 of what it is without this entry


class StoreError(OSError):
    """The runs folder cannot be used; the message is one line for the user."""


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
                    record = _opened(file.read(), run_id)
            except OSError:
                return None
            if record is None or not self._has_files(record):
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
            files["audit.json"] = _dump(audit)
        if checkpoint is not None:
            files["model.pt"] = checkpoint
        for name, stored in files.items():
            write_whole(folder / name, stored)
        described = {name: _described(stored) for name, stored in files.items()}
        content = _dump({**record, "files": described})
        write_whole(folder / "result.json", _with_checksum(content))
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
        if known is not None and known != _described(content):
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
        write_whole(self.root / "experiments" / f"{plan['name']}.json", _dump(plan))

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
        write_whole(self.root / "probes" / f"{name}.json", _dump(content))

    def read_probe(self, name: str) -> dict[str, Any] | None:
        """What the cost probe of an experiment measured; None where there is nothing to read."""
        try:
            content = orjson.loads((self.root / "probes" / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("schema") == SCHEMA else None

    def table(self, plan: Mapping[str, Any]) -> pd.DataFrame:
        """One row a planned run, one column a figure; runs that are not there yet have status `missing`."""
        rows = plan["rows"]
        named = [{"experiment": plan["name"], "study": 1} | row for row in rows]
        lead = [{key: row[key] for key in ROW_COLUMNS[:-1]} for row in named]
        folds = [{} if row.get("fold") is None else {"fold": row["fold"]} for row in rows]
        runs = {run_id: self._figures(run_id) for run_id in dict.fromkeys(row["run_id"] for row in rows)}
        figures = {group: [runs[row["run_id"]][group] for row in rows] for group in ("", *METRIC_GROUPS, "cost")}
        parts = [_columns(found).add_prefix(f"{group}." if group else "") for group, found in figures.items()]
        params = _columns([row["params"] for row in rows]).add_prefix("param.")
        return _in_order(pd.concat([_columns(lead), _columns(folds), params, *parts], axis=1))

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


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, sync it and rename it: readers see all of it or nothing."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too, where the system can be told to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in the documented order, rows sorted by them."""
    groups = ["param.", "train.", "val.", "test.", "cost."]
    found = {group: sorted(name for name in table.columns if name.startswith(group)) for group in groups}
    middle = [name for name in ("best_epoch", "diverged_epoch") if name in table.columns]
    lead = found.pop("param.")
    if "fold" in table:
        lead.insert(0, "fold")
        table = table.astype({"fold": "Int64"})
    table = table[ROW_COLUMNS + lead + middle + [name for group in found.values() for name in group]]
    return table.sort_values(ROW_COLUMNS, ignore_index=True)


def _dump(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, default=_plain, option=JSON)


def _plain(value: Any) -> Any:
    """What JSON has no word for, in one that it has."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"not a JSON value: {value!r}")


def _columns(found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One column a name that any run has; null, in a column of nothing else too, is NaN."""
    table = pd.DataFrame(found)
    return table.astype(dict.fromkeys(table.columns[table.isna().all()], float))


def _with_checksum(content: bytes) -> bytes:
    """A result as it is stored."""
    return content.removesuffix(END) + CHECKSUM + hashlib.sha256(content).hexdigest().encode() + b'"' + END


def _described(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # several for each of ten thousand runs
    except OSError:
        return None


def _opened(stored: bytes, run_id: str) -> dict[str, Any] | None:
    """The record in a result file; None where it is of another schema or run, or not what was written."""
    content = stored.rpartition(CHECKSUM)[0] + END
    if stored != _with_checksum(content):
        return None
    try:
        record = orjson.loads(content)
    except ValueError:
        return None
    fits = isinstance(record, dict) and record.get("schema") == SCHEMA and record.get("run_id") == run_id
    return record if fits else None
