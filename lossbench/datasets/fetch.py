"""What stands behind `lossbench data list | fetch | verify`.

A download goes to `NAME.part`, is continued where it broke off, and takes its place only when its digest is a
known one: a file of that name is always whole and checked. Archives are read in place and never extracted. Every
fetched file's SHA-256 is recorded in `SHA256SUMS` beside it, also where the publisher gives MD5 only.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lossbench.datasets.archives import contents_digest
from lossbench.datasets.cache import write_whole
from lossbench.datasets.dataset import DataError, Request
from lossbench.datasets.layouts import LAYOUTS, found
from lossbench.datasets.sources import SOURCES, Source, SourceFile
from lossbench.plugins import Plugin, registry

ATTEMPTS = 5  # connections in a row that bring nothing new
CHUNK_BYTES = 256 * 1024
MAX_FILE_BYTES = 2 * 1024**3  # the largest known file has 170 MB
TIMEOUT_S = 30.0
SUMS = "SHA256SUMS"
LEAST_SIZE = 4  # pixels: pictures of many sizes are read whole and kept small to verify them

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all if known


class BrokenOffError(OSError):
    """The connection ended before the file did."""


CONNECTION_ERRORS = (
    BrokenOffError,
    ConnectionError,
    TimeoutError,
    http.client.HTTPException,
    ssl.SSLError,
    urllib.error.URLError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRow:
    """A data set in `lossbench data list`.

    Attributes:
        state: `built in`, `present`, `missing`, or `incomplete: ` and the missing files.
    """

    name: str
    summary: str
    source: str
    license: str
    citation: str
    protocols: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What `lossbench data verify` says of one file."""

    file: str
    ok: bool
    message: str


# list


def list_data(folder: Path) -> list[DataRow]:
    """Every registered data set and whether its files lie in the data folder; nothing is read."""
    return [_row(registry.find("dataset", name), folder) for name in registry.names("dataset")]


def _row(plugin: Plugin, folder: Path) -> DataRow:
    return DataRow(
        name=plugin.name,
        summary=plugin.summary,
        source=plugin.source,
        license=plugin.license,
        citation=plugin.citation,
        protocols=plugin.protocols,
        state=_state(plugin.name, folder),
    )


def _state(name: str, folder: Path) -> str:
    if name in LAYOUTS:
        return "missing" if found(name, folder) is None else "present"
    if name not in SOURCES:
        return "built in"
    files = SOURCES[name].files
    missing = [file.name for file in files if not (folder / name / file.name).is_file()]
    if not missing:
        return "present"
    return "missing" if len(missing) == len(files) else f"incomplete: {', '.join(missing)}"


# verify


def verify(name: str, folder: Path) -> list[Finding]:
    """Check every file of a data set against the known digests and against what was recorded when fetched.

    A data set without files of a publisher (`digits`, `folder:PATH`, a plugin) is loaded instead.

    Raises:
        PluginError: no data set of that name.
    """
    plugin_name, _, path = name.partition(":")
    plugin = registry.find("dataset", plugin_name)
    if plugin_name not in SOURCES:
        return _verify_by_loading(
            name, plugin, Request(folder=folder, path=path, size=LEAST_SIZE if plugin_name in LAYOUTS else None)
        )
    recorded = _recorded(folder / name)
    return [_finding(file, folder / name / file.name, recorded) for file in SOURCES[name].files]


def _verify_by_loading(name: str, plugin: Plugin, request: Request) -> list[Finding]:
    try:
        data = plugin.build(request)
    except DataError as error:
        return [Finding(file=name, ok=False, message=str(error))]
    counted = f"{len(data.labels):,} images of {data.num_classes:,} classes, checksum {data.checksum}"
    left_out = [Finding(file=file, ok=False, message="left out as unreadable") for file in data.unreadable]
    return [Finding(file=name, ok=True, message=counted), *left_out]


def _finding(file: SourceFile, path: Path, recorded: dict[str, str]) -> Finding:
    if not path.is_file():
        return Finding(file=file.name, ok=False, message=f"missing from {path.parent}")
    digest = file_digest(path, "sha256")
    if recorded.get(file.name, digest) != digest:
        return Finding(file=file.name, ok=False, message="has changed since it was fetched; fetch it again")
    try:
        return Finding(file=file.name, ok=True, message=identified(file, path))
    except DataError as error:
        return Finding(file=file.name, ok=False, message=str(error))


def identified(file: SourceFile, path: Path) -> str:
    """How a local file is known to be the publisher's.

    Raises:
        DataError: it is not.
    """
    digest = file_digest(path, "sha256")
    if digest in file.sha256:
        return f"SHA-256 {digest}"
    if file.md5 and file_digest(path, "md5") == file.md5:
        return f"the publisher's MD5, SHA-256 {digest}"
    if file.members_sha256:
        if contents_digest(path, file.suffix) == file.members_sha256:
            return f"packed anew with the published contents, SHA-256 {digest}"
        raise DataError(f"{file.name}: its contents are not the published ones (SHA-256 {digest})")
    raise DataError(f"{file.name}: SHA-256 {digest} is not the published file's")


def file_digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _recorded(folder: Path) -> dict[str, str]:
    """File name to SHA-256 of what was fetched into a folder."""
    sums = folder / SUMS
    lines = sums.read_text("utf-8").splitlines() if sums.is_file() else []
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs}


def _record(path: Path) -> None:
    sums = _recorded(path.parent) | {path.name: file_digest(path, "sha256")}
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_whole(path.parent / SUMS, text.encode())


# fetch


def fetch(name: str, folder: Path, *, base_url: str | None = None, progress: Progress = lambda *_: None) -> list[Path]:
    """Download what is missing or wrong of a data set; files that are there and right are left alone.

    Args:
        folder: the data folder; the files go to FOLDER/NAME.
        base_url: another address (http or https) with the same file names, such as a mirror.
        progress: called with file name, bytes so far and bytes in all (None: not known).

    Raises:
        DataError: nothing to fetch, no connection, or content that is not the publisher's. Nothing but a `.part` file
            to continue is left behind, and nothing at all where the content is wrong.
        PluginError: no data set of that name.
    """
    registry.find("dataset", name)
    if name in LAYOUTS:
        raise DataError(
            f"{name}: is given out by its owner; put in {folder / name} what you get from {LAYOUTS[name].address}"
        )
    if name not in SOURCES:
        raise DataError(f"{name}: has nothing to fetch")
    source = SOURCES[name] if base_url is None else Source(url=base_url.rstrip("/"), files=SOURCES[name].files)
    if urllib.parse.urlsplit(source.url).scheme not in ("http", "https"):
        raise DataError(f"{name}: {source.url} is not an http or https address")
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return [_fetch_file(name, source, file, folder / name, progress) for file in source.files]
    except OSError as error:
        raise DataError(f"{name}: cannot write to {folder / name}: {error.strerror or error}") from error


def _fetch_file(name: str, source: Source, file: SourceFile, folder: Path, progress: Progress) -> Path:
    path, part = folder / file.name, folder / f"{file.name}.part"
    if _is_right(file, path):
        return path
    resumed = part.exists()
    place = f"{name}: put {file.name} from {source.url} into {folder}"
    _download(f"{source.url}/{file.name}", part, place, progress)
    if resumed and not _is_right(file, part):  # perhaps the beginning was of another file: once more from the start
        part.unlink()
        _download(f"{source.url}/{file.name}", part, place, progress)
    try:
        identified(file, part)
    except DataError as error:
        part.unlink()
        raise DataError(f"{name}: {source.url}/{file.name} is not the published file; not kept: {error}") from error
    part.replace(path)
    _record(path)
    return path


def _is_right(file: SourceFile, path: Path) -> bool:
    try:
        return path.is_file() and bool(identified(file, path))
    except DataError:
        return False


def _download(url: str, part: Path, place: str, progress: Progress) -> None:
    """Bring `part` to its full length, continuing as often as connections bring something new.

    Raises:
        DataError: the server says no, or cannot be reached, or keeps breaking off.
    """
    idle, most = 0, _size(part)
    while True:
        try:
            return _continue(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DataError(f"{place}; the server answers {error.code} {error.reason}") from error
            reason: object = f"{error.code} {error.reason}"
        except CONNECTION_ERRORS as error:
            reason = getattr(error, "reason", error)
        idle = 0 if _size(part) > most else idle + 1
        most = max(most, _size(part))
        if idle == ATTEMPTS or not most:
            kept = f"; {_size(part):,} bytes are kept, fetch again to continue" if most else ""
            raise DataError(f"{place}; downloading failed ({reason}){kept}")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _continue(url: str, part: Path, progress: Progress) -> None:
    """One connection: ask for what is missing, append it."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is missing; the digest will tell
            return
        raise
    with response:
        continues = _range_start(response) == start  # a server without ranges sends the whole file
        total = _announced(response, start if continues else 0)
        with part.open("ab" if continues else "wb") as stream:
            for done in _copied(response, stream, start if continues else 0):
                progress(part.name.removesuffix(".part"), done, total)
    if _size(part) > MAX_FILE_BYTES:
        part.unlink()
        raise DataError(f"{url}: the server sends more than {MAX_FILE_BYTES:,} bytes; not kept")
    if total is not None and _size(part) < total:
        raise BrokenOffError(f"the connection broke off at {_size(part):,} of {total:,} bytes")


def _range_start(response: Any) -> int | None:
    """The first byte of `Content-Range: bytes 100-199/200`."""
    value = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(value) if value.isdecimal() else None


def _announced(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length") or ""
    return start + int(length) if length.isdecimal() else None


def _copied(response: Any, stream: IO[bytes], done: int) -> Iterator[int]:
    """Copy chunk by chunk; yields the bytes so far."""
    while done <= MAX_FILE_BYTES and (chunk := response.read1(CHUNK_BYTES)):
        done += len(chunk)
        stream.write(chunk)
        yield done
