"""A run that was stopped goes on from the end of an epoch, to the same bits: all that training moves, in one file.

The file holds tensors and plain values only, and is read as such: nothing in it is ever run. It lies outside of
`runs/<run_id>` and says nothing that the finished run would not say again.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lossbench.run import device, parallel
from lossbench.specification.spec import RunSpec


class Saving(NamedTuple):
    """Where a worker leaves the state of a run, and how often: a folder that must exist, and seconds."""

    folder: str
    every_s: float


class Unfinished:
    """The file of one run, and of one rank where several train it; without `saving`, nothing is kept or found.

    Attributes:
        spent: wall and CPU seconds of the attempts before this one.
    """

    def __init__(self, spec: RunSpec, saving: Saving | None) -> None:
        self._environment = {name: str(value) for name, value in device.environment(spec.training.device).items()}
        self._saving = saving if saving is not None and Path(saving.folder).is_dir() else None
        self._path = Path(saving.folder if saving else "") / f"{spec.run_id}.{parallel.rank()}.pt"
        self._saved = self._began = time.perf_counter()
        self._began_cpu = time.process_time()
        self.spent = (0.0, 0.0)

    @property
    def is_due(self) -> bool:
        """Whether it is time to save; the first rank's answer on every rank."""
        due = self._saving is not None and time.perf_counter() - self._saved >= self._saving.every_s
        return bool(parallel.from_first(due)) if self._saving is not None else False

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state of tensors and plain values, whole or not at all; a full disk stops no run."""
        spent = (
            self.spent[0] + time.perf_counter() - self._began,
            self.spent[1] + time.process_time() - self._began_cpu,
        )
        content = {"environment": self._environment, "spent": spent, "globals": _globals(), **state}
        half = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError, RuntimeError):  # torch's writer raises either
            torch.save(content, half)
            half.replace(self._path)
        self._saved = time.perf_counter()

    def load(self) -> dict[str, Any] | None:
        """The state that was kept, on all ranks of one epoch and one kind of machine, or None."""
        if self._saving is None:
            return None
        try:
            state: dict[str, Any] | None = torch.load(self._path, weights_only=True)
        except Exception:  # not there, cut off, or of another version: the run begins anew
            state = None
        state = state if state is not None and state.get("environment") == self._environment else None
        epoch = parallel.from_first(None if state is None else state["epoch"])
        if not parallel.everywhere(state is not None and state["epoch"] == epoch) or state is None:
            return None
        self.spent = state["spent"]
        return state


def seed_globals_as(state: Mapping[str, Any]) -> None:
    """Put the global generators where they were."""
    kept = state["globals"]
    torch.set_rng_state(kept["torch"])
    version, numbers, gauss = kept["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = kept["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in kept:
        torch.cuda.set_rng_state(kept["cuda"])


def _globals() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
    }
    return found | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def attributes(part: nn.Module) -> dict[str, dict[str, Any]]:
    """What the modules of a part keep beside parameters and buffers: memories, counts, generators."""
    own = {
        name: {
            key: _Drawn(value.get_state()) if isinstance(value, torch.Generator) else value
            for key, value in vars(module).items()
            if not key.startswith("_") and _is_plain(value)
        }
        for name, module in part.named_modules()
    }
    return {name: {key: _kept(value) for key, value in found.items()} for name, found in own.items() if found}


def set_attributes(part: nn.Module, kept: Mapping[str, Mapping[str, Any]]) -> None:
    """Put back what `attributes` gave."""
    modules = dict(part.named_modules())
    for name, values in kept.items():
        for key, value in values.items():
            now = getattr(modules[name], key, None)  # some appear with the first batch
            if isinstance(now, torch.Generator):
                now.set_state(value)
            else:
                setattr(modules[name], key, value)


class _Drawn(NamedTuple):
    state: Tensor


def _kept(value: Any) -> Any:
    """A copy that later steps leave alone."""
    if isinstance(value, _Drawn):
        return value.state
    return value.detach().clone() if isinstance(value, Tensor) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(_is_plain, value))
    if isinstance(value, dict):
        return type(value) is dict and all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return value is None or type(value) in (bool, int, float, str, Tensor) or isinstance(value, torch.Generator)
