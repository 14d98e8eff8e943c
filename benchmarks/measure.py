"""How a row is measured: pairs in turns, a median with its interval, memory in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import binom

from lossbench.specification.spec import RunSpec
from lossbench.sweep import launch

ABLATION = Path(__file__).parents[1] / "experiments" / "ablation.toml"
PAIRS = 11
SHORTEST_S = 0.05  # a shorter call is repeated until the clock can resolve it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: what was measured, on what it was held against, and what was to be reached, if anything."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    limit: str = ""
    reached: bool | None = None


def default_run(*settings: str) -> RunSpec:
    """A trial of the first recipe of the ablation under other settings, at its default parameters."""
    plan = launch.prepare(ABLATION, settings, [])
    recipe = plan.recipes[0]
    return plan.run_spec(plan.experiment.tasks[0], recipe, dict(recipe.defaults), seed=1, final=False)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Seconds of both sides, pair by pair."""

    ours: list[float]
    peer: list[float]

    def ratio(self, *, of: str) -> tuple[float, float, float]:
        """Median and 95 % interval of the paired ratios `peer` / ours, or `ours` / peer.

        The interval is that of order statistics, which assumes nothing about the noise.
        """
        both = zip(self.ours, self.peer, strict=True)
        ratios = sorted(theirs / mine if of == "peer" else mine / theirs for mine, theirs in both)
        outside = int(binom.ppf(0.025, len(ratios), 0.5))  # the largest rank whose interval still covers 95 %
        low = max(0, outside - 1)
        return median(ratios), ratios[low], ratios[-1 - low]


def in_turns(
    ours: Callable[[], object],
    peer: Callable[[], object],
    pairs: int = PAIRS,
    clock: Callable[[], float] = time.process_time,
) -> Pairs:
    """Seconds of one call of each, measured in pairs whose order alternates.

    Args:
        clock: CPU seconds, where both compute on one thread: other programs of the machine are none of theirs.
    """
    ours(), peer()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(pairs):
        for mine in (True, False) if turn % 2 else (False, True):
            seconds[mine].append(seconds_of(ours if mine else peer, clock))
    return Pairs(seconds[True], seconds[False])


def seconds_of(call: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one call, CPU seconds where no other clock is given."""
    calls, started = 0, clock()
    while (elapsed := clock() - started) < SHORTEST_S:
        call()
        calls += 1
    return elapsed / calls


def at_least(what: str, pairs: Pairs, factor: float) -> Row:
    """A row for work that must be `factor` times as fast as the peer's."""
    middle, low, high = pairs.ratio(of="peer")
    return _paired(what, pairs, f"{middle:.2f} [{low:.2f}, {high:.2f}]", f">= {factor:g} x faster", middle >= factor)


def at_most(what: str, pairs: Pairs, factor: float) -> Row:
    """A row for work that may take `factor` times what the peer takes."""
    middle, low, high = pairs.ratio(of="ours")
    return _paired(what, pairs, f"{middle:.3f} [{low:.3f}, {high:.3f}]", f"<= {factor:g} x the time", middle <= factor)


def _paired(what: str, pairs: Pairs, ratio: str, limit: str, reached: bool) -> Row:
    ours, peer = duration(median(pairs.ours)), duration(median(pairs.peer))
    return Row(what=what, ours=ours, peer=peer, ratio=ratio, limit=limit, reached=reached)


def compared(what: str, pairs: Pairs) -> Row:
    """A row that says how many times as fast as the peer's the work is; nothing is to be reached."""
    middle, low, high = pairs.ratio(of="peer")
    ours, peer = duration(median(pairs.ours)), duration(median(pairs.peer))
    return Row(what=what, ours=ours, peer=peer, ratio=f"{middle:.2f} [{low:.2f}, {high:.2f}]")


def within(what: str, seconds: float, limit_s: float) -> Row:
    """A row for work that must end in time."""
    return Row(what=what, ours=duration(seconds), limit=f"< {duration(limit_s)}", reached=seconds < limit_s)


def duration(seconds: float) -> str:
    """`1.63 ms`, `12.3 s`."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def in_a_new_process(measure: Callable[..., Any], *args: Any) -> Any:
    """What `measure` returns in a freshly spawned process, which no other measurement has warmed or filled."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, args)
