"""What a run costs: seconds by part, and peak memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

PARTS = ("sampling", "forward", "loss", "backward", "optimizer", "evaluation")


class TimeLimitError(RuntimeError):
    """A run took longer than the experiment allows."""


class Clock:
    """Seconds spent in each part of a run; `lap` charges the time since the last call to a part.

    >>> clock = Clock()
    >>> clock.lap("forward")
    >>> clock.seconds["forward"] >= 0
    True
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Charge the seconds since the last lap to `part`."""
        now = time.perf_counter()
        self._seconds[part] += now - self._last
        self._last = now

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each part so far."""
        return self._seconds

    @property
    def total_s(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())

    @property
    def training_s(self) -> float:
        """Seconds of training: everything but evaluation."""
        return sum(seconds for part, seconds in self.seconds.items() if part != "evaluation")


class Event(Protocol):
    """A moment on a device's queue of work, as `torch.cuda.Event` has it."""

    def record(self) -> None:
        """Mark the end of what is queued so far."""

    def synchronize(self) -> None:
        """Wait until the device is there."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds to a later event."""


class DeviceClock(Clock):
    """A clock for work that a device does on its own time: a lap queues an event, and only reading waits."""

    def __init__(self, new_event: Callable[[], Event]) -> None:
        super().__init__()
        self._new_event = new_event
        self._laps: list[tuple[str, Event]] = []
        self._device_seconds: dict[str, float] = defaultdict(float)
        self._mark("")

    def lap(self, part: str) -> None:
        """Charge to `part` what the device does between the last lap and here."""
        super().lap(part)
        self._mark(part)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each part so far; waits for the last lap."""
        self._laps[-1][1].synchronize()
        for (_, before), (part, after) in pairwise(self._laps):
            self._device_seconds[part] += before.elapsed_time(after) / 1e3
        del self._laps[:-1]
        return self._device_seconds

    def _mark(self, part: str) -> None:
        event = self._new_event()
        event.record()
        self._laps.append((part, event))


def make_clock(device: str) -> Clock:
    """The clock of a run on `cpu` or `cuda`."""
    if device == "cpu":
        return Clock()
    import torch

    return DeviceClock(lambda: torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]


def reset_peak_memory(device: str) -> bool:
    """Restart the count of what `peak_memory_bytes` gives; False where the system does not allow it."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes(device: str) -> float:
    """Since the last reset, in bytes: on a CPU the largest resident set, NaN where it cannot be read; on a GPU the most
    that this process's tensors filled.
    """
    if device == "cuda":
        import torch

        return float(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return float("nan")
