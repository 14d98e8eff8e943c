"""Ctrl-C, or a scheduler's SIGTERM, at any moment: one line and exit status 130 or 143.

The handler ends the process on the spot, because an exception may be swallowed by whatever code it meets. Nothing is
lost: every file is written whole or not at all, and workers end with the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

STOPPED = "Stopped."
LINE = f"{STOPPED} What had finished is kept; the same command goes on from there."
KEEPING = {"run", "probe", "data"}  # the commands that leave anything half done, and take it up again
STOPPING = (signal.SIGINT, signal.SIGTERM)
_cleanups: list[Callable[[], None]] = []
_line = STOPPED


def install(command: str | None = None) -> None:
    """Take over Ctrl-C and SIGTERM in this process, which runs that command of lossbench."""
    global _line
    _line = LINE if command in KEEPING else STOPPED
    for number in STOPPING:
        signal.signal(number, _stop)


def before_stopping(cleanup: Callable[[], None]) -> None:
    """Call `cleanup` before the line is printed, such as to give a terminal back as it was."""
    _cleanups.append(cleanup)


def _stop(number: int, _: Any) -> None:
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)  # the impatient press it twice
    for cleanup in _cleanups:
        with contextlib.suppress(Exception):
            cleanup()
    with contextlib.suppress(OSError):
        echo = "\n" if os.isatty(2) else ""  # the terminal shows ^C
        os.write(2, f"{echo}{_line}\n".encode())
    os._exit(128 + number)
