"""The tables of a report, computed before anything is drawn: one function a table, all of one task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lossbench.report.evidence.comparisons import FOLD_ACCURACY, QUALITY, Evidence, Figure, distance_figures, summary
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections.findings import verdict_cell
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.statistics.power import StudiesNeeded
from lossbench.statistics.verdicts import Comparison, PairVerdict

ARROWS = {1: "↑", -1: "↓", 0: ""}


def ranking(evidence: Evidence, task: str) -> Table:
    """Recipes and baselines by mean test MAP@R, with interval, tie group, effect, default score and troubles."""
    comparison, material = evidence.primary[task], evidence.material
    lettered = comparison is None or bool(comparison.letters)
    columns = [
        Column("recipe", numeric=False),
        Column("MAP@R", "mean, ↑"),
        Column("95 % interval", "of the mean"),
        Column("group", "tie group", numeric=False) if lettered else Column("better / worse", "than so many"),
        Column(f"vs {material.reference}", "paired effect"),
        Column("95 % interval", "of the effect"),
        Column("p", "Holm"),
        Column("verdict", f"vs {material.reference}", numeric=False),
        Column("default", "MAP@R untuned"),
        Column("P@1", "mean, ↑"),
        Column("seeds", "finished"),
        Column("troubles", "of these runs", numeric=False),
    ]
    groups = _group_cells(comparison) if comparison else {}
    rows = [_ranking_row(evidence, task, name, comparison, groups) for name in by_mean(material, task)]
    group = (
        "Recipes that share a letter of the tie group were not shown to differ (Holm over all pairs of recipes). "
        if lettered
        else "Better / worse: than how many recipes a recipe was shown to be so (Holm over all pairs of recipes); from "
        "the rest it could not be told. "
    )
    notes = [
        f"{group}Effects are paired over seeds against {material.reference}; intervals are unadjusted. Baselines are "
        "not trained and stand outside the family of tests.",
        "Default: the same recipe with its documented parameters, over the same seeds.",
    ]
    return make_table("ranking", f"Test MAP@R on the sphere, {task}", columns, rows, notes=notes)


def effects(evidence: Evidence, task: str) -> Table:
    """Every pair of recipes on test MAP@R."""
    comparison = evidence.primary[task]
    columns = [
        Column("a", numeric=False),
        Column("b", numeric=False),
        Column("a − b", "MAP@R"),
        Column("95 % interval", "unadjusted"),
        Column("p", "t test"),
        Column("p", "Holm"),
        Column("p", "sign flip"),
        Column("verdict on a", numeric=False),
        Column("seeds", "paired"),
        Column("detectable", "power 0.8"),
        Column("needed", "seeds"),
        Column("note", numeric=False),
    ]
    pairs = _best_first(comparison) if comparison else []
    notes = (
        "Detectable: the smallest difference that these seeds find with power 0.8 at Holm's strictest level. Needed: "
        "seeds for an effect of the observed size, which is optimistic where the effect was picked for its size.",
    )
    return make_table(
        "effects",
        f"All pairs of recipes on test MAP@R, {task}",
        columns,
        [_effect_row(pair) for pair in pairs],
        notes=notes,
        filterable=True,
    )


def quality(evidence: Evidence, task: str) -> Table:
    """Retrieval, classification and verification figures of every recipe and baseline."""
    title = f"Retrieval, classification and verification on test, {task}"
    note = "Means over seeds. MAP@R on the sphere is the confirmatory figure; every other column is exploratory."
    return _figures_table(evidence, task, "quality", title, QUALITY, note)


def distances(evidence: Evidence, task: str, space: str) -> Table:
    """Distance statistics of one space."""
    where = "on the unit sphere" if space == "sphere" else "in the raw space"
    note = "Means over seeds with tie-group letters where a direction is wanted and a dozen are enough; exploratory. "
    note += (
        "Raw distances shrink when a loss merely scales the embeddings: compare ratios only."
        if space == "euclidean"
        else "Arrows: the wanted direction; no arrow: a description, not a goal."
    )
    title = f"Distances within and between classes {where}, {task}"
    return _figures_table(evidence, task, f"distances-{space}", title, distance_figures(space), note)


def tuned(evidence: Evidence, task: str) -> Table:
    """The values that tuning chose, with the validation score of the chosen trial and the fate of all trials."""
    material = evidence.material
    names = material.columns("param.")
    columns = [
        Column("recipe", numeric=False),
        Column("chosen trial"),
        Column("MAP@R", "validation"),
        *[Column(name.removeprefix("param."), numeric=name != "param.miner") for name in names],
        Column("trials"),
        Column("troubles", "of these trials", numeric=False),
    ]
    rows = [_tuned_row(material, task, recipe, names) for recipe in material.recipes]
    notes = ("Chosen on validation. Trial 0 is the recipe's documented default.",)
    return make_table("tuned", f"Tuned values, {task}", columns, [row for row in rows if row], notes=notes)


def seeds(evidence: Evidence, task: str) -> Table:
    """Test MAP@R of every final run and baseline, a column a seed."""
    material = evidence.material
    rows = material.table[(material.table["task"] == task) & material.table["role"].isin(["final", "baseline"])]
    known = sorted(rows["seed"].unique())
    columns = [Column("recipe", numeric=False), *[Column(f"seed {seed}") for seed in known]]
    table = []
    for name in by_mean(material, task):
        found = material.values(task, name, PRIMARY)
        rows = material.rows(task, name).sort_values("status", key=lambda statuses: statuses != "ok")
        troubles = dict(zip(rows["seed"], rows["status"], strict=True))  # of several folds, one in trouble is named
        cells = [_seed_cell(found.get(seed, math.nan), str(troubles.get(seed, ""))) for seed in known]
        table.append(Row((_name_cell(material, name), *cells), _kind(material, name)))
    return make_table("seeds", f"Test MAP@R of every seed, {task}", columns, table)


def folds(evidence: Evidence, task: str) -> Table | None:
    """Test figures by fold, each the mean over seeds, with the mean and its standard error over folds."""
    material, count = evidence.material, evidence.material.folds(task)
    if count == 1:
        return None
    figure = next(figure for figure in (FOLD_ACCURACY, QUALITY[0]) if material.has(task, figure.column))
    columns = [Column("recipe", numeric=False), *[Column(f"fold {fold}") for fold in range(count)]]
    columns += [Column("mean", "over folds"), Column("standard error", "over folds")]
    rows = []
    for name in by_mean(material, task):
        runs = material.rows(task, name)
        means = [float(runs.loc[runs["fold"] == fold, figure.column].mean()) for fold in range(count)]
        mean, error = float(np.mean(means)), float(np.std(means, ddof=1)) / math.sqrt(count)
        cells = [Cell(formats.score(value), value) for value in (*means, mean, error)]
        rows.append(Row((_name_cell(material, name), *cells), _kind(material, name)))
    notes = (
        f"Each fold is the mean over seeds. {count} folds. Verdicts are paired over seeds, a seed's score being its "
        "mean over folds; the standard error over folds says how much the choice of test classes matters.",
    )
    return make_table("folds", f"Test {figure.label} by fold, {task}", columns, rows, notes=notes)


def every_run(evidence: Evidence, task: str) -> Table:
    """One row a run: role, seed, status, chosen epoch, scores, id."""
    material = evidence.material
    columns = [
        Column("recipe", numeric=False),
        Column("role", numeric=False),
        Column("trial"),
        Column("seed"),
        *([Column("fold")] if material.folds(task) > 1 else []),
        Column("status", numeric=False),
        Column("chosen epoch"),
        Column("MAP@R", "validation"),
        Column("MAP@R", "test"),
        Column("run", numeric=False),
    ]
    rows = material.table[material.table["task"] == task]
    return make_table(
        "runs", f"Every run, {task}", columns, [_run_row(material, row) for _, row in rows.iterrows()], filterable=True
    )


def by_mean(material: Material, task: str) -> list[str]:
    """Recipes and baselines that have any final run, highest mean test MAP@R first; those without a score last."""
    names = [name for name in (*material.recipes, *material.baselines) if len(material.rows(task, name))]
    means = {name: material.mean(task, name, PRIMARY) for name in names}
    return sorted(names, key=lambda name: (math.isnan(means[name]), -means[name] if means[name] == means[name] else 0))


def _ranking_row(
    evidence: Evidence, task: str, name: str, comparison: Comparison | None, groups: Mapping[str, Cell]
) -> Row:
    material = evidence.material
    found = summary(material, task, name, PRIMARY)
    rows = material.rows(task, name)
    pair = _versus_reference(material, comparison, name)
    verdict, mark = verdict_cell(pair)
    if name == material.reference:
        verdict, mark = "reference", "muted"
    default = material.mean(task, name, PRIMARY, "default") if name in material.recipes else math.nan
    return Row(
        (
            _name_cell(material, name),
            Cell(formats.score(float(found.mean)), float(found.mean), "strong"),
            Cell(formats.interval(float(found.low), float(found.high)), float(found.low)),
            groups.get(name, Cell(formats.NONE)),
            *_effect_cells(pair),
            Cell(verdict, mark=mark),
            Cell(formats.score(default), default),
            _mean_cell(material, task, name, "test.sphere.precision_at_1"),
            Cell(str(rows["seed"].nunique()), float(rows["seed"].nunique())),
            _troubles_cell(rows["status"]),
        ),
        _kind(material, name),
    )


def _group_cells(comparison: Comparison) -> dict[str, Cell]:
    """The letters of each recipe's tie groups; where there are none, how many recipes it is better and worse than."""
    if letters := comparison.letters:
        return {name: Cell(own) for name, own in letters.items()}
    counts = comparison.better_worse
    return {name: Cell(f"{better} / {worse}", float(better - worse)) for name, (better, worse) in counts.items()}


def _effect_cells(pair: PairVerdict | None) -> tuple[Cell, Cell, Cell]:
    if pair is None:
        return Cell(formats.NONE), Cell(formats.NONE), Cell(formats.NONE)
    effect = pair.effect
    return (
        Cell(formats.signed(effect.mean), effect.mean),
        Cell(formats.interval(effect.low, effect.high), effect.low),
        Cell(formats.p_value(pair.p_adjusted), pair.p_adjusted),
    )


def _effect_row(pair: PairVerdict) -> Row:
    effect = pair.effect
    verdict, mark = verdict_cell(pair)
    needed = pair.studies_for_difference
    return Row(
        (
            Cell(pair.a),
            Cell(pair.b),
            Cell(formats.signed(effect.mean), effect.mean, "strong"),
            Cell(formats.interval(effect.low, effect.high), effect.low),
            Cell(formats.p_value(effect.p), effect.p),
            Cell(formats.p_value(pair.p_adjusted), pair.p_adjusted),
            Cell(formats.p_value(pair.p_sign_flip), pair.p_sign_flip),
            Cell(verdict, mark=mark),
            Cell(str(effect.n), float(effect.n)),
            Cell(formats.score(pair.smallest_found), pair.smallest_found),
            Cell(_needed(needed), float(needed.most or math.inf) if needed else math.nan),
            Cell(pair.note),
        )
    )


def _needed(needed: StudiesNeeded | None) -> str:
    """`12 to 24`: the looks between which an answer is to be expected."""
    if needed is None or needed.least is None:
        return formats.NONE
    if needed.least == needed.most:
        return formats.count(needed.least)
    return f"{formats.count(needed.least)} to {formats.count(needed.most) if needed.most else 'more'}"


def _figures_table(
    evidence: Evidence, task: str, name: str, caption: str, figures: Iterable[Figure], note: str
) -> Table:
    material = evidence.material
    figures = [figure for figure in figures if material.has(task, figure.column)]
    columns = [Column("recipe", numeric=False)]
    columns += [Column(figure.label, ARROWS[figure.direction]) for figure in figures]
    rows = [
        Row(
            (
                _name_cell(material, recipe),
                *[_figure_cell(evidence, task, recipe, figure) for figure in figures],
            ),
            _kind(material, recipe),
        )
        for recipe in by_mean(material, task)
    ]
    return make_table(name, caption, columns, rows, notes=(note,))


def _figure_cell(evidence: Evidence, task: str, recipe: str, figure: Figure) -> Cell:
    found = summary(evidence.material, task, recipe, figure.column)
    mean = float(found.mean)
    comparison = evidence.comparison(task, figure)
    letters = comparison.letters.get(recipe, "") if comparison else ""
    text = formats.score(mean) if abs(mean) < 100 or math.isnan(mean) else formats.significant(mean)
    return Cell(f"{text} {letters}".rstrip(), mean)


def _tuned_row(material: Material, task: str, recipe: str, names: list[str]) -> Row | None:
    finals, trials = material.rows(task, recipe), material.rows(task, recipe, "trial")
    if not len(finals):
        return None
    chosen = int(finals["trial"].iloc[0])
    of_chosen = trials[trials["trial"] == chosen]
    score = float(of_chosen[VALIDATION].iloc[0]) if VALIDATION in trials and len(of_chosen) else math.nan
    values = [finals[name].iloc[0] for name in names]
    return Row(
        (
            Cell(recipe),
            Cell(str(chosen), float(chosen)),
            Cell(formats.score(score), score),
            *[Cell(formats.parameter(value), value if isinstance(value, float) else str(value)) for value in values],
            Cell(str(len(trials)), float(len(trials))),
            _troubles_cell(trials["status"]),
        )
    )


def _run_row(material: Material, row: object) -> Row:
    get = row.get  # type: ignore[attr-defined]  # a row of the table

    def number(column: str) -> float:
        value = get(column)
        return math.nan if pd.isna(value) else float(value)

    val, test, epoch, trial = number(VALIDATION), number(PRIMARY), number("best_epoch"), number("trial")
    return Row(
        (
            Cell(str(get("recipe"))),
            Cell(str(get("role"))),
            Cell(formats.count(trial), trial),
            Cell(str(get("seed")), float(get("seed"))),
            *([Cell(formats.count(number("fold")), number("fold"))] if material.folds(str(get("task"))) > 1 else []),
            Cell(str(get("status")), mark="" if get("status") == "ok" else "down"),
            Cell(formats.count(epoch), epoch),
            Cell(formats.score(val), val),
            Cell(formats.score(test), test),
            Cell(str(get("run_id"))),
        ),
        _kind(material, str(get("recipe"))),
    )


def _best_first(comparison: Comparison) -> list[PairVerdict]:
    """Pairs turned so that the higher mean comes first, in the order of the ranking."""
    ranked = [standing.recipe for standing in comparison.ranking]
    return [comparison.pair(a, b) for index, a in enumerate(ranked) for b in ranked[index + 1 :]]


def _versus_reference(material: Material, comparison: Comparison | None, name: str) -> PairVerdict | None:
    known = {standing.recipe for standing in comparison.ranking} if comparison else set()
    if comparison is None or name == material.reference or not {name, material.reference} <= known:
        return None
    return comparison.pair(name, material.reference)


def _name_cell(material: Material, name: str) -> Cell:
    return Cell(name, mark="muted" if name in material.baselines else "")


def _kind(material: Material, name: str) -> str:
    return "baseline" if name in material.baselines else "recipe"


def _mean_cell(material: Material, task: str, name: str, column: str) -> Cell:
    mean = material.mean(task, name, column)
    return Cell(formats.score(mean), mean)


def _seed_cell(value: float, status: str) -> Cell:
    trouble = status not in ("", "ok")
    text = formats.score(value) + (f" ({status})" if trouble else "")
    return Cell(text, value, "down" if trouble else "")


def _troubles_cell(statuses: Iterable[object]) -> Cell:
    """How many runs diverged, collapsed or failed, and of how many."""
    found = [str(value) for value in statuses]
    hits = {status: found.count(status) for status in ("diverged", "collapsed", "failed")}
    total = sum(hits.values())
    text = ", ".join(f"{count}/{len(found)} {status}" for status, count in hits.items() if count) or "none"
    return Cell(text, float(total), "down" if total else "muted")
