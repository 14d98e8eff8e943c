"""From evidence to the figures of a task: what is computed here is drawn in `figures`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from lossbench.report.drawing import cost_figures, figures, maps, panels, planes, sweep_figures, variance_figures
from lossbench.report.drawing.attempts import Attempts, LeftOut
from lossbench.report.drawing.figures import Bar, Line, Picture, Strip
from lossbench.report.drawing.palette import looks
from lossbench.report.drawing.panels import Histogram
from lossbench.report.evidence import derived, landscape, pooled
from lossbench.report.evidence.comparisons import EQUIVALENCE, Evidence, bounds, summary
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.sections import costs, equal_time, tuned, tuning_tax, variance
from lossbench.report.sections.recipe_rows import by_mean
from lossbench.statistics.effects import MeanInterval, mean_interval

Draw = Callable[[Evidence, str, str], Picture | None]  # of evidence, a task, and the figure's name
# Figures with one line, panel or label a recipe.
NAMES = {"validation": "val"}  # of files, where they are not the kind's
PICKED = {"map", "histograms", "loss", "validation", "tuning", "time", "cost"}


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
    material, comparison = evidence.material, evidence.primary[task]
    letters = comparison.letters if comparison else {}
    strips = [
        Strip(
            name=recipe,
            scores={study: score for study, score in material.values(task, recipe, PRIMARY).items() if score == score},
            mean=float(found.mean),
            low=float(found.low),
            high=float(found.high),
            letters=letters.get(recipe, ""),
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
    note += " and tie group; recipes that share a letter were not shown to differ." if letters else "."
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
    return figures.forest(name, task, reference, bars, look, EQUIVALENCE.get(PRIMARY))


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
        Line(name=recipe, x=np.arange(band.mean.size), mean=band.mean, low=band.low, high=band.high)
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
        note = landscape.note(found) if found else "Too few trials for a surface."
        drawn = panels.surface(name, task, recipe, points, ("lambda", "alpha"), rings, found)
        return replace(drawn, caption=note)
    return None


def _cost(evidence: Evidence, task: str, name: str) -> Picture | None:
    """The front of quality against what a run took: wall and CPU seconds, memory."""
    material = evidence.material
    kinds = {
        "wall seconds a run": ("cost.train_wall_s", 1.0),
        "CPU seconds a run": ("cost.train_cpu_s", 1.0),
        "peak memory, MiB": ("cost.peak_memory_bytes", costs.MEBIBYTE),
    }
    found = {}
    for label, (column, unit) in kinds.items():
        points = {
            recipe: (material.mean(task, recipe, column) / unit, material.mean(task, recipe, PRIMARY))
            for recipe in material.featured(task)
        }
        found[label] = {recipe: point for recipe, point in points.items() if np.isfinite(point).all()}
    found = {label: points for label, points in found.items() if points}
    if not found:
        return None
    note = "Means of the final runs, which shared the machine: a description. The line joins the recipes that no other "
    note += "one is both cheaper than and above."
    return replace(cost_figures.fronts(name, task, found, looks(material.recipes)), caption=note)


def _parts(evidence: Evidence, task: str, name: str) -> Picture | None:
    """The parts of a training step as the cost probe measured them."""
    material = evidence.material
    comparison, probed = costs.probe_comparison(material, task), derived.probed(material, task)
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
    "cost": ("front of quality and cost", _cost),
    "parts": ("the parts of a step", _parts),
}
