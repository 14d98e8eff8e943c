"""One Optuna study by ask and tell, in generations of fixed size, so that a study is a function of its results."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from lossbench.plugins import Float, Int
from lossbench.specification.recipes import Recipe
from lossbench.specification.spec import Value

GENERATION = 4  # trials asked for at once, whatever the number of workers
STARTUP_TRIALS = 6  # trial 0 and random points before the sampler models anything


class Study:
    """The trials of one recipe on one task.

    Resuming is a replay: ask again, look the runs up, tell. With a seeded sampler and results told in trial
    order the same results give the same next questions, so there is no study file to corrupt.
    """

    def __init__(self, recipe: Recipe, trials: int, seed: int) -> None:
        self.recipe = recipe
        self.searched = recipe.searched
        self.trials = trials if self.searched else 1
        self.points: list[dict[str, Value]] = []
        self.scores: list[float | None] = []
        self._asked: list[optuna.Trial] = []
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=False, constant_liar=True
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.study.enqueue_trial({name: recipe.defaults[name] for name in self.searched})

    def ask(self) -> list[dict[str, Value]]:
        """The parameter values of the next generation; empty when the budget is spent.

        Raises:
            RuntimeError: the last generation has not been told.
        """
        if len(self.scores) < len(self.points):
            raise RuntimeError("ask: the last generation has not been told")
        size = min(GENERATION, self.trials - len(self.points))
        distributions = {name: _distribution(allowed) for name, allowed in self.searched.items()}
        self._asked = [self.study.ask(distributions) for _ in range(size)]
        generation = [{**self.recipe.defaults, **trial.params} for trial in self._asked]
        self.points += generation
        return generation

    def tell(self, scores: Sequence[float | None]) -> None:
        """Report the generation's validation scores in trial order; None for a run that failed."""
        for trial, score in zip(self._asked, scores, strict=True):
            if score is None:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self.study.tell(trial, score)
        self.scores += scores

    @property
    def done(self) -> bool:
        """Whether every trial has been told."""
        return len(self.scores) >= self.trials

    @property
    def best(self) -> dict[str, Value]:
        """The point with the highest score, the first of equals; the default where all failed."""
        ranked = [(score, -number) for number, score in enumerate(self.scores) if score is not None]
        return self.points[-max(ranked)[1] if ranked else 0]


def export(studies: Mapping[str, optuna.Study], path: Path) -> None:
    """Write the studies to a SQLite file for optuna-dashboard, replacing it whole."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{temporary}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name, study in studies.items():
            copied = optuna.create_study(study_name=name, storage=storage, direction="maximize")
            copied.add_trials(study.get_trials(deepcopy=False))
    storage.engine.dispose()
    temporary.replace(path)


def is_export(path: Path) -> bool:
    """Whether a file is a whole database, as far as SQLite can tell."""
    if not path.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def _distribution(allowed: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(allowed, Float):
        return optuna.distributions.FloatDistribution(allowed.low, allowed.high, log=allowed.log)
    if isinstance(allowed, Int):
        return optuna.distributions.IntDistribution(allowed.low, allowed.high)
    return optuna.distributions.CategoricalDistribution(allowed.options)
