"""Do the answers survive their own repetition? The ablation, and one loss under six names, under several seeds.

Every repetition is whole: other deals, searches, choices and seeds; the first has the ablation's own seed. They are
ordinary experiments in one folder (`--into`), so that stopping loses nothing and the same call goes on. After each of
them the table is written anew to `table.txt` there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks.measure import ABLATION
from lossbench.executors.processes import ProcessExecutor, SerialExecutor
from lossbench.executors.threads import available_cores
from lossbench.specification.primary import EQUIVALENCE, PRIMARY
from lossbench.statistics.counts import binomial_interval
from lossbench.statistics.verdicts import Comparison, compare_all
from lossbench.store import Store
from lossbench.sweep import launch
from lossbench.sweep.driver import driving
from lossbench.sweep.progress import Board
from lossbench.sweep.sweep import Sweep

REPETITION = ABLATION.with_name("repetition.toml")
NAMES = ("one", "two", "three", "four", "five", "six")
RULES = ("softmax+center", "contrastive")  # under six names each
HALF_WIDTH = 0.01  # of an effect's interval, whose price is asked for
DECIDED = ("better", "worse")

Scores = Mapping[str, Mapping[int, float]]  # recipe to study to score


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One repetition of one task.

    Attributes:
        what: the task; of an A/A also the rule.
        cpu_s: CPU seconds of its runs, those of twice the epochs left out.
        reference: the recipe that the others are held against; empty without one.
    """

    what: str
    scores: Scores
    cpu_s: float
    reference: str = ""

    def compared(self) -> Comparison:
        """As the report compares."""
        return compare_all(self.scores, equivalence=EQUIVALENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An experiment that is repeated; `rule` is the loss that stands under six names, empty for the ablation."""

    name: str
    file: Path
    settings: tuple[str, ...]
    rule: str = ""


PARTS = (
    Part(name="ablation", file=ABLATION, settings=("claims=[]", "budget.longer=0")),
    *(Part(name=f"six-times-{rule}".replace("+", "-"), file=REPETITION, settings=(), rule=rule) for rule in RULES),
)


def run(into: Path, repetitions: int, workers: int | None = None, settings: Sequence[str] = ()) -> Iterator[str]:
    """Run what is missing of all repetitions, the table anew after each experiment; then the table.

    Args:
        settings: more `--set`s of every experiment.
    """
    store = Store(into / "runs")
    launch.check_writable(into, store.root)
    repeated: list[Outcome] = []
    same: list[Outcome] = []
    count = available_cores() if workers is None else workers
    executor = ProcessExecutor(count, preload=launch.PRELOAD) if count else SerialExecutor()
    try:
        for seed, part in product(range(repetitions), PARTS):
            names = (_six_names(part.rule),) if part.rule else ()
            own = (f"name={part.name}-{seed}", f"seed={seed}", *part.settings, *names, *settings)
            plan = launch.prepare(part.file, own, [])
            with driving(store.root, plan.experiment.name), Board() as board:
                Sweep(plan, store, executor, board).run()
            (same if part.rule else repeated).extend(outcomes(store, plan.experiment.name, part.rule))
            (into / "table.txt").write_text("\n".join(lines(repeated, same)) + "\n", encoding="utf-8")
            yield f"{plan.experiment.name}: done"
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    yield from lines(repeated, same)


def _six_names(rule: str) -> str:
    entries = ", ".join(f'{{ name = "{name}", use = "{rule}" }}' for name in NAMES)
    return f"recipes=[{entries}]"


def outcomes(store: Store, experiment: str, rule: str = "") -> list[Outcome]:
    """What a stored experiment found, task by task."""
    plan = store.read_plan(experiment)
    table = store.table(plan).copy()
    table["task"] = table["dataset"].str.cat(table["protocol"], sep="/")
    recipes = [recipe["name"] for recipe in plan["recipes"]]
    return [
        Outcome(
            what=f"{rule} on {task}" if rule else str(task),
            scores={recipe: _scores(rows[rows["recipe"] == recipe]) for recipe in recipes},
            cpu_s=_cpu_s(rows),
            reference="" if rule else plan["inference"]["reference"] or "",
        )
        for task, rows in table.groupby("task", sort=False)
    ]


def _scores(rows: pd.DataFrame) -> dict[int, float]:
    """Study to the mean of its final runs; NaN where one failed."""
    finals = rows[rows["role"] == "final"]
    means = finals.groupby("study")[PRIMARY].mean(skipna=False)
    return dict(zip(means.index.astype(int).tolist(), means.tolist(), strict=True))


def _cpu_s(rows: pd.DataFrame) -> float:
    runs = rows[rows["role"] != "longer"].drop_duplicates("run_id")
    return float(runs["cost.run_cpu_s"].sum())


def lines(repeated: Sequence[Outcome], same: Sequence[Outcome]) -> Iterator[str]:
    """The table: what one loss under six names showed, and how repetitions of the ablation agree."""
    if same:
        yield from _of_one_loss(same)
    for task in dict.fromkeys(outcome.what for outcome in repeated):
        yield from _of_repetitions(task, [outcome for outcome in repeated if outcome.what == task])


def _of_one_loss(same: Sequence[Outcome]) -> Iterator[str]:
    called = [outcome for outcome in same if different(outcome.compared())]
    low, high = binomial_interval(len(called), len(same))
    yield (
        f"one loss under six names: {len(called)} of {len(same)} experiments call any pair different "
        f"[{low:.3f}, {high:.3f}]"
    )
    for what in dict.fromkeys(outcome.what for outcome in same):
        of = [outcome for outcome in same if outcome.what == what]
        widths = [2 * half_width(outcome.compared()) for outcome in of]
        wrong = sum(outcome in called for outcome in of)
        yield f"  {what}: {wrong} of {len(of)}; median width of an interval {median(widths):.4f}"


def _of_repetitions(task: str, found: Sequence[Outcome]) -> Iterator[str]:
    compared = [outcome.compared() for outcome in found]
    pairs = len(compared[0].pairs)
    decided = sorted(len(different(comparison)) for comparison in compared)
    width = 2 * median(half_width(comparison) for comparison in compared)
    cpu_s = median(outcome.cpu_s for outcome in found)
    yield f"{task}, {len(found)} repetitions of {compared[0].studies} studies:"
    yield f"  pairs decided: {', '.join(map(str, decided))} of {pairs}"
    if len(found) > 1:
        turned, inside = reversals(compared), covered(compared)
        yield f"  pairs better in one repetition and worse in another: {len(turned)} of {pairs}"
        yield f"  effects inside the 95 % interval of another repetition: {inside:.0%}"
        leading = set.intersection(*(set(comparison.top_group) for comparison in compared))
        first = [standing.recipe for standing in compared[0].ranking if standing.recipe in leading]
        yield f"  in the leading group of every repetition: {', '.join(first) or 'none'}"
        for recipe in [name for name in found[0].scores if found[0].reference not in ("", name)]:
            yield f"  {_against(compared, recipe, found[0].reference)}"
    yield f"  median width of an interval: {width:.4f}"
    price = seconds_for(HALF_WIDTH, width / 2, cpu_s)
    yield f"  CPU seconds: {cpu_s:.0f}; for a half-width of {HALF_WIDTH}: {price:.0f}"


def _against(compared: Sequence[Comparison], recipe: str, reference: str) -> str:
    """`triplet: better than softmax in 3 of 6, effects +0.018 to +0.023`."""
    pairs = [comparison.pair(recipe, reference) for comparison in compared]
    low, *_, high = sorted(pair.effect.mean for pair in pairs)
    said = [f"{verdict} than {reference} in {count}" for verdict in DECIDED
            if (count := sum(pair.verdict == verdict for pair in pairs))]  # fmt: skip
    verdicts = ", ".join(said) or f"told from {reference} in 0"
    return f"{recipe}: {verdicts} of {len(pairs)}, effects {low:+.3f} to {high:+.3f}"


def different(comparison: Comparison) -> list[tuple[str, str]]:
    """Pairs that are called better or worse."""
    return [(pair.a, pair.b) for pair in comparison.pairs if pair.verdict in DECIDED]


def reversals(compared: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Pairs that are better in one repetition and worse in another."""
    verdicts: dict[tuple[str, str], set[str]] = {}
    for comparison in compared:
        for pair in comparison.pairs:
            verdicts.setdefault((pair.a, pair.b), set()).add(pair.verdict)
    return [pair for pair, found in verdicts.items() if set(DECIDED) <= found]


def covered(compared: Sequence[Comparison]) -> float:
    """Of all effects and all ordered pairs of repetitions: how often the one's effect is in the other's 95 % interval.

    Two independent estimates of seven studies each with right intervals: 87 %.
    """
    inside = [
        pair.effect.low <= other.effect.mean <= pair.effect.high
        for one, another in permutations(compared, 2)
        for pair, other in zip(one.pairs, another.pairs, strict=True)
        if not math.isnan(pair.effect.low) and not math.isnan(other.effect.mean)
    ]
    return sum(inside) / len(inside) if inside else math.nan


def half_width(comparison: Comparison) -> float:
    """Of the unadjusted 95 % interval of an effect, the median over pairs."""
    found = [(pair.effect.high - pair.effect.low) / 2 for pair in comparison.pairs]
    return median([width for width in found if not math.isnan(width)] or [math.nan])


def seconds_for(wanted: float, half_width: float, seconds: float) -> float:
    """What an interval of the wanted half-width costs, as a half-width falls with the root of the number of studies."""
    return seconds * (half_width / wanted) ** 2
