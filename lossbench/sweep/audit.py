"""A runs folder audited: a seeded share of its runs repeated, and which of them differ."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from lossbench.plugins.mistakes import SpecError
from lossbench.store import Store, StoreError
from lossbench.store.records import RUN_ID
from lossbench.sweep.jobs import Record
from lossbench.sweep.replay import Replay, replay, stored_run


@dataclass(slots=True)
class Audit:
    """What came of repeating a sample.

    Attributes:
        stored: how many runs the folder holds.
        found: what was repeated.
        broken: run id to why it could not be read or repeated.
    """

    stored: int
    seed: int
    found: list[Replay] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every run of the sample was repeated and came out again."""
        return not self.broken and all(each.agrees for each in self.found)

    def lines(self) -> Iterator[str]:
        """Runs that differ or could not be repeated, each in full; then the count of all."""
        for each in self.found:
            if not each.agrees:
                yield from each.lines()
        for run_id, why in self.broken.items():
            yield f"run {run_id}: not repeated: {why}"
        differing = sum(not each.agrees for each in self.found)
        exactly = sum(not each.changed for each in self.found)
        within = len(self.found) - exactly - differing
        parts = [f"{exactly} agree bit for bit"]
        parts += [f"{within} within the tolerance, on other code, data or machines"] if within else []
        parts += [f"{differing} differ"] if differing else []
        parts += [f"{len(self.broken)} could not be repeated"] if self.broken else []
        total = len(self.found) + len(self.broken)
        yield f"{total} of {self.stored} stored runs repeated (seed {self.seed}): {', '.join(parts)}"


def sample(store: Store, share: float, seed: int) -> tuple[list[str], int]:
    """Ids of a seeded share of the stored runs, at least one, and how many are stored.

    Raises:
        StoreError: none is.
    """
    known = sorted(path.parent.name for path in store.root.glob("*/result.json") if RUN_ID.fullmatch(path.parent.name))
    if not known:
        raise StoreError(f"{store.root}: no run is stored here")
    return random.Random(seed).sample(known, math.ceil(share * len(known))), len(known)


def parsed_share(text: str) -> float:
    """`5%` or `0.05` as a share.

    Raises:
        SpecError: it is none.

    >>> parsed_share("5%"), parsed_share("0.5")
    (0.05, 0.5)
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SpecError([f"--sample: {text!r} is no share; 5% and 0.05 are"])
    return share


def audit(
    root: Path, share: float, seed: int, executor: Executor, *, tolerance: float, check: Callable[[Record], None]
) -> Audit:
    """Repeat a share of the runs of a folder, one after another.

    Args:
        check: raises a SpecError for a run that cannot be repeated here.
    """
    store = Store(root)
    chosen, stored = sample(store, share, seed)
    found = Audit(stored, seed)
    for run_id in chosen:
        try:
            record = stored_run(store, run_id)
            check(record)
            found.found.append(replay(record, executor, tolerance=tolerance))
        except (OSError, ValueError, RuntimeError) as error:  # damaged, other data, a worker that died
            found.broken[run_id] = " ".join(str(error).split())
    return found
