"""Is the inference right? Errors, coverage and power of `lossbench.statistics` where the truth is known.

Six recipes, fifteen pairs, with the spreads that were measured on the shipped tasks (`SPREADS`). A score is the
recipe's true mean, plus the study's luck, common to all, plus the recipe's own luck in the study, of five shapes.
Errors are counted over all looks up to `MOST` studies: whoever extends a run after seeing its results can do no worse
than to look every time. Forty recipes stand for the catalogue, with racing from the second study on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lossbench.statistics.effects import FloatArray
from lossbench.statistics.families import Leaders
from lossbench.statistics.looks import Look, looks_until
from lossbench.statistics.multiplicity import shaffer, step_down, steps
from lossbench.statistics.racing import clearly_beaten

ALPHA = 0.05
MOST = 72  # studies; the error of all later looks is below a hundredth
SPREADS: Mapping[str, tuple[float, ...]] = {
    # Standard deviation of a recipe between studies: of a pair's effect it is .004 to .010 when trained to the end, ...
    "converged": (0.003, 0.003, 0.004, 0.005, 0.006, 0.008),
    # ... and .014 to .028, most of it from the search, after four epochs
    "not converged": (0.010, 0.010, 0.014, 0.014, 0.018, 0.022),
}
MEANS: Mapping[str, tuple[float, ...]] = {
    "all equal": (0, 0, 0, 0, 0, 0),
    "two below four": (-0.02, -0.02, 0, 0, 0, 0),
    "three pairs": (-0.02, -0.02, -0.01, -0.01, 0, 0),
    "five below one": (-0.01, -0.01, -0.01, -0.01, -0.01, 0),
}
POWER_AT = (7, 12, 24)  # studies
ZERO = 1e-12
ERRORS = ("error", "error_once", "error_unspent")
REFERENCE = 10
CATALOGUE_SHAPES = ("normal", "heavy-tailed", "sometimes failing")
SHAPES = ("normal", "skewed", "heavy-tailed", "bounded", "sometimes failing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A truth: means (recipes,), standard deviations (recipes,) between studies, and the shape of a study's luck."""

    means: FloatArray
    spreads: FloatArray
    shape: str

    def draw(self, generator: np.random.Generator, repetitions: int, studies: int) -> FloatArray:
        """Scores (repetitions, recipes, studies)."""
        size = repetitions, self.means.size, studies
        common = 0.01 * generator.normal(size=(repetitions, 1, studies))
        own = self.spreads[:, None] * _luck(generator, self.shape, size)
        return self.means[:, None] + common + own

    @property
    def truth(self) -> FloatArray:
        """True differences of all pairs (pairs,)."""
        return np.array([a - b for a, b in combinations(self.means, 2)])


def case(truth: str, spread: str, shape: str) -> Case:
    """One of the named cases."""
    return Case(means=np.array(MEANS[truth], dtype=float), spreads=np.array(SPREADS[spread]), shape=shape)


def _luck(generator: np.random.Generator, shape: str, size: tuple[int, ...]) -> FloatArray:
    """Noise of mean 0 and standard deviation 1."""
    drawn: FloatArray
    if shape == "normal":
        drawn = generator.normal(size=size)
    elif shape == "skewed":  # scores fall further than they rise
        drawn = 1 - generator.exponential(size=size)
    elif shape == "heavy-tailed":
        drawn = generator.standard_t(4, size=size) / np.sqrt(2)
    elif shape == "bounded":  # close to the highest score: a beta distribution against its upper end
        drawn = (generator.beta(4, 1, size=size) - 0.8) / np.sqrt(4 / (25 * 6))
    else:  # one search in ten finds nothing good
        failed = generator.random(size) < 0.1
        drawn = (generator.normal(size=size) - 4 * failed + 0.4) / np.sqrt(1 + 16 * 0.09)
    return drawn


def p_values(differences: FloatArray, looks: tuple[Look, ...]) -> FloatArray:
    """Two-sided paired t tests (looks, ...) of differences (..., studies), each of its look's first studies."""
    found = []
    for look in looks:
        first = differences[..., : look.studies]
        t = first.mean(axis=-1) / (first.std(axis=-1, ddof=1) / np.sqrt(look.studies))
        found.append(2 * special.stdtr(look.studies - 1, -np.abs(t)))
    return np.array(found)


def pairs_of(scores: FloatArray) -> FloatArray:
    """Differences (..., pairs, studies) of scores (..., recipes, studies)."""
    first, second = np.array(list(combinations(range(scores.shape[-2]), 2))).T
    return scores[..., first, :] - scores[..., second, :]


def decided(p: FloatArray, looks: tuple[Look, ...], recipes: int) -> NDArray[np.bool_]:
    """Whether a look has called a pair different (looks, ..., pairs): `compare_all`'s rule, for many at once."""
    shares = np.array([look.share for look in looks]).reshape(-1, *[1] * (p.ndim - 1))
    smallest = np.minimum.accumulate(p / shares, axis=0)
    return step_down(smallest, steps(recipes)) < ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Shares of the repetitions with an error, and of what was decided; NaN where there is nothing to decide."""

    error: float  # any equal pair called different, by any look
    error_once: float  # the same by one test of seven studies at 5 %
    error_unspent: float  # the same where each look tests at 5 %
    coverage: float  # of the unadjusted 95 % interval at seven studies
    sentences: float  # all pairs at once: the intervals at their own levels hold the truth
    power: tuple[float, ...]  # different pairs decided by 7, 12 and 24 studies
    power_once: tuple[float, ...]  # one test at 5 % of as many studies, without any look before


def simulate(one: Case, repetitions: int, seed: int) -> Found:
    """One case, many times."""
    looks = looks_until(MOST)
    differences = pairs_of(one.draw(np.random.default_rng(seed), repetitions, MOST))
    p, truth, recipes = p_values(differences, looks), one.truth, one.means.size
    equal, different = np.abs(truth) < ZERO, np.abs(truth) > ZERO
    called = decided(p, looks, recipes)
    once = shaffer(p, recipes) < ALPHA
    first, stepped = differences[..., : looks[0].studies], step_down(p[0], steps(recipes))
    places = [[look.studies for look in looks].index(studies) for studies in POWER_AT]
    return Found(
        error=float(called[-1][:, equal].any(axis=1).mean()),
        error_once=float(once[0][:, equal].any(axis=1).mean()),
        error_unspent=float(once[..., equal].any(axis=(0, 2)).mean()),
        coverage=float(_holds(first, truth, np.array(ALPHA)).mean()),
        sentences=float(_holds(first, truth, ALPHA * looks[0].share * p[0] / stepped).all(axis=1).mean()),
        power=tuple(_share(called[place][:, different]) for place in places),
        power_once=tuple(_share(once[place][:, different]) for place in places),
    )


def _holds(differences: FloatArray, truth: FloatArray, level: FloatArray) -> FloatArray:
    """Whether the t interval of each pair at 1 - level holds its truth (repetitions, pairs)."""
    studies = differences.shape[-1]
    half = -special.stdtrit(studies - 1, level / 2) * differences.std(axis=-1, ddof=1) / np.sqrt(studies)
    held: FloatArray = np.abs(differences.mean(axis=-1) - truth) <= half
    return held


def _share(called: FloatArray) -> float:
    return float(called.mean()) if called.size else float("nan")


def equal_by_mistake(shape: str, repetitions: int, seed: int) -> float:
    """How often two recipes at the very edge of the region of equivalence are called equal, by any look."""
    looks, region = looks_until(MOST), 1.0
    one = Case(means=np.array([region, 0.0]), spreads=np.array([0.8, 0.4]), shape=shape)
    differences = pairs_of(one.draw(np.random.default_rng(seed), repetitions, MOST))[:, 0]
    called = np.zeros(repetitions, dtype=bool)
    for look in looks:
        first = differences[:, : look.studies]
        error = first.std(axis=-1, ddof=1) / np.sqrt(look.studies)
        p = special.stdtr(look.studies - 1, -(region - np.abs(first.mean(axis=-1))) / error)
        called |= p < ALPHA * look.share
    return float(called.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Forty recipes over twelve studies, racing from the second on: shares, and mean numbers of recipes."""

    error: float  # any equal pair called different, by any look
    leading: float  # recipes in the leading group after twelve studies
    leading_all_pairs: float  # the same with all 780 pairs tested and nobody dropped
    dropped: float
    best_dropped: float  # share of the best recipes that racing dropped


CATALOGUES: Mapping[str, tuple[float, ...]] = {  # means in standard deviations of a recipe
    "all equal": (0,) * 40,
    "eight best, others spread": (0,) * 8 + tuple(-np.linspace(1, 30, 32)),
    "twenty best, twenty 2.5 sd below": (0,) * 20 + (-2.5,) * 20,
    "twenty best, twenty 4 sd below": (0,) * 20 + (-4.0,) * 20,
}


def catalogue(truth: str, shape: str, repetitions: int, seed: int) -> Catalogue:
    """A catalogue as the sweep runs it: a recipe that is clearly beaten after a study takes no part in the next."""
    means = 0.005 * np.array(CATALOGUES[truth], dtype=float)
    one = Case(means=means, spreads=0.005 * np.tile([0.5, 0.8, 1.0, 1.6], 10), shape=shape)
    scores = one.draw(np.random.default_rng(seed), repetitions, 12)
    found = [_race(table, one) for table in scores]
    error, leading, every, dropped, best = np.mean(found, axis=0)
    return Catalogue(error=error, leading=leading, leading_all_pairs=every, dropped=dropped, best_dropped=best)


def _race(table: FloatArray, one: Case) -> tuple[float, ...]:
    """One repetition, scores (recipes, studies): `Catalogue`'s figures."""
    names, studies = [f"{number:02}" for number in range(len(table))], int(table.shape[1])
    last = dict.fromkeys(names, studies)
    for study in range(2, studies):
        running = [name for name in names if last[name] == studies]
        scores = {name: dict(enumerate(table[int(name), :study].tolist(), 1)) for name in running}
        last |= dict.fromkeys(clearly_beaten(scores, keep=names[REFERENCE : REFERENCE + 1]), study)
    looks, pairs = looks_until(studies), list(combinations(names, 2))
    differences = pairs_of(table)
    p = p_values(differences, looks)
    equal = np.abs(one.truth) < ZERO
    every = decided(p[:, None], looks, len(names))[-1, 0]
    for look, row in zip(looks, p, strict=True):
        row[[min(last[a], last[b]) < look.studies for a, b in pairs]] = np.nan
    family = Leaders(pairs, names, ALPHA, names[REFERENCE])
    smallest, called = np.full(len(pairs), np.nan), np.zeros(len(pairs), dtype=bool)
    first_is_worse = np.zeros(len(pairs), dtype=bool)
    for look, row in zip(looks, p, strict=True):
        smaller = ~np.isnan(row) & ~(row / look.share >= smallest)
        smallest = np.where(smaller, row / look.share, smallest)
        first_is_worse = np.where(smaller, differences[:, : look.studies].mean(axis=1) < 0, first_is_worse)
        loser = [a if worse else b for (a, b), worse in zip(pairs, first_is_worse, strict=True)]
        active = {name for name in names if last[name] >= look.studies}
        called |= family.adjust(smallest, loser, active) < ALPHA
    best = max(range(len(names)), key=lambda number: table[number].mean())
    beaten = {int(b) if a == names[best] else int(a) for (a, b), yes in zip(pairs, every, strict=True)
              if yes and names[best] in (a, b)}  # fmt: skip
    gone = np.array([last[name] < studies for name in names])
    top = one.means == one.means.max()
    return (
        float(called[equal].any()), float(len(family.leading)), float(len(names) - len(beaten)),
        float(gone.sum()), float(gone[top].mean()),
    )  # fmt: skip


def lines(*, repetitions: int = 10_000, races: int = 2_000) -> Iterator[str]:
    """The tables of docs/protocol.md, as Markdown."""
    yield "| spread | shape | wrong | once | unspent | coverage | all 15 | decided at 7, 12, 24 | without looks |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for spread in SPREADS:
        for shape in SHAPES:
            found = [simulate(case(truth, spread, shape), repetitions, seed) for seed, truth in enumerate(MEANS)]
            yield _line(
                spread, shape, *[_percent(max(getattr(one, name) for one in found)) for name in ERRORS],
                _percent(min(one.coverage for one in found)), _percent(min(one.sentences for one in found)),
                _powers([one.power for one in found]), _powers([one.power_once for one in found]),
            )  # fmt: skip
    yield ""
    yield "| shape | called equal at the edge of the region |"
    yield "|---|---|"
    for seed, shape in enumerate(SHAPES):
        yield _line(shape, _percent(equal_by_mistake(shape, repetitions, seed)))
    yield ""
    yield "| forty recipes | shape | wrong | leading | by 780 pairs | dropped | best dropped |"
    yield "|---|---|---|---|---|---|---|"
    for seed, truth in enumerate(CATALOGUES):
        for shape in CATALOGUE_SHAPES:
            one = catalogue(truth, shape, races, seed)
            numbers = f"{one.leading:.1f}", f"{one.leading_all_pairs:.1f}", f"{one.dropped:.1f}"
            yield _line(truth, shape, _percent(one.error), *numbers, _percent(one.best_dropped))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _powers(of_cases: list[tuple[float, ...]]) -> str:
    return ", ".join(f"{100 * share:.0f}" for share in np.nanmean(of_cases, axis=0)) + " %"
