"""Watching a sweep: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from lossbench.executors import interrupt
from lossbench.statistics.effects import mean_interval
from lossbench.sweep.jobs import KINDS, Job, Record, final_score, objective

PLAIN_EVERY_S = 10.0
PHASES = {"pilot": "pilot", "trials": "tuning", "finals": "final runs", "longer": "twice the epochs"}
DOING = {
    "pilot": "pilot: how long to train",
    "trials": "tuning study {study} of {studies}",
    "finals": "final runs of study {study} of {studies}",
    "longer": "twice the epochs in study {study} of {studies}",
}


class Board:
    """What is going on, done / total, time left by kind of run, and who has the highest mean so far."""

    def __init__(self) -> None:
        self.console = Console(stderr=False)
        self.planned: Mapping[str, int] = {}
        self.done: Counter[str] = Counter()  # kind of run to how many are there
        self.doing = ""
        self._studies = 0
        self._seconds: dict[str, list[float]] = {}  # kind to what each run took
        self._ran = 0
        self._trials: dict[str, dict[str, float]] = {}  # task to the highest validation score of each recipe
        self._finals: dict[str, dict[str, dict[int, list[float]]]] = {}  # task to recipe to study to test scores
        self._shares: dict[str, list[float]] = {}  # recipe to seconds of evaluation and of training
        self._workers = 1
        self._last_line = time.monotonic()
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar_task = self._bar.add_task("runs")
        self._live = (
            Live(console=self.console, refresh_per_second=4, transient=True) if self.console.is_terminal else None
        )

    def __enter__(self) -> Board:
        """Start drawing."""
        if self._live:
            self._live.start()
            interrupt.before_stopping(self._live.stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, leave the terminal clean, and say where evaluation took longer than training."""
        if self._live:
            self._live.stop()
        for recipe, (evaluation, training) in self._shares.items():
            if evaluation > training > 0:
                self.message(
                    f"evaluation took {evaluation / training:.1f} times the training of {recipe}; fewer "
                    "training.validations or val_classes shorten it"
                )

    def expect(self, planned: Mapping[str, int], studies: int) -> None:
        """Remember how much there is to do."""
        self.planned, self._studies = dict(planned), studies

    def start(self, workers: int) -> None:
        """Say how much there is to do."""
        self._workers = workers
        self.message(f"{self.total} planned runs on {workers} worker{'s' if workers > 1 else ''}")
        self._show()

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        """Count a run and show it."""
        self.done[job.kind] += 1
        self._ran += not reused
        seconds = float(record.get("cost", {}).get("run_wall_s") or 0.0)
        if seconds and job.role != "baseline":  # what trains nothing does not say how long training takes
            self._seconds.setdefault(job.kind, []).append(seconds)
        if not reused:
            sums, cost = self._shares.setdefault(job.recipe, [0.0, 0.0]), record.get("cost", {})
            sums[0] += float(cost.get("evaluation_s") or 0.0)
            sums[1] += float(cost.get("train_wall_s") or 0.0)
        if not reused or not self.doing:
            self.doing = DOING[job.kind].format(study=job.study, studies=self._studies)
        self._remember(job, record)
        self._show()

    def message(self, text: str) -> None:
        """Print one line above the board."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def total(self) -> int:
        """Planned runs, which grow as studies are added."""
        return sum(self.planned.values())

    @property
    def left_s(self) -> dict[str, float]:
        """Kind to the seconds that its remaining runs will take, from the mean of those that are there.

        Of those that trained. A kind of which none is there takes the mean of all, twice the epochs twice that. Empty
        before the first.
        """
        known = [seconds for found in self._seconds.values() for seconds in found]
        if not known:
            return {}
        usual = {kind: fmean(known) * (2 if kind == "longer" else 1) for kind in KINDS}
        means = usual | {kind: fmean(found) for kind, found in self._seconds.items()}
        left = {kind: max(0, self.planned.get(kind, 0) - self.done[kind]) for kind in KINDS}
        return {kind: count * means[kind] / self._workers for kind, count in left.items() if count}

    @property
    def left(self) -> str:
        """`about 3 min 20 s left: tuning 2 min 00 s, final runs 1 min 20 s`; empty before the first run that trains."""
        parts = self.left_s
        if not parts:
            return ""
        named = ", ".join(f"{PHASES[kind]} {duration(seconds)}" for kind, seconds in parts.items())
        return f"about {duration(sum(parts.values()))} left" + (f": {named}" if len(parts) > 1 else "")

    def highest(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Of each task the recipe of the highest mean so far, that mean, its interval and what it is of.

        A description of what is there, not a verdict: those are the report's, at fixed numbers of studies.
        """
        for task in dict.fromkeys((*self._trials, *self._finals)):
            scores = {name: list(map(fmean, found.values())) for name, found in self._finals.get(task, {}).items()}
            if not scores:
                trials = self._trials[task]
                recipe = max(trials, key=lambda name: trials[name])
                yield task, recipe, f"{trials[recipe]:.3f}", "", "validation, one trial"
                continue
            recipe = max(scores, key=lambda name: fmean(scores[name]))
            found, count = mean_interval(scores[recipe], bounds=(0.0, 1.0)), len(scores[recipe])
            interval = f"[{found.low:.3f}, {found.high:.3f}]" if count > 1 else ""
            yield task, recipe, f"{found.mean:.3f}", interval, f"test, {count} stud{'y' if count == 1 else 'ies'}"

    def _remember(self, job: Job, record: Record) -> None:
        """Keep the score of a trial or a final run."""
        task = job.spec.task.key
        if job.role == "trial" and (score := objective(record)) is not None:
            best = self._trials.setdefault(task, {})
            best[job.recipe] = max(score, best.get(job.recipe, score))
        if job.role == "final" and (score := final_score(record)) is not None:
            studies = self._finals.setdefault(task, {}).setdefault(job.recipe, {})
            studies.setdefault(job.study, []).append(score)

    def _show(self) -> None:
        count = self.done.total()
        if self._live:
            self._bar.update(self._bar_task, completed=count, total=self.total)
            about = Text(", ".join(filter(None, (self.doing, self.left))))
            table = self._table()
            self._live.update(Group(self._bar, about, *([table] if table.row_count else [])))
            return
        now = time.monotonic()
        if self._ran and (now - self._last_line >= PLAIN_EVERY_S or count == self.total):
            self._last_line = now
            leading = [f"{task}: {' '.join(filter(None, parts))} ({of})" for task, *parts, of in self.highest()]
            said = [", ".join(filter(None, (f"{count}/{self.total} runs", self.doing, self.left)))]
            print("; highest mean so far, ".join([*said, ", ".join(leading)] if leading else said), flush=True)

    def _table(self) -> Table:
        table = Table(title="highest mean MAP@R so far", title_justify="left", box=None)
        for name in ("task", "recipe", "MAP@R", "95 % interval", "of"):
            table.add_column(name)
        for row in self.highest():
            table.add_row(*row)
        return table


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s` or `1 h 05 min`.

    >>> duration(200)
    '3 min 20 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextlib.contextmanager
def download_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each file on a terminal; nothing elsewhere."""
    bars: dict[str, TaskID] = {}
    with Bar("{task.description}", BarColumn(), DownloadColumn(), disable=not sys.stdout.isatty()) as bar:

        def show(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = bar.add_task(file, total=total)
            bar.update(bars[file], completed=done, total=total)

        yield show


@contextlib.contextmanager
def rows_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar of rows on a terminal; elsewhere a line now and then."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, disable=not sys.stdout.isatty()) as bar:
        task: TaskID | None = None
        last = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal task, last
            task = bar.add_task("", total=total) if task is None else task
            bar.update(task, completed=done)
            if bar.disable and time.monotonic() - last >= PLAIN_EVERY_S:
                last = time.monotonic()
                print(f"{done:,} of {total:,}", flush=True)

        yield show
