"""Who drives a runs folder: a lock that ends with its holder, and a note on it that `lossbench status` reads."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lossbench.executors.lock import BusyError, locked, note_in

FILE = ".driver"
NOTED_S = 2.0  # how often the note may change


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


def current(root: Path) -> dict[str, Any] | None:
    """The note of the process that drives a runs folder now; None where none does."""
    try:
        with locked(root / FILE):
            return None
    except BusyError:
        return note_in(root / FILE)
    except OSError:
        return None
