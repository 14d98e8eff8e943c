"""Decoding happens once: samples as a memory-mapped `.npy`, shared by every worker, whole or not there.

An entry is a folder `NAME/SIZE-KEY` with `images.npy` or `features.npy`, `rest.npz` and `entry.json`; KEY digests the
source files' content, the decoding code and the libraries that decode. The cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossbench.datasets.dataset import Dataset, Pairs, Request, arrays_of, with_checksum

SHARED_CODE = (
    *("dataset.py", "images.py", "pictures.py", "columns.py", "archives.py"),
    *("layouts.py", "lists.py"),
)  # beside the decoder's own file
LIBRARIES = ("numpy", "pillow")
SAMPLES = ("images", "features")  # what an entry keeps in a file of its own
SETTLED_S = 2.0  # a file changed later than this ago may change again within one tick of its clock
ABANDONED_S = 86_400.0


def user_cache_folder() -> Path:
    """Where this platform keeps caches: XDG_CACHE_HOME, LOCALAPPDATA or ~/Library/Caches."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cache_folder() -> Path:
    """`$LOSSBENCH_CACHE`, or `lossbench` in the user's cache folder."""
    return Path(os.environ.get("LOSSBENCH_CACHE") or user_cache_folder() / "lossbench")


def data_folder() -> Path:
    """`$LOSSBENCH_DATA`, or `lossbench/data` in the user's cache folder."""
    return Path(os.environ.get("LOSSBENCH_DATA") or user_cache_folder() / "lossbench" / "data")


def cached(
    name: str, request: Request, files: Sequence[Path], decode: Callable[[Request], Dataset], extra: str = ""
) -> Dataset:
    """The data set from the cache; `decode(request)` builds it where it is not there or damaged.

    Args:
        name: folder of the entry, a plain file name.
        files: every file that `decode` reads; their content is part of the key.
        decode: a function of a module; its source file is part of the key.
        extra: whatever else the content depends on, such as a library's version.

    A cache that cannot be written costs a warning and decoding every time, not the run.
    """
    fitted = extra if request.fit == "crop" else f"{extra}\nfit {request.fit}"
    entry = cache_folder() / "datasets" / name / f"{request.size or 'native'}-{_key(files, decode, fitted)}"
    if (found := _open(entry)) is not None:
        return found
    built = with_checksum(decode(request))
    try:
        _store(entry, built)
    except OSError as error:
        warnings.warn(f"{name}: not cached: {error}; set LOSSBENCH_CACHE to a writable folder", stacklevel=2)
        return built
    return _open(entry) or built


def _key(files: Sequence[Path], decode: Callable[[Request], Dataset], extra: str) -> str:
    here = Path(__file__).parent
    code = {here / name for name in SHARED_CODE} | {Path(inspect.getfile(decode))}
    digests = [_file_digest(path) for path in sorted(code) if path.exists()]
    versions = [f"{library} {importlib.metadata.version(library)}" for library in LIBRARIES]
    parts = [content_digest(files), decode.__qualname__, extra, *digests, *versions]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def content_digest(files: Sequence[Path]) -> str:
    """SHA-256 over names and contents of files, remembered for as long as their stamps do not change.

    A stamp is path, size, inode, and times of modification and of change, which no tool sets back.
    """
    stats = [(path, path.stat()) for path in files]
    stamp = hashlib.sha256()
    for path, stat in stats:
        identity = (stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        stamp.update(f"{path.absolute()} {identity}\n".encode())
    memo = cache_folder() / "digests" / stamp.hexdigest()[:32]
    if memo.exists() and len(known := memo.read_text()) == 64:
        return known
    root = os.path.commonpath([path.parent.absolute() for path in files]) if files else ""
    names = (os.path.relpath(path.absolute(), root) for path in files)
    listing = "\n".join(f"{name} {_file_digest(path)}" for name, path in zip(names, files, strict=True))
    digest = hashlib.sha256(listing.encode()).hexdigest()
    if all(time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED_S for _, stat in stats):
        _remember(memo, digest)
    return digest


def _remember(memo: Path, digest: str) -> None:
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memo, digest.encode())
    except OSError:
        return  # the digest is computed again next time


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary name, sync, rename."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _open(entry: Path) -> Dataset | None:
    """The data set of an entry; None where there is none, or a damaged one."""
    try:
        described = json.loads((entry / "entry.json").read_text("utf-8"))
        for name, size in described["sizes"].items():
            if (entry / name).stat().st_size != size:
                return None
        kind = next(kind for kind in SAMPLES if f"{kind}.npy" in described["sizes"])
        samples = np.load(entry / f"{kind}.npy", mmap_mode="r", allow_pickle=False)
        with np.load(entry / "rest.npz", allow_pickle=False) as rest:
            arrays = {kind: samples, **rest}
        return _assembled(arrays, described)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, StopIteration, zipfile.BadZipFile):
        return None


def _assembled(arrays: dict[str, Any], described: dict[str, Any]) -> Dataset:
    pairs = {name.removeprefix("pairs."): arrays.pop(name) for name in list(arrays) if name.startswith("pairs.")}
    return Dataset(
        **arrays,
        pairs=Pairs(**pairs) if pairs else None,
        class_names=tuple(described["class_names"]),
        val_is_made=described["val_is_made"],
        max_per_class=described["max_per_class"],
        unreadable=tuple(described["unreadable"]),
        notes=tuple(described["notes"]),
        checksum=described["checksum"],
    )


def _store(entry: Path, data: Dataset) -> None:
    """Write an entry beside its place, sync, and rename it there; another worker's entry may win."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(entry.parent)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=entry.parent))
    try:
        _write_entry(building, data)
        if entry.exists() and _open(entry) is None:  # damaged: out of the way in one step
            entry.rename(building / "damaged")
        _rename_unless_there(building, entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write_entry(folder: Path, data: Dataset) -> None:
    arrays = arrays_of(data)
    kind = next(kind for kind in SAMPLES if kind in arrays)
    with (folder / f"{kind}.npy").open("wb") as stream:
        np.save(stream, np.ascontiguousarray(arrays.pop(kind)), allow_pickle=False)
        _sync(stream.fileno())
    with (folder / "rest.npz").open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        _sync(stream.fileno())
    described = {
        "class_names": data.class_names,
        "val_is_made": data.val_is_made,
        "max_per_class": data.max_per_class,
        "unreadable": data.unreadable,
        "notes": data.notes,
        "checksum": data.checksum,
        "sizes": {name: (folder / name).stat().st_size for name in (f"{kind}.npy", "rest.npz")},
    }
    write_whole(folder / "entry.json", json.dumps(described).encode())


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _rename_unless_there(building: Path, entry: Path) -> None:
    try:
        building.rename(entry)
    except OSError:
        if not entry.exists():
            raise


def _clear_abandoned(folder: Path) -> None:
    """Remove what killed processes left behind a day ago or earlier."""
    for left in folder.glob(".building-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
