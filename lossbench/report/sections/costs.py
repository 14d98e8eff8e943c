"""What recipes cost: what their runs took, which describes, and what the cost probe measured, which is tested."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lossbench.report.evidence import derived
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import Material
from lossbench.report.writing import formats
from lossbench.report.writing.cells import Cell, Column, Row, Table, make_table
from lossbench.specification.claims import STEP_RELATIVE
from lossbench.statistics.effects import mean_interval

PARTS = ("sampling", "forward", "loss", "backward", "optimizer", "evaluation")
PROBED = ("forward_s", "loss_s", "backward_s", "optimizer_s")
MEBIBYTE = 2**20
MEMORY_TELLS = 0.05
SCALES = {"batch_size": "batch size", "embedding_dim": "embedding dimension", "classes": "classes"}


def runs(evidence: Evidence, task: str) -> Table:
    """What a run of each recipe cost, and what its tuning did."""
    material = evidence.material
    columns = [
        Column("recipe", numeric=False),
        *[Column(part, "s a run") for part in PARTS],
        Column("training", "wall s a run"),
        Column("training", "CPU s a run"),
        Column("throughput", "images/s"),
        Column("peak memory", "MiB"),
        Column("tuples", "a step"),
        Column("active", "share of tuples"),
        Column("parameters", "in the loss"),
        Column("tuning", "s, all trials"),
        Column("trials"),
    ]
    rows = [_run_row(material, task, name) for name in material.recipes if len(material.rows(task, name))]
    notes = (
        "Means over the final runs. These are times of runs that shared the machine: they describe, and support no "
        "claim about which recipe is cheaper. The cost probe is there for that.",
    )
    return make_table("cost", f"Cost of runs, {task}", columns, rows, notes=(*notes, *_outlasting(material, task)))


def _outlasting(material: Material, task: str) -> list[str]:
    """A sentence where evaluation took longer than training, and what shortens it."""
    shares = {
        name: material.mean(task, name, "cost.evaluation_s") / seconds
        for name in material.recipes
        if len(material.rows(task, name)) and (seconds := material.mean(task, name, "cost.train_wall_s")) > 0
    }
    longer = [f"{share:.1f} times the training of {name}" for name, share in shares.items() if share > 1]
    if not longer:
        return []
    return [f"Evaluation took {', '.join(longer)}; fewer `training.validations` or `val_classes` shorten it."]


def steps(evidence: Evidence, task: str) -> Table:
    """The training step of each recipe in the cost probe, lowest first, with the tie groups of its rounds."""
    material = evidence.material
    probed = derived.probed(material, task)
    columns = [
        Column("recipe", numeric=False),
        Column("step", "× the backbone's, ↓"),
        Column("95 % interval", "over rounds"),
        Column("group", "tie group", numeric=False),
        Column("step", "ms"),
        Column("beyond the backbone", "ms"),
        *[Column(part.removesuffix("_s"), "ms") for part in PROBED],
    ]
    comparison = evidence.step_times(task)
    if comparison is None:
        return make_table("steps", "", columns, [])
    rows = []
    for standing in comparison.ranking:
        ratio = mean_interval(list(derived.probe_rounds(material, task, standing.recipe, STEP_RELATIVE).values()))
        parts = {name: _median(values) for name, values in probed[standing.recipe].items()}
        beyond = parts["step_s"] - _median(probed[derived.BACKBONE]["step_s"])
        rows.append(
            Row(
                (
                    Cell(standing.recipe),
                    Cell(formats.score(standing.mean, 2), standing.mean, "strong"),
                    Cell(formats.interval(float(ratio.low), float(ratio.high), 2), float(ratio.low)),
                    Cell(comparison.letters.get(standing.recipe, formats.NONE)),
                    *[_milliseconds(value) for value in (parts["step_s"], beyond, *[parts[part] for part in PROBED])],
                )
            )
        )
    bare = derived.probed(material, task)[derived.BACKBONE]
    rows.append(
        Row(
            (
                Cell("backbone alone", mark="muted"),
                Cell("1.00", 1.0),
                Cell(formats.NONE),
                Cell(formats.NONE),
                _milliseconds(_median(bare["step_s"])),
                Cell(formats.NONE),
                *[_milliseconds(_median(bare[part])) for part in PROBED],
            ),
            "baseline",
        )
    )
    setting: Mapping[str, Any] = (material.probe or {})["tasks"][task]
    notes = (
        f"Cost probe: recipes took turns, a step each in {setting['rounds']} rounds, on the same balanced batches of "
        f"{setting['batch_size']} with {setting['classes']} classes, in CPU seconds on a CPU. Recipes that share a "
        "letter were not shown to differ (paired over rounds, Holm over all pairs). Sampling of batches and evaluation "
        "are not part of a step.",
    )
    return make_table("steps", f"Cost of a training step, {task}", columns, rows, notes=notes)


def relative_step(material: Material, task: str, recipe: str) -> float:
    """Mean training step of a recipe in units of the bare network's own, as the cost probe measured; else NaN."""
    rounds = list(derived.probe_rounds(material, task, recipe, STEP_RELATIVE).values())
    return math.fsum(rounds) / len(rounds) if rounds else math.nan


def memory_spread(material: Material, task: str) -> float:
    """MiB between the recipes of the highest and of the lowest peak memory; NaN where none measured it."""
    found = _memory(material, task)
    return max(found) - min(found) if found else math.nan


def memory_differs(material: Material, task: str) -> bool:
    """Whether peak memory tells recipes apart: by more than a twentieth of the lowest."""
    found = _memory(material, task)
    return bool(found) and memory_spread(material, task) > MEMORY_TELLS * min(found)


def _memory(material: Material, task: str) -> list[float]:
    means = [material.mean(task, recipe, "cost.peak_memory_bytes") / MEBIBYTE for recipe in material.recipes]
    return [mean for mean in means if mean == mean]


def scaling(material: Material) -> Mapping[str, Mapping[str, list[tuple[float, float]]]]:
    """Loss to scale to (size, seconds), as measured; points where a loss did not work are left out."""
    measured: Any = (material.probe or {}).get("scaling") or {}
    return {
        loss: {
            scale: [(float(size), float(seconds)) for size, seconds in points if seconds is not None]
            for scale, points in scales.items()
        }
        for loss, scales in measured.get("losses", {}).items()
    }


def scaling_table(material: Material) -> Table:
    """Milliseconds of each loss at every size that was measured."""
    found = scaling(material)
    columns = [Column("scale", numeric=False), Column("size"), *[Column(loss, "ms") for loss in found]]
    rows = []
    for scale, words in SCALES.items():
        for size in sorted({size for scales in found.values() for size, _ in scales.get(scale, [])}):
            cells = [_milliseconds(dict(scales.get(scale, [])).get(size, math.nan)) for scales in found.values()]
            rows.append(Row((Cell(words), Cell(formats.count(size), size), *cells)))
    return make_table("scaling", "Time of each loss by size", columns, rows, notes=(scaling_note(material),))


def scaling_note(material: Material) -> str:
    """What was measured, and at which sizes."""
    base: Any = ((material.probe or {}).get("scaling") or {}).get("base", {})
    sizes = ", ".join(f"{SCALES[scale]} {size}" for scale, size in base.items())
    return (
        "Forward and backward of the loss alone on random embeddings, median of rounds in which the losses took turns, "
        f"one thread. One size varies, the others stay at {sizes}."
    )


def _median(values: list[float]) -> float:
    return float(np.median(values))


def _milliseconds(seconds: float) -> Cell:
    return Cell(formats.significant(1e3 * seconds), 1e3 * seconds)


def _run_row(material: Material, task: str, recipe: str) -> Row:
    def mean(name: str) -> float:
        return material.mean(task, recipe, f"cost.{name}")

    trials = material.rows(task, recipe, "trial")
    tuning = float(np.nansum(trials["cost.run_wall_s"])) if "cost.run_wall_s" in trials and len(trials) else math.nan
    parts = [mean(f"{part}_s") for part in PARTS]
    wall, cpu = mean("train_wall_s"), mean("train_cpu_s")
    throughput, memory = mean("images_per_s"), mean("peak_memory_bytes") / MEBIBYTE
    tuples, active, parameters = mean("tuples_per_step"), mean("active_tuple_share"), mean("loss_parameters")
    return Row(
        (
            Cell(recipe),
            *[Cell(formats.score(value, 2), value) for value in parts],
            Cell(formats.score(wall, 2), wall, "strong"),
            Cell(formats.score(cpu, 2), cpu),
            Cell(formats.count(throughput), throughput),
            Cell(formats.count(memory) if memory == memory else "not measured", memory),
            Cell(formats.count(tuples) if tuples else formats.NONE, tuples),
            Cell(formats.share(active), active),
            Cell(formats.count(parameters), parameters),
            Cell(formats.score(tuning, 1), tuning),
            Cell(str(len(trials)), float(len(trials))) if len(trials) else Cell(formats.NONE),
        )
    )
