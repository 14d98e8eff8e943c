"""Zip and tar archives read in place: nothing is ever extracted, so nothing can escape.

An archive with a member that would escape all the same (an absolute path, `..`, a link, a device) is refused
whole: whoever made it is not the publisher.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lossbench.datasets.dataset import DataError

MAX_MEMBER_BYTES = 256 * 1024 * 1024  # CIFAR's largest is 155 MB
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def members(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, bytes]]:
    """Name and content of every wanted file in a zip, tar or compressed tar, in the archive's order.

    Raises:
        DataError: a damaged or truncated archive, or a member that escapes, links, is a device or is huge.
    """
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        yield from (_zip_members if zipped else _tar_members)(path, wanted)
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: damaged or incomplete archive ({reason}); fetch it again") from error


def contents_digest(path: Path, suffix: str) -> str:
    """SHA-256 over names and contents of the files with that suffix: the same for an archive packed anew."""
    found = ((name, hashlib.sha256(content).hexdigest()) for name, content in members(path, _ends_with(suffix)))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(found))
    return hashlib.sha256(listing.encode()).hexdigest()


def _ends_with(suffix: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(suffix)


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            regular = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
            _refuse_hostile(path, info.orig_filename, info.file_size, regular)
            if not info.is_dir() and wanted(info.filename):
                yield info.filename, archive.read(info)


def _tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            _refuse_hostile(path, info.name, info.size, info.isreg() or info.isdir())
            if info.isreg() and wanted(info.name):
                stream = archive.extractfile(info)
                assert stream is not None  # a regular file has content
                yield info.name, stream.read()


def _refuse_hostile(path: Path, name: str, size: int, regular: bool) -> None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in name:
        raise DataError(f"{path}: refused: member {name!r} points outside the archive")
    if not regular:
        raise DataError(f"{path}: refused: member {name!r} is a link or a device")
    if size > MAX_MEMBER_BYTES:
        raise DataError(f"{path}: refused: member {name!r} has {size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
