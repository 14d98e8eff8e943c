"""Cores, and one thread of computation for each process: on small arrays, threads mostly wait for one another."""

from __future__ import annotations

import os

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def use_one() -> None:
    """Ask the numerical libraries for one thread, unless the user asks for more; to be called before their import."""
    os.environ.update({name: value for name, value in ONE_THREAD.items() if name not in os.environ})


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
