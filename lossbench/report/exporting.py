"""The embeddings and the network of a task's winner, as files that other programs read."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import Material, gather
from lossbench.report.sections.verdict import answer
from lossbench.specification.spec import nearest
from lossbench.store import StoreError, write_whole

ARRAYS = ("embeddings", "labels", "class_names")


def export(name: str, runs: Path, folder: Path, *, task: str | None = None, recipe: str | None = None) -> Iterator[str]:
    """Write `embeddings.npz`, `model.pt` and `run.json` of one run a task to `folder/<task>/<recipe>/`.

    The run is the one with the median score of the winner; without a winner, of the recipe with the highest mean, and
    the line says that it is none. `embeddings.npz` is what `lossbench score` reads; `model.pt` loads with
    `weights_only=True`; `run.json` is the whole record.

    Yields:
        One line a task.

    Raises:
        StoreError: no such experiment, task or recipe, or no finished run of it.
    """
    material = gather(name, runs)
    evidence = Evidence(material)
    for each in [_known(task, material.tasks, "task")] if task else material.tasks:
        standing = answer(evidence, each)
        comparison = evidence.primary[each]
        if recipe:
            chosen, why = _known(recipe, material.recipes, "recipe"), "as asked"
        elif comparison is None or not comparison.ranking:
            raise StoreError(f"{name}: {each} has no finished final run")
        else:
            chosen = comparison.ranking[0].recipe
            why = "the winner" if standing.kind == "winner" else "the highest mean, not a winner"
        yield f"{each}: {chosen}, {why}: {_write(material, each, chosen, folder)}"


def _write(material: Material, task: str, recipe: str, folder: Path) -> Path:
    run = material.representative(task, recipe)
    if run is None:
        raise StoreError(f"{material.name}: {recipe} has no finished final run on {task}")
    place = (
        folder
        / task.replace("/", "-").replace(":", "-")
        / "".join(c if c.isalnum() or c in "+-@._ " else "-" for c in recipe)
    )
    place.mkdir(parents=True, exist_ok=True)
    arrays = material.arrays(run)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: arrays[key] for key in ARRAYS if key in arrays})  # type: ignore[arg-type]
    write_whole(place / "embeddings.npz", buffer.getvalue())
    write_whole(place / "run.json", json.dumps(material.record(run), indent=1).encode())
    model = material.store.folder(run) / "model.pt"
    if model.exists():
        shutil.copyfile(model, place / "model.pt")
    return place


def _known(wanted: str, known: tuple[str, ...], what: str) -> str:
    if wanted not in known:
        raise StoreError(f"--{what} {wanted}: is not in this experiment{nearest(wanted, known)}")
    return wanted
