"""Who drives a runs folder: a lock that ends with its holder, and a note on it that `lossbench status` reads.

A lock on a network file system may hold on one host only, and some file systems have none. So the note says which host
and process drive, and changes every other second. Whoever comes from another host, or finds no locks, first watches
whether it changes. Nobody's clock is compared with anybody else's, so clocks may be wrong and may be set.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.executors.lock import BusyError, Held, locked, note_in

FILE = ".driver"
NOTED_S = 2.0  # how often the note changes
WATCH_S = 4 * NOTED_S  # how long a note that does not change is watched before its writer counts as gone


class Note:
    """What a driver says of itself, in the file that it holds; a thread changes it while runs take their time."""

    def __init__(self, path: Path, held: Held, experiment: str) -> None:
        self._path, self._held = path, held
        self._said: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "experiment": experiment}
        self._said |= {"token": uuid.uuid4().hex, "workers": [], "beat": 0}
        self._ended, self._other = threading.Event(), dict[str, Any]()
        self._put()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def write(self, workers: Sequence[int]) -> None:
        """Say from now on which worker processes are there.

        Raises:
            BusyError: a driver on another host began at the same moment, and its note stands now.
        """
        self._said["workers"] = list(workers)
        if self._other:
            raise BusyError(_busy(self._path.parent, self._other))

    def end(self) -> None:
        """Stop, and leave a note that nobody has to watch."""
        self._ended.set()
        self._thread.join()
        if not self._other:
            with contextlib.suppress(OSError):
                os.ftruncate(self._held.descriptor, 0)

    def _beat(self) -> None:
        while not self._ended.wait(NOTED_S):
            found = note_in(self._path)  # opened anew: so a network file system asks its server
            if found.get("token", self._said["token"]) != self._said["token"]:
                self._other = found
                return
            self._said["beat"] += 1
            self._put()

    def _put(self) -> None:
        content = json.dumps(self._said).encode()
        with contextlib.suppress(OSError):  # a full disk stops the results, not the note
            os.ftruncate(self._held.descriptor, 0)
            os.pwrite(self._held.descriptor, content, 0)
            os.fsync(self._held.descriptor)


@contextlib.contextmanager
def driving(root: Path, experiment: str) -> Iterator[Note]:
    """Be the one process that writes to a runs folder.

    Raises:
        BusyError: another one is, on this host or on another one that shares the folder.
    """
    path = root / FILE
    with locked(path) as held:
        if (other := note_in(path)) and _lock_may_hide(other, held) and _changes(path, other):
            raise BusyError(_busy(root, other))
        note = Note(path, held, experiment)
        try:
            yield note
        finally:
            note.end()


def current(root: Path) -> dict[str, Any] | None:
    """The note of the process that drives a runs folder now; None where none does."""
    path = root / FILE
    try:
        with locked(path) as held:
            other = note_in(path)
            return other if other and _lock_may_hide(other, held) and _changes(path, other) else None
    except BusyError:
        return note_in(path)
    except OSError:
        return None


def _lock_may_hide(note: Mapping[str, Any], held: Held) -> bool:
    """Whether the writer of a note may still be there although its lock was to be had."""
    return not held.real or note.get("host") != socket.gethostname()


def _changes(path: Path, note: Mapping[str, Any]) -> bool:
    """Whether somebody goes on writing a note, watched by this process's own monotonic clock."""
    started = time.monotonic()
    while time.monotonic() - started < WATCH_S:
        time.sleep(NOTED_S / 4)
        now = note_in(path)
        if now and now != note:  # empty: caught while it changes, or ended
            return True
    return False


def _busy(root: Path, note: Mapping[str, Any]) -> str:
    who = f"process {note.get('pid', '?')} on {note.get('host', '?')}"
    return f"{root}: {who} is writing here, which its lock does not show on this file system; wait for it or stop it"
