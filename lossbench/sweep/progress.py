"""Watching a sweep: a live board on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from lossbench.executors import interrupt
from lossbench.sweep.jobs import Job, Record, objective

PLAIN_EVERY_S = 10.0


class Board:
    """Done / total, current best of every recipe, time left."""

    def __init__(self) -> None:
        self.console = Console(stderr=False)
        self.total = self.done = self.reused = self.failed = 0
        self.best: dict[tuple[str, str], float] = {}
        self._spent = 0.0
        self._measured = 0
        self._workers = 1
        self._started = self._last_line = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar_task = self._bar.add_task("runs", left="")
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
        """Stop drawing and leave the terminal clean."""
        if self._live:
            self._live.stop()

    def start(self, total: int, workers: int) -> None:
        """Remember how much there is to do."""
        self.total, self._workers = total, workers
        self._bar.update(self._bar_task, total=total)
        self.message(f"{total} planned runs on {workers} worker{'s' if workers > 1 else ''}")
        self._show()

    def finished(self, job: Job, record: Record, *, reused: bool) -> None:
        """Count a run and show it."""
        self.done += 1
        self.reused += reused
        self.failed += record["status"] == "failed"
        if not reused:
            self._spent += float(record.get("cost", {}).get("run_wall_s") or 0.0)
            self._measured += 1
        if job.role == "trial" and (score := objective(record)) is not None:
            key = (job.spec.task.key, job.recipe)
            self.best[key] = max(score, self.best.get(key, score))
        self._show()

    def message(self, text: str) -> None:
        """Print one line above the board."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def left_s(self) -> float | None:
        """Seconds that the remaining runs will take, from the mean of those that ran."""
        if not self._measured:
            return None
        return self._spent / self._measured * (self.total - self.done) / self._workers

    def _show(self) -> None:
        left = "" if self.left_s is None else f"about {duration(self.left_s)} left"
        if self._live:
            self._bar.update(self._bar_task, completed=self.done, total=self.total, left=left)
            self._live.update(Group(self._bar, self._best_table()))
            return
        now = time.monotonic()
        if self._measured and (now - self._last_line >= PLAIN_EVERY_S or self.done == self.total):
            self._last_line = now
            print(f"{self.done}/{self.total} runs, {left}", file=sys.stdout, flush=True)

    def _best_table(self) -> Table:
        table = Table(title="best validation MAP@R so far", title_justify="left", box=None)
        table.add_column("task")
        table.add_column("recipe")
        table.add_column("val MAP@R", justify="right")
        for (task, recipe), score in sorted(self.best.items()):
            table.add_row(task, recipe, f"{score:.3f}")
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
