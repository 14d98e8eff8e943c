"""Where an effect's variance comes from: the study, the final seed, the test classes; and what less of it would cost.

In a study search and split change together. Only a crossed design tells them apart (`crossed_components`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from lossbench.statistics.effects import check_fraction

MOST_SEEDS = 64  # of a study; more of the same luck


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Variances of an effect: of one study (search and split), of one final seed within it, of the test set's classes.

    `classes` is the variance of the mean itself, since all studies share their test classes. `seed` is NaN where every
    study has a single run: it is then part of `study`. `studies` and `seeds` are those of the data.
    """

    study: float
    seed: float
    classes: float
    studies: int
    seeds: float

    @property
    def shares(self) -> dict[str, float]:
        """Share of each source in the variance of the printed mean: `study`, `seed`, `test classes`; together 1."""
        parts = {
            "study": self.study / self.studies,
            "seed": 0.0 if math.isnan(self.seed) else self.seed / (self.studies * self.seeds),
            "test classes": self.classes,
        }
        total = sum(parts.values())
        return {name: part / total if total > 0 else math.nan for name, part in parts.items()}

    def half_width(self, studies: int, seeds: float, *, confidence: float = 0.95) -> float:
        """Half-width of the t interval over so many studies with so many final seeds each, on these test classes.

        Infinite below two studies.
        """
        check_fraction("confidence", confidence)
        if studies < 2:
            return math.inf
        seed = 0.0 if math.isnan(self.seed) else self.seed / seeds
        return float(special.stdtrit(studies - 1, (1 + confidence) / 2)) * math.sqrt((self.study + seed) / studies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """Variances of an effect in a crossed design: of a search, of a split, of their meeting, of a final seed.

    `seed` is NaN with one run a cell: it is then part of `both`.
    """

    search: float
    split: float
    both: float
    seed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Seconds of one run of each kind."""

    trial_s: float
    candidate_s: float
    final_s: float


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Search:
    """One recipe's search: `trials`, then `candidates` and the default under `candidate_seeds` seeds each."""

    trials: int
    candidates: int
    candidate_seeds: int

    def seconds(self, seeds: int, prices: Prices) -> float:
        """Seconds of one recipe in one study with so many final runs."""
        tried = (self.candidates + 1) * self.candidate_seeds if self.candidate_seeds else 0
        return self.trials * prices.trial_s + tried * prices.candidate_s + seeds * prices.final_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """One way to spend, and the half-width that it buys."""

    search: Search
    seeds: int
    studies: int
    seconds: float
    half_width: float


def variance_components(effects: npt.ArrayLike, *, classes: float = 0.0) -> Components:
    """Components of effects (studies, seeds), seeds paired within a study, by one-way analysis of variance.

    The unbiased estimates of a random-effects model with unequal numbers (Searle, Casella and McCulloch 1992, ch. 3),
    at least zero. NaNs are left out. `classes` is `ClassInterval.class_variance`. ValueError below two studies.
    """
    table = np.asarray(effects, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"effects: shape {table.shape} must be (studies, seeds)")
    rows = [row[~np.isnan(row)] for row in table]
    rows = [row for row in rows if row.size]
    if len(rows) < 2:
        raise ValueError(f"effects: {len(rows)} studies with a value; at least 2 are needed")
    sizes = np.array([row.size for row in rows], dtype=np.float64)
    means, total = np.array([row.mean() for row in rows]), np.concatenate(rows).mean()
    between = float(sizes @ np.square(means - total)) / (len(rows) - 1)
    freedom = sizes.sum() - len(rows)
    typical = (sizes.sum() - np.square(sizes).sum() / sizes.sum()) / (len(rows) - 1)
    seed = math.nan
    if freedom > 0:
        seed = float(sum(np.square(row - row.mean()).sum() for row in rows) / freedom)
    study = max(0.0, (between - (0.0 if math.isnan(seed) else seed)) / typical)
    return Components(study=study, seed=seed, classes=classes, studies=len(rows), seeds=float(typical))


def crossed_components(effects: npt.ArrayLike) -> Crossed:
    """Components of effects (searches, splits) or (searches, splits, seeds), every search under every split.

    Two-way random-effects analysis of variance; estimates at least zero. ValueError unless complete and 2 x 2 or more.
    """
    table = np.asarray(effects, dtype=np.float64)
    table = table[..., None] if table.ndim == 2 else table
    if table.ndim != 3 or min(table.shape[:2]) < 2 or np.isnan(table).any():
        raise ValueError(
            f"effects: shape {table.shape} must be (searches, splits[, seeds]), 2 x 2 or more, without NaN"
        )
    searches, splits, seeds = table.shape
    cells, mean = table.mean(axis=2), table.mean()
    by_search, by_split = cells.mean(axis=1), cells.mean(axis=0)
    of_search = splits * seeds * np.square(by_search - mean).sum() / (searches - 1)
    of_split = searches * seeds * np.square(by_split - mean).sum() / (splits - 1)
    rest = cells - by_search[:, None] - by_split + mean
    of_both = seeds * np.square(rest).sum() / ((searches - 1) * (splits - 1))
    within = float(table.var(axis=2, ddof=1).mean()) if seeds > 1 else math.nan
    return Crossed(
        search=max(0.0, float(of_search - of_both) / (splits * seeds)),
        split=max(0.0, float(of_split - of_both) / (searches * seeds)),
        both=max(0.0, float(of_both - (within if seeds > 1 else 0.0)) / seeds),
        seed=within,
    )


def cost_of_halving(components: Components, search: Search, seeds: int, prices: Prices) -> dict[str, float]:
    """Seconds a recipe beyond today's for half today's half-width: by more `studies`, or by more `seeds` in each.

    `studies` and `seeds` stand for what the data have now. Infinite where no number does it: seeds cannot lessen what
    the search and the split do. More test classes are not for sale.
    """
    now = components.half_width(components.studies, seeds)
    wanted, one_study = now / 2, search.seconds(seeds, prices)
    if not wanted > 0:
        return {"studies": math.inf, "seeds": math.inf}
    studies = components.studies
    while components.half_width(studies, seeds) > wanted:
        studies += 1
    more = (n for n in range(seeds, MOST_SEEDS + 1) if components.half_width(components.studies, n) <= wanted)
    enough = next(more, None)
    return {
        "studies": (studies - components.studies) * one_study,
        "seeds": math.inf if enough is None else components.studies * (enough - seeds) * prices.final_s,
    }


def spendings(
    measured: Mapping[Search, Components], prices: Prices, seconds: float, *, seeds: Iterable[int] = range(1, 9)
) -> list[Spending]:
    """What `seconds` a recipe buy by each measured search and each number of final seeds, narrowest interval first.

    The search's own variance changes with its trials and candidates: `measured` has components for each. All whole
    studies that fit are bought.
    """
    found = []
    for search, components in measured.items():
        for number in seeds:
            studies = int(seconds // search.seconds(number, prices))
            width = components.half_width(studies, number)
            spent = studies * search.seconds(number, prices)
            found.append(Spending(search=search, seeds=number, studies=studies, seconds=spent, half_width=width))
    return sorted(found, key=lambda one: (one.half_width, one.seconds))
