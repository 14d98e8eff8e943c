"""Who drives a runs folder: a lock that ends with its holder, and a note on it that `lossbench status` reads."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no such lock: nobody is kept out there
    fcntl = None  # type: ignore[assignment]

FILE = ".driver"
NOTED_S = 2.0  # how often the note may change
UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without locks


class BusyError(OSError):
    """Another process holds the lock; the message is one line for the user."""


class Note:
    """What a driver says of itself, in the file that it holds locked."""

    def __init__(self, descriptor: int, experiment: str) -> None:
        self._descriptor = descriptor
        self._said = {"pid": os.getpid(), "host": socket.gethostname(), "experiment": experiment}
        self._noted = -NOTED_S
        self.write([])

    def write(self, workers: Sequence[int]) -> None:
        """Say which worker processes are there; too soon after the last time, nothing happens."""
        now = time.monotonic()
        if now - self._noted < NOTED_S:
            return
        self._noted = now
        content = json.dumps({**self._said, "workers": list(workers)}).encode()
        with contextlib.suppress(OSError):  # a full disk stops the results, not the note
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)


@contextlib.contextmanager
def driving(root: Path, experiment: str) -> Iterator[Note]:
    """Be the one process that writes to a runs folder.

    Raises:
        BusyError: another one is.
    """
    with locked(root / FILE) as descriptor:
        yield Note(descriptor, experiment)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the lock of a file, which is made where it is missing; the system releases it with the process.

    Raises:
        BusyError: another process holds it, and `wait` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BusyError(f"{path.parent}: {_holder(path)} is writing here; wait for it or stop it") from error
            except OSError as error:
                if error.errno not in UNLOCKABLE:
                    raise
        yield descriptor
    finally:
        os.close(descriptor)


def current(root: Path) -> dict[str, Any] | None:
    """The note of the process that drives a runs folder now; None where none does."""
    try:
        with locked(root / FILE):
            return None
    except BusyError:
        return _note(root / FILE)
    except OSError:
        return None


def _note(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # caught while it changes
        found = None
    return found if isinstance(found, dict) else {}


def _holder(path: Path) -> str:
    note = _note(path)
    return f"process {note['pid']} on {note['host']}" if {"pid", "host"} <= note.keys() else "another process"
