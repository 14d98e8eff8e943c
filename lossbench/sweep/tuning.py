"""The search of one recipe in one study: quasi-random points, then a model's, then a choice by fresh seeds.

A search is a function of its results: asked in generations of fixed size and told in the order of the trials, it asks
the same next points whatever ran them, so that resuming is a replay and there is no file of it to corrupt.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from lossbench.plugins import Choice, Float, Int, Range
from lossbench.specification.recipes import Recipe
from lossbench.specification.values import Value

MODEL_FROM = 16  # trials below which no model proposes: half of fewer tells it nothing that points beside them do not
GENERATION = 4  # trials that the model proposes at once, whatever the number of workers

Point = dict[str, Value]


class Search:
    """The trials of one recipe in one study of a task; of a recipe with something to tune.

    Trial 0 is the default. The next ones are a scrambled Halton sequence (Owen 2017, arXiv:1706.02808): the learning
    rate in base 2, with a scramble that all recipes of the study share, so that a recipe with more parameters sees no
    fewer of them; the others in bases 3, 5, 7 and so on, with a scramble of the recipe's own. (Optuna's
    quasi-random sampler beside a given rate would move in step with it.) From MODEL_FROM trials on, the second half is
    proposed by Optuna's TPE.

    Args:
        rates_seed: of the learning rates; the same for every recipe of a study.
        seed: of all else, the recipe's own.
    """

    def __init__(self, recipe: Recipe, trials: int, *, rates_seed: int, seed: int) -> None:
        self.recipe = recipe
        self.searched = recipe.searched
        self.trials = trials
        self.points: list[Point] = []
        self.scores: list[float | None] = []
        self._asked: list[optuna.Trial] = []
        self._seed = seed % 2**32
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize", sampler=self._model())
        self.study.enqueue_trial({name: recipe.defaults[name] for name in self.searched})
        for point in _sequence(self.searched, self.spread - 1, rates_seed, seed):
            self.study.enqueue_trial(point)

    @property
    def spread(self) -> int:
        """How many trials the default and the sequence make up."""
        return self.trials if self.trials < MODEL_FROM else math.ceil(self.trials / 2)

    def ask(self) -> list[Point]:
        """The parameter values of the next generation; empty when the budget is spent.

        Raises:
            RuntimeError: the last generation has not been told.
        """
        if len(self.scores) < len(self.points):
            raise RuntimeError("ask: the last generation has not been told")
        known = len(self.points)
        size = self.spread if known < self.spread else min(GENERATION, self.trials - known)
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

    def shortlist(self, candidates: int) -> list[int]:
        """The trials to try again: the default and the highest others, best first; the default alone if it is all.

        Equal scores stand in the order of the trials; failed trials come last, so that the number is always the same.
        """
        others = sorted(range(1, self.trials), key=lambda number: (-_or_worst(self.scores[number]), number))
        return [0, *others[:candidates]]

    def _model(self) -> optuna.samplers.BaseSampler:
        with _experimental():
            return optuna.samplers.TPESampler(
                seed=self._seed, n_startup_trials=0, multivariate=True, group=False, constant_liar=True
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The trial that the final runs of a recipe take, and what chose it.

    Attributes:
        candidates: the trials that were tried again, the default first, then by score.
        scores: their own scores as trials, None where one failed: what they were picked by, and so too high.
        again: the scores of their fresh runs, which alone decided; empty where the default was the only candidate.
    """

    trial: int
    candidates: tuple[int, ...]
    scores: tuple[float | None, ...]
    again: tuple[tuple[float | None, ...], ...]


def choose(
    candidates: Sequence[int], scores: Sequence[float | None], again: Sequence[Sequence[float | None]]
) -> Chosen:
    """The candidate with the highest mean over its fresh runs, of equals the lowest trial: the default before all.

    A candidate of which a fresh run failed (None) is out; where all are, the default is taken.
    """
    means = {
        trial: math.fsum(score for score in runs if score is not None) / len(runs)
        for trial, runs in zip(candidates, again, strict=False)
        if None not in runs
    }
    trial = max(means, key=lambda trial: (means[trial], -trial), default=0)
    return Chosen(
        trial=trial, candidates=tuple(candidates), scores=tuple(scores), again=tuple(tuple(runs) for runs in again)
    )


def _or_worst(score: float | None) -> float:
    return -math.inf if score is None or math.isnan(score) else score


def _sequence(searched: Mapping[str, Range], count: int, rates_seed: int, seed: int) -> list[Point]:
    """`count` points of the search space, spread evenly."""
    if count < 1:
        return []
    from scipy.stats import qmc  # half a second

    rates = qmc.Halton(1, scramble=True, seed=rates_seed % 2**32).random(count)[:, 0]
    others = [name for name in searched if name != "lr"]
    shares = qmc.Halton(1 + len(others), scramble=True, seed=seed % 2**32).random(count)
    columns = {"lr": rates, **dict(zip(others, shares[:, 1:].T, strict=True))}
    return [
        {name: _within(allowed, float(columns[name][number])) for name, allowed in searched.items()}
        for number in range(count)
    ]


def _within(allowed: Range, share: float) -> Value:
    """The value at a share in [0, 1) of a range, by the range's own scale."""
    if isinstance(allowed, Choice):
        return allowed.options[int(share * len(allowed.options))]
    if isinstance(allowed, Int):
        return allowed.low + int(share * (allowed.high - allowed.low + 1))
    if allowed.log:
        return min(allowed.low * math.exp(share * math.log(allowed.high / allowed.low)), allowed.high)
    return allowed.low + share * (allowed.high - allowed.low)


def export(studies: Mapping[str, optuna.Study], path: Path) -> None:
    """Write the studies to a SQLite file for optuna-dashboard, replacing it whole."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{temporary}")
    with _experimental():
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


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Without Optuna's warnings that a part of it may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _distribution(allowed: Any) -> optuna.distributions.BaseDistribution:
    if isinstance(allowed, Float):
        return optuna.distributions.FloatDistribution(allowed.low, allowed.high, log=allowed.log)
    if isinstance(allowed, Int):
        return optuna.distributions.IntDistribution(allowed.low, allowed.high)
    return optuna.distributions.CategoricalDistribution(allowed.options)
