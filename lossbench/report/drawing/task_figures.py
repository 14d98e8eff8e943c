"""From evidence to the figures of a task: what is computed here is drawn in `figures`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lossbench.report.drawing import cost_figures, figures, maps, panels, planes, sweep_figures
from lossbench.report.drawing.figures import Bar, Line, Picture, Strip
from lossbench.report.drawing.palette import Look, looks
from lossbench.report.drawing.panels import Histogram
from lossbench.report.evidence import derived, landscape
from lossbench.report.evidence.comparisons import EQUIVALENCE, Evidence, summary
from lossbench.report.evidence.material import PRIMARY, VALIDATION, Material
from lossbench.report.evidence.overall import Overall
from lossbench.report.sections import costs, equal_time, tuning_tax
from lossbench.report.sections.recipe_rows import by_mean
from lossbench.statistics.effects import mean_interval

# Figures with one line, panel or label a recipe.
PICKED = {"map", "histograms", "loss", "validation", "tuning", "time", "cost"}


def pictures(evidence: Evidence, task: str) -> dict[str, Picture]:
    """Every figure of a task that its runs allow, by kind."""
    material = evidence.material
    if not any(len(material.rows(task, recipe)) for recipe in material.recipes):
        return {}
    look = looks(material.recipes)
    key = f"t{material.tasks.index(task)}"
    found = {
        "headline": _headline(evidence, task, look, key),
        "forest": _forest(evidence, task, look, key),
        "sweeps": sweep_figures.picture(material, task, f"{key}-sweeps", look),
        "features": planes.picture(material, task, f"{key}-features"),
        "map": maps.small_multiples(material, task, f"{key}-map"),
        "histograms": _histograms(material, task, key),
        "loss": _curve(material, task, look, f"{key}-loss", "loss", "training loss", log=True),
        "validation": _curve(material, task, look, f"{key}-val", "val_map_at_r", "validation MAP@R"),
        "tuning": _expected(material, task, look, key),
        "surface": _surface(material, task, key),
        "time": _time(material, task, look, key),
        "cost": _cost(material, task, look, key),
        "parts": _parts(material, task, key),
    }
    drawn = {kind: picture for kind, picture in found.items() if picture is not None}
    if len(material.featured(task)) == len(material.recipes):
        return drawn
    note = (
        f"Of {len(material.recipes)} recipes, {material.reference} and the {len(material.featured(task)) - 1} others "
    )
    note += "of the highest mean test MAP@R; tables have all."
    return drawn | {
        kind: replace(drawn[kind], caption=f"{drawn[kind].caption} {note}".strip()) for kind in PICKED & drawn.keys()
    }


def overall_pictures(overall: Overall) -> dict[str, Picture]:
    """The figures of all tasks together: how losses scale, and ranks and profiles of several data sets."""
    found = {}
    if measured := costs.scaling(overall.material):
        grown = cost_figures.scaling("all-scaling", measured, costs.SCALES)
        found["scaling"] = replace(grown, caption=costs.scaling_note(overall.material))
    if not overall.worthwhile:
        return found
    look = looks(overall.material.recipes)
    thresholds, profiles = overall.profiles()
    nothing = np.full(thresholds.shape, np.nan)
    lines = [
        Line(name=recipe, x=thresholds, mean=profile, low=nothing, high=nothing) for recipe, profile in profiles.items()
    ]
    title = "share of runs above a score"
    profile = figures.curves(
        "all-profiles", "All data sets", lines, look, title=title, ylabel=title, xlabel="test MAP@R"
    )
    return found | {
        "ranks": panels.critical_difference(
            "all-ranks", overall.ranks, overall.groups, overall.critical_difference, look
        ),
        "profiles": replace(profile, caption="Performance profiles: every data set weighs alike."),
    }


def _headline(evidence: Evidence, task: str, look: Mapping[str, Look], key: str) -> Picture | None:
    material, comparison = evidence.material, evidence.primary[task]
    letters = comparison.letters if comparison else {}
    strips = [
        Strip(
            name=recipe,
            scores={seed: score for seed, score in material.values(task, recipe, PRIMARY).items() if score == score},
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
    baselines = {name: material.mean(task, name, PRIMARY) for name in material.baselines}
    note = "Dots: seeds. Diamond and bar: mean and 95 % interval. Right: mean"
    note += " and tie group; recipes that share a letter were not shown to differ." if letters else "."
    return replace(figures.headline(f"{key}-headline", task, strips, look, baselines), caption=note)


def _forest(evidence: Evidence, task: str, look: Mapping[str, Look], key: str) -> Picture | None:
    comparison, reference = evidence.primary[task], evidence.material.reference
    ranked = [standing.recipe for standing in comparison.ranking] if comparison else []
    if comparison is None or reference not in ranked:
        return None
    pairs = [comparison.pair(name, reference) for name in ranked if name != reference]
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
    return figures.forest(f"{key}-forest", task, reference, bars, look, EQUIVALENCE.get(PRIMARY))


def _curve(
    material: Material, task: str, look: Mapping[str, Look], name: str, curve: str, title: str, *, log: bool = False
) -> Picture | None:
    lines = []
    for recipe in material.featured(task):
        values = material.curves(task, recipe, curve)
        if not values.size or not np.isfinite(values).any():
            continue
        if log:  # a band of a geometric mean stays positive
            with np.errstate(divide="ignore"):
                band = mean_interval(np.where(values > 0, np.log(np.where(values > 0, values, 1.0)), np.nan))
            mean, low, high = np.exp(band.mean), np.exp(band.low), np.exp(band.high)
        else:
            band = mean_interval(values)
            mean, low, high = band.mean, band.low, band.high
        lines.append(Line(name=recipe, x=np.arange(values.shape[1]), mean=mean, low=low, high=high))
    if not lines:
        return None
    found = figures.curves(name, task, lines, look, title=title, ylabel=title, log=log)
    note = "Mean over seeds with its 95 % interval."
    if log:
        note += " Losses of different recipes are on scales of their own: read the shapes, not the heights."
    return replace(found, caption=note)


def _time(material: Material, task: str, look: Mapping[str, Look], key: str) -> Picture | None:
    grid = equal_time.progress(material, task)
    if not grid:
        return None
    lines = [
        Line(name=recipe, x=seconds, mean=band.mean, low=band.low, high=band.high)
        for recipe, (seconds, band) in grid.items()
        if recipe in material.featured(task)
    ]
    return figures.curves(
        f"{key}-time",
        task,
        lines,
        look,
        title="validation MAP@R by training time",
        ylabel="validation MAP@R so far",
        xlabel="training time, s",
    )


def _expected(material: Material, task: str, look: Mapping[str, Look], key: str) -> Picture | None:
    lines = []
    for recipe in material.featured(task):
        curve = tuning_tax.curve(material, task, recipe)
        if curve.size and np.isfinite(curve).any():
            nothing = np.full(curve.shape, np.nan)
            lines.append(Line(name=recipe, x=np.arange(1, curve.size + 1), mean=curve, low=nothing, high=nothing))
    if not lines:
        return None
    title = "expected highest validation MAP@R"
    return figures.curves(f"{key}-tuning", task, lines, look, title=title, ylabel=title, xlabel="trials")


def _surface(material: Material, task: str, key: str) -> Picture | None:
    """The first recipe with both lambda and alpha to tune: how much its two parameters matter."""
    for recipe in material.recipes:
        trials = material.rows(task, recipe, "trial").sort_values("trial")
        names = ("param.lambda", "param.alpha")
        if not set(names) | {VALIDATION} <= set(trials.columns):
            continue
        trials = trials.dropna(subset=list(names))
        trials = trials[(trials[list(names)] > 0).all(axis=1)]
        if len(trials) < 3 or trials["param.lambda"].nunique() < 2 or trials["param.alpha"].nunique() < 2:
            continue
        if not np.isfinite(trials[VALIDATION].to_numpy(dtype=float)).any():
            continue
        points = list(trials[[*names, VALIDATION]].astype(float).itertuples(index=False, name=None))
        chosen = int(np.nanargmax(trials[VALIDATION].to_numpy(dtype=float)))
        found = landscape.landscape(material, task, recipe)
        note = landscape.note(found) if found else "Too few trials for a surface."
        drawn = panels.surface(f"{key}-surface", task, recipe, points, ("lambda", "alpha"), chosen, found)
        return replace(drawn, caption=note)
    return None


def _cost(material: Material, task: str, look: Mapping[str, Look], key: str) -> Picture | None:
    """The front of quality against what a run took: wall and CPU seconds, memory."""
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
    return replace(cost_figures.fronts(f"{key}-cost", task, found, look), caption=note)


def _parts(material: Material, task: str, key: str) -> Picture | None:
    """The parts of a training step as the cost probe measured them."""
    comparison, probed = costs.probe_comparison(material, task), derived.probed(material, task)
    if comparison is None:
        return None
    names = {standing.recipe: standing.recipe for standing in comparison.ranking} | {"backbone alone": derived.BACKBONE}
    found = {
        label: {part.removesuffix("_s"): float(np.median(probed[name][part])) for part in costs.PROBED}
        for label, name in names.items()
    }
    note = "From the cost probe, medians over rounds. Backward holds that of the backbone and that of the loss."
    return replace(cost_figures.parts(f"{key}-parts", task, found), caption=note)


def _histograms(material: Material, task: str, key: str) -> Picture | None:
    found = []
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
    return panels.histograms(f"{key}-histograms", task, found) if found else None
