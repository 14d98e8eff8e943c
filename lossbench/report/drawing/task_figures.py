"""From evidence to the figures of a task: what is computed here is drawn in `figures`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lossbench.report.drawing import (
    compactness_figure,
    cost_figures,
    figures,
    maps,
    panels,
    planes,
    sweep_figures,
    variance_figures,
)
from lossbench.report.drawing.attempts import Attempts, LeftOut
from lossbench.report.drawing.figures import Bar, Line, Picture, Strip
from lossbench.report.drawing.palette import looks
from lossbench.report.drawing.panels import Histogram
from lossbench.report.evidence import derived, landscape, pooled
from lossbench.report.evidence.comparisons import EQUIVALENCE, SPACES, Evidence, bounds, summary
from lossbench.report.evidence.leaders import letters
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections import costs, equal_time, tuned, tuning_tax, variance
from lossbench.report.sections.recipe_rows import by_mean
from lossbench.specification.claims import STEP_RELATIVE
from lossbench.statistics.effects import MeanInterval, mean_interval

Draw = Callable[[Evidence, str, str], Picture | None]  # of evidence, a task, and the figure's name
# Figures with one line, panel or label a recipe.
NAMES = {"validation": "val"}  # of files, where they are not the kind's
PICKED = {"map", "histograms", "loss", "validation", "tuning", "time", "cost", "fronts", "compactness"}


def pictures(evidence: Evidence, task: str) -> tuple[dict[str, Picture], tuple[LeftOut, ...]]:
    """Every figure of a task that its runs allow, by kind; and those that could not be drawn."""
    material = evidence.material
    if not any(len(material.rows(task, recipe)) for recipe in material.recipes):
        return {}, ()
    key, attempt = f"t{material.tasks.index(task)}", Attempts(task)
    found = {
        kind: attempt(title, partial(draw, evidence, task, f"{key}-{NAMES.get(kind, kind)}"))
        for kind, (title, draw) in FIGURES.items()
    }
    drawn = {kind: picture for kind, picture in found.items() if picture is not None}
    if len(material.featured(task)) < len(material.recipes):
        drawn |= {kind: _noted(drawn[kind], material, task) for kind in PICKED & drawn.keys()}
    return drawn, tuple(attempt.left_out)


def _noted(picture: Picture, material: Material, task: str) -> Picture:
    """With the sentence that says which recipes a figure of some of them shows."""
    others = len(material.featured(task)) - 1
    note = f"Of {len(material.recipes)} recipes, {material.reference} and the {others} others of the highest mean test "
    return replace(picture, caption=f"{picture.caption} {note}MAP@R; tables have all.".strip())


def _headline(evidence: Evidence, task: str, name: str) -> Picture | None:
    material, groups = evidence.material, letters(evidence, task)
    strips = [
        Strip(
            name=recipe,
            scores={study: score for study, score in material.values(task, recipe, PRIMARY).items() if score == score},
            mean=float(found.mean),
            low=float(found.low),
            high=float(found.high),
            letters=groups.get(recipe, ""),
        )
        for recipe in by_mean(material, task)
        if recipe in material.recipes
        for found in [summary(material, task, recipe, PRIMARY)]
        if np.isfinite(found.mean)
    ]
    if not strips:
        return None
    baselines = {each: material.mean(task, each, PRIMARY) for each in material.baselines}
    note = "Dots: studies. Diamond and bar: mean and 95 % interval. Right: mean"
    note += " and tie group." if any(groups.values()) else "."
    return replace(figures.headline(name, task, strips, looks(material.recipes), baselines), caption=note)


def _forest(evidence: Evidence, task: str, name: str) -> Picture | None:
    comparison, reference = evidence.primary[task], evidence.material.reference
    ranked = [standing.recipe for standing in comparison.ranking] if comparison else []
    if comparison is None or reference not in ranked:
        return None
    pairs = [comparison.pair(each, reference) for each in ranked if each != reference]
    bars = [
        Bar(
            name=pair.a,
            mean=pair.effect.mean,
            low=pair.effect.low,
            high=pair.effect.high,
            clear=pair.verdict in ("better", "worse"),
        )
        for pair in pairs
        if pair.effect.n
    ]
    if not bars:
        return None
    look = looks(evidence.material.recipes)
    note = "Filled: shown to differ. Bars: unadjusted 95 % intervals. Grey: the region of practical equivalence."
    return replace(figures.forest(name, task, reference, bars, look, EQUIVALENCE.get(PRIMARY)), caption=note)


def _loss(evidence: Evidence, task: str, name: str) -> Picture | None:
    """Loss by epoch: a geometric mean, whose band stays positive, where every loss is above zero."""
    material = evidence.material
    found = {recipe: material.curves(task, recipe, "loss") for recipe in material.featured(task)}
    found = {recipe: values for recipe, values in found.items() if np.isfinite(values).any()}
    if not found:
        return None
    scale = figures.scale_of(np.concatenate([values.ravel() for values in found.values()]))
    bands = {
        recipe: _exponential(mean_interval(np.log(values))) if scale == "log" else mean_interval(values)
        for recipe, values in found.items()
    }
    note = "Losses of different recipes are on scales of their own: read the shapes, not the heights."
    if scale != "log":
        note += " Some are zero or negative: the axis is linear" + (" near zero." if scale == "symlog" else ".")
    return _curves(material, task, name, "training loss", bands, note, scale)


def _exponential(band: MeanInterval) -> MeanInterval:
    return replace(band, mean=np.exp(band.mean), low=np.exp(band.low), high=np.exp(band.high))


def _validation(evidence: Evidence, task: str, name: str) -> Picture | None:
    material = evidence.material
    found = {recipe: material.curves(task, recipe, "val_map_at_r") for recipe in material.featured(task)}
    bands = {
        recipe: mean_interval(values, bounds=bounds(VALIDATION))
        for recipe, values in found.items()
        if np.isfinite(values).any()
    }
    return _curves(material, task, name, "validation MAP@R", bands) if bands else None


def _curves(
    material: Material,
    task: str,
    name: str,
    title: str,
    bands: Mapping[str, MeanInterval],
    note: str = "",
    scale: figures.Scale = "linear",
) -> Picture:
    lines = [
        Line(name=recipe, x=material.epochs(task, recipe), mean=band.mean, low=band.low, high=band.high)
        for recipe, band in bands.items()
    ]
    found = figures.curves(name, task, lines, looks(material.recipes), title=title, ylabel=title, scale=scale)
    return replace(found, caption=f"Mean over studies with its 95 % interval. {note}".strip())


def _time(evidence: Evidence, task: str, name: str) -> Picture | None:
    material = evidence.material
    grid = equal_time.progress(material, task)
    if not grid:
        return None
    lines = [
        Line(name=recipe, x=seconds, mean=band.mean, low=band.low, high=band.high)
        for recipe, (seconds, band) in grid.items()
        if recipe in material.featured(task)
    ]
    return figures.curves(
        name,
        task,
        lines,
        looks(material.recipes),
        title="validation MAP@R by training time",
        ylabel="validation MAP@R so far",
        xlabel="training time, s",
    )


def _expected(evidence: Evidence, task: str, name: str) -> Picture | None:
    material, lines = evidence.material, []
    for recipe in material.featured(task):
        curve = tuning_tax.curve(material, task, recipe)
        if curve.size and np.isfinite(curve).any():
            nothing = np.full(curve.shape, np.nan)
            lines.append(Line(name=recipe, x=np.arange(1, curve.size + 1), mean=curve, low=nothing, high=nothing))
    if not lines:
        return None
    title = "expected highest validation MAP@R"
    look = looks(material.recipes)
    return figures.curves(name, task, lines, look, title=title, ylabel=title, xlabel="trials")


def _surface(evidence: Evidence, task: str, name: str) -> Picture | None:
    """The first recipe with both lambda and alpha to tune: how much its two parameters matter."""
    material = evidence.material
    for recipe in material.recipes:
        names = ("param.lambda", "param.alpha")
        trials = pooled.trials(material, task, recipe, names)
        trials = trials[(trials[list(names)] > 0).all(axis=1)] if len(trials) else trials
        if len(trials) < 3 or trials["param.lambda"].nunique() < 2 or trials["param.alpha"].nunique() < 2:
            continue
        points = list(trials[[*names, VALIDATION]].astype(float).itertuples(index=False, name=None))
        picked = tuned.chosen(material, task, recipe)
        places = zip(trials["study"], trials["trial"], strict=True)
        rings = [index for index, (study, trial) in enumerate(places) if picked.get(int(study)) == int(trial)]
        found = landscape.landscape(material, task, recipe)
        if found is None:  # too few: the page says so
            continue
        drawn = panels.surface(name, task, recipe, points, landscape.AXES, rings, found)
        return replace(drawn, caption=landscape.note(found))
    return None


def _cost(evidence: Evidence, task: str, name: str) -> Picture | None:
    """Quality against a training step as the cost probe measured it; without a probe against the seconds of a run."""
    material = evidence.material
    rounds = {recipe: _steps(material, task, recipe) for recipe in material.featured(task)}
    points = [_priced(material, task, recipe, found) for recipe, found in rounds.items() if found]
    if not points:
        return run_costs(evidence, task, name)
    label = "training step, in bare steps"
    note = "Crosses: 95 % intervals. Which of two is higher, or cheaper, is for the tests to say: by the tie groups."
    return replace(cost_figures.quality_by_cost(name, task, {label: points}, looks(material.recipes)), caption=note)


def _fronts(evidence: Evidence, task: str, name: str) -> Picture | None:
    """The costs of runs beside those of the probe; without one they stand in its place already."""
    return run_costs(evidence, task, name) if evidence.step_times(task) else None


def run_costs(evidence: Evidence, task: str, name: str) -> Picture | None:
    """Quality against what a run took: seconds, and memory where it tells recipes apart."""
    material, shown = evidence.material, dict[str, list[cost_figures.Priced]]()
    seconds = "CPU" if material.has(task, "cost.train_cpu_s") else "wall"
    kinds = {f"{seconds} seconds of training a run": (f"cost.train_{seconds.lower()}_s", 1.0)}
    if costs.memory_differs(material, task):
        kinds["peak memory, MiB"] = ("cost.peak_memory_bytes", float(costs.MEBIBYTE))
    for label, (column, unit) in kinds.items():
        found = {
            recipe: [value / unit for value in material.values(task, recipe, column).values() if value == value]
            for recipe in material.featured(task)
        }
        points = [_priced(material, task, recipe, values) for recipe, values in found.items() if values]
        shown |= {label: points} if points else {}
    if not shown:
        return None
    note = "Means of the final runs with 95 % intervals over studies. The runs shared the machine: a description."
    return replace(cost_figures.quality_by_cost(name, task, shown, looks(material.recipes)), caption=note)


def _steps(material: Material, task: str, recipe: str) -> list[float]:
    return list(derived.probe_rounds(material, task, recipe, STEP_RELATIVE).values())


def _priced(material: Material, task: str, recipe: str, cost: list[float]) -> cost_figures.Priced:
    return cost_figures.Priced(name=recipe, cost=mean_interval(cost), score=summary(material, task, recipe, PRIMARY))


def _compactness(evidence: Evidence, task: str, name: str) -> Picture | None:
    """Distances to the own class's mean and to the nearest other one, in both spaces."""
    material, found = evidence.material, dict[str, dict[str, compactness_figure.Spread]]()
    for recipe in (*material.featured(task), *material.baselines):
        spreads = {
            shown: _spread(material, task, recipe, space)
            for shown, space in zip(compactness_figure.SPACES, SPACES, strict=True)
        }
        own = {shown: spread for shown, spread in spreads.items() if min(spread.intra, spread.inter) > 0}
        found |= {recipe: own} if own else {}
    if not found:
        return None
    order = sorted(found, key=lambda recipe: min(spread.ratio for spread in found[recipe].values()))
    drawn = compactness_figure.compactness(name, task, {key: found[key] for key in order}, looks(material.recipes))
    note = "Means over studies. The axis is logarithmic: a longer bar is a lower intra/inter, in either space."
    return replace(drawn, caption=note)


def _spread(material: Material, task: str, recipe: str, space: str) -> compactness_figure.Spread:
    intra, inter = (material.mean(task, recipe, f"test.{space}.{figure}") for figure in ("intra_mean", "inter_nearest"))
    ratio = summary(material, task, recipe, f"test.{space}.intra_inter_ratio")
    return compactness_figure.Spread(
        intra=intra, inter=inter, ratio=float(ratio.mean), low=float(ratio.low), high=float(ratio.high)
    )


def _parts(evidence: Evidence, task: str, name: str) -> Picture | None:
    """The parts of a training step as the cost probe measured them."""
    material = evidence.material
    comparison, probed = evidence.step_times(task), derived.probed(material, task)
    if comparison is None:
        return None
    shown = {standing.recipe: standing.recipe for standing in comparison.ranking} | {"backbone alone": derived.BACKBONE}
    found = {
        label: {part.removesuffix("_s"): float(np.median(probed[probe][part])) for part in costs.PROBED}
        for label, probe in shown.items()
    }
    note = "From the cost probe, medians over rounds. Backward holds that of the backbone and that of the loss."
    return replace(cost_figures.parts(name, task, found), caption=note)


def _histograms(evidence: Evidence, task: str, name: str) -> Picture | None:
    material, found = evidence.material, []
    for recipe in (*material.featured(task), "untrained"):
        run = material.representative(task, recipe) if recipe in (*material.recipes, *material.baselines) else None
        arrays = material.arrays(run) if run else {}
        if "histogram.sphere.edges" not in arrays:
            continue
        edges = arrays["histogram.sphere.edges"]
        genuine, impostor = (arrays[f"histogram.sphere.{kind}"] for kind in ("genuine", "impostor"))
        widths = np.diff(edges)
        found.append(
            Histogram(
                name=recipe,
                edges=edges,
                genuine=genuine / max(genuine.sum(), 1) / widths,
                impostor=impostor / max(impostor.sum(), 1) / widths,
            )
        )
    return panels.histograms(name, task, found) if found else None


def _variance(evidence: Evidence, task: str, name: str) -> Picture | None:
    found, material = variance.found(evidence, task), evidence.material
    return variance_figures.variance(name, task, material.reference, found) if found else None


def _sweeps(evidence: Evidence, task: str, name: str) -> Picture | None:
    return sweep_figures.picture(evidence.material, task, name, looks(evidence.material.recipes))


def _features(evidence: Evidence, task: str, name: str) -> Picture | None:
    return planes.picture(evidence.material, task, name)


def _map(evidence: Evidence, task: str, name: str) -> Picture | None:
    return maps.small_multiples(evidence.material, task, name)


FIGURES: Mapping[str, tuple[str, Draw]] = {
    "headline": ("every study", _headline),
    "forest": ("paired effects", _forest),
    "variance": ("where the variance of effects comes from", _variance),
    "sweeps": ("parameter sweeps", _sweeps),
    "features": ("two-dimensional features", _features),
    "map": ("embedding maps", _map),
    "histograms": ("genuine and impostor distances", _histograms),
    "loss": ("training loss", _loss),
    "validation": ("validation MAP@R", _validation),
    "tuning": ("expected highest validation MAP@R", _expected),
    "surface": ("trials over lambda and alpha", _surface),
    "time": ("validation MAP@R by training time", _time),
    "cost": ("quality and cost", _cost),
    "fronts": ("quality and the cost of runs", _fronts),
    "compactness": ("how compact classes are", _compactness),
    "parts": ("the parts of a step", _parts),
}
