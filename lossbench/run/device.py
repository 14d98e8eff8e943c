"""What computes: how torch is set up on it, what a record says of it, and whether it still answers."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import torch


def set_up(device: str) -> None:
    """One thread on the host, the same bits again on the same machine, and float32 as IEEE 754 has it.

    By itself torch rounds what enters a convolution on a GPU to ten bits of mantissa (TF32).
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False
    # What reads memory that it never wrote shows NaN. On a GPU that takes a quarter of the kernels of a step.
    torch.utils.deterministic.fill_uninitialized_memory = device == "cpu"  # type: ignore[attr-defined]


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """A process of somebody else's, such as a notebook, set up as for runs on the CPU, and afterwards as it was."""
    threads, warns = torch.get_num_threads(), torch.is_deterministic_algorithms_warn_only_enabled()
    strict, tf32 = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        set_up("cpu")
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.allow_tf32 = tf32
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def environment(device: str) -> dict[str, str]:
    """Where a run happened, for the record: results compare bit for bit on one kind of machine only."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
    }
    return found if device == "cpu" else found | {"gpu": torch.cuda.get_device_name()}


def _processor() -> str:
    """The CPU's name and model: two kinds of one capability may still round a product of matrices differently."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        first = ""
    found = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in first.splitlines())}
    name = found.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else name


def is_lost(device: str) -> bool:
    """Whether a GPU answers this process no more, as after a failed assertion in one of its kernels."""
    if device == "cpu":
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
