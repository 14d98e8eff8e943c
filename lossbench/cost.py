"""What a run costs: wall and CPU seconds by part, and peak memory."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

PARTS = ("sampling", "forward", "loss", "backward", "optimizer", "evaluation")


class Clock:
    """Seconds spent in each part of a run; `lap` charges the time since the last call to a part.

    >>> clock = Clock()
    >>> clock.lap("forward")
    >>> clock.seconds["forward"] >= 0
    True
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.cpu_seconds: dict[str, float] = defaultdict(float)
        self._last, self._last_cpu = time.perf_counter(), time.process_time()

    def lap(self, part: str) -> None:
        """Charge the seconds since the last lap to `part`."""
        now, cpu = time.perf_counter(), time.process_time()
        self.seconds[part] += now - self._last
        self.cpu_seconds[part] += cpu - self._last_cpu
        self._last, self._last_cpu = now, cpu

    @property
    def training_s(self) -> float:
        """Seconds of training: everything but evaluation."""
        return sum(seconds for part, seconds in self.seconds.items() if part != "evaluation")

    @property
    def training_cpu_s(self) -> float:
        """CPU seconds of training: everything but evaluation."""
        return sum(seconds for part, seconds in self.cpu_seconds.items() if part != "evaluation")


def reset_peak_memory() -> bool:
    """Restart the kernel's count of this process's peak memory; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_bytes() -> float:
    """Largest resident set since the last reset, in bytes; NaN where it cannot be read."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return float("nan")
