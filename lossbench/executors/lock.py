"""A lock on a file that ends with its holder, and the note in it that says who holds it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows has no such lock: nobody is kept out there
    fcntl = None  # type: ignore[assignment]

UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without locks


class BusyError(OSError):
    """Another process holds the lock; the message is one line for the user."""


class Held(NamedTuple):
    """A file that is held open, and whether a lock on it keeps others out: some systems have none."""

    descriptor: int
    real: bool


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[Held]:
    """Hold the lock of a file, which is made where it is missing; the system releases it with the process.

    Raises:
        BusyError: another process holds it, and `wait` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    real = fcntl is not None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BusyError(f"{path.parent}: {_holder(path)} is writing here; wait for it or stop it") from error
            except OSError as error:
                if error.errno not in UNLOCKABLE:
                    raise
                real = False
        yield Held(descriptor, real)
    finally:
        os.close(descriptor)


def note_in(path: Path) -> dict[str, Any]:
    """What the holder wrote into the file; empty where that cannot be read now."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # caught while it changes
        found = None
    return found if isinstance(found, dict) else {}


def _holder(path: Path) -> str:
    note = note_in(path)
    return f"process {note['pid']} on {note['host']}" if {"pid", "host"} <= note.keys() else "another process"
