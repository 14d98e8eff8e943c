"""A result as bytes: what is written, what may be read again, and why a file is not read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lossbench.specification.spec import SCHEMA

JSON = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY  # NaN, which JSON lacks, is null
CHECKSUM, END = b',\n  "sha256": "', b"\n}"  # a result ends with the SHA-256 of what it is without this entry
DIGEST_END = re.compile(CHECKSUM + rb'[0-9a-f]{64}"' + END + rb"\Z")
FILES = ("embeddings.npz", "audit.json", "model.pt")  # what may lie beside a result
STATES = ("ok", "diverged", "collapsed", "failed")
RUN_ID = re.compile(r"[0-9a-f]{16}")


class StoreError(OSError):
    """The runs folder cannot be used; the message is one line for the user."""


class RefusedError(ValueError):
    """A file is no result that counts; the message says why, without its name."""


def opened(stored: bytes, run_id: str) -> dict[str, Any]:
    """The record in a result file.

    Raises:
        RefusedError: it is not what was written, or of another schema or run.
    """
    if not DIGEST_END.search(stored):
        cut = stored.startswith(b"{") and not stored.endswith(END)
        raise RefusedError("is truncated" if cut else "is no result of this version of lossbench")
    content = stored.rpartition(CHECKSUM)[0] + END
    if stored != with_checksum(content):
        raise RefusedError("was edited: it does not have its own checksum")
    try:
        record = orjson.loads(content)
    except ValueError as error:
        raise RefusedError(f"is no JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RefusedError(f"is of another version of lossbench: this one reads schema {SCHEMA}")
    if record.get("run_id") != run_id:
        raise RefusedError(f"is the result of another run: {str(record.get('run_id'))[:40]!r}")
    if record.get("status") not in STATES or not _describes_files(record.get("files", {})):
        raise RefusedError("is malformed: it needs a status and files by name, size and SHA-256")
    return record


def dump(content: Mapping[str, Any]) -> bytes:
    """JSON; what it has no word for in one that it has."""
    return orjson.dumps(content, default=_plain, option=JSON)


def with_checksum(content: bytes) -> bytes:
    """A result as it is stored."""
    return content.removesuffix(END) + CHECKSUM + hashlib.sha256(content).hexdigest().encode() + b'"' + END


def printable(text: str) -> str:
    """A name that may hold any byte as a terminal can show it: quoted, and in ASCII, where it is no plain text."""
    return text if text.isprintable() else ascii(text)


def described(content: bytes) -> dict[str, Any]:
    """What a result says of a file beside it."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"not a JSON value: {value!r}")


def _describes_files(files: Any) -> bool:
    """Whether only known names are there: whoever copies or opens them stays inside the folder of the run."""
    return isinstance(files, dict) and all(
        name in FILES
        and isinstance(known, dict)
        and isinstance(known.get("bytes"), int)
        and isinstance(known.get("sha256"), str)
        for name, known in files.items()
    )
