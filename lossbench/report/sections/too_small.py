"""What is left out because so few data, or so small differences, have nothing to say."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.report.evidence import landscape, pooled
from lossbench.report.evidence.material import Material
from lossbench.report.evidence.overall import Overall
from lossbench.report.sections import costs
from lossbench.report.writing import formats


def left_out(overall: Overall) -> Iterator[str]:
    """One phrase for each thing that a larger experiment would show."""
    material = overall.material
    if overall.worthwhile and not overall.telling:
        yield f"average ranks over {len(material.tasks)} data sets"
    for task in material.tasks:
        yield from _surface(material, task)
        spread = costs.memory_spread(material, task)
        if spread == spread and not costs.memory_differs(material, task):
            yield f"peak memory on {task}, alike within {formats.significant(spread, 2)} MiB"


def _surface(material: Material, task: str) -> Iterator[str]:
    for recipe in material.recipes:
        trials = pooled.trials(material, task, recipe, [f"param.{name}" for name in landscape.AXES])
        if 0 < len(trials) < landscape.LEAST_TRIALS:
            yield f"the surface of {recipe} through {len(trials)} trials on {task}"
