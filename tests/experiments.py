"""Small real experiments for tests: digits, a few epochs, in this process or in workers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from unittest import mock

from text_only import text_only

from lossbench import report
from lossbench.executors.processes import SerialExecutor
from lossbench.specification.plan import Plan
from lossbench.specification.spec import RunSpec
from lossbench.store import Store
from lossbench.sweep import launch
from lossbench.sweep.sweep import Sweep

ABLATION = Path(__file__).parents[1] / "experiments" / "ablation.toml"
DIGITS = 'tasks=[{dataset="digits", protocol="closed-set"}]'
DIGITS_OPEN = 'tasks=[{dataset="digits", protocol="open-set"}]'
TINY = (
    DIGITS,
    "training.epochs=2",
    "training.schedule=constant",
    "budget.studies=1",
    "budget.trials=2",
    "budget.candidates=1",
    "budget.candidate_seeds=1",
    "budget.seeds=2",
    "budget.longer=0",
    "embedding_dim=4",
)


class Quiet:
    """Progress that only remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.reused = self.executed = self.total = 0

    def expect(self, planned: Any, studies: int) -> None:
        self.total = sum(planned.values())

    def start(self, workers: int) -> None: ...

    def finished(self, job: Any, record: Any, *, reused: bool) -> None:
        self.reused += reused
        self.executed += not reused

    def message(self, text: str) -> None:
        self.messages.append(text)


class StoppingExecutor(SerialExecutor):
    """Runs `limit` calls, then behaves like Ctrl-C."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def submit(self, fn, spec):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().submit(fn, spec)


def tiny_plan(*overrides: str, plugins: tuple[Path, ...] = ()) -> Plan:
    return launch.prepare(ABLATION, [*TINY, *overrides], plugins)


def run_spec(recipe: str = "softmax", *overrides: str, seed: int = 1, final: bool = True, **values: Any) -> RunSpec:
    """One run of a recipe at its default parameters but for `values`."""
    plan = tiny_plan(f'recipes=["{recipe}"]', *overrides)
    params = {**plan.recipes[0].defaults, **{key.replace("lambda_", "lambda"): v for key, v in values.items()}}
    return plan.run_spec(plan.experiment.tasks[0], plan.recipes[0], params, seed=seed, final=final)


def sweep(
    plan: Plan, runs: Path, executor: Any = None, *, exported: bool = False, **options: Any
) -> tuple[Store, Quiet]:
    """Run what is missing; the database for optuna-dashboard, which takes long to make, only for who reads it."""
    store, progress = Store(runs), Quiet()
    with contextlib.nullcontext() if exported else mock.patch("lossbench.sweep.sweep.export"):
        Sweep(plan, store, executor or SerialExecutor(), progress, **options).run()
    return store, progress


def report_of(runs: Path, into: Path) -> tuple[str, str]:
    """The report of a swept experiment, without figures: its Markdown, and the experiment file that it gives."""
    with text_only():
        list(report.write("ablation", runs, into / "reports"))
    folder = into / "reports" / "ablation"
    return (folder / "report.md").read_text(), (folder / "experiment.toml").read_text()
