"""The embeddings and the network of a task's winner, as files that other programs read."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lossbench import datasets
from lossbench.datasets import splits
from lossbench.datasets.dataset import checksum_under
from lossbench.datasets.subset import training_samples
from lossbench.plugins.mistakes import nearest
from lossbench.report.evidence.comparisons import Evidence
from lossbench.report.evidence.material import Material, gather
from lossbench.report.sections.verdict import answer
from lossbench.specification.spec import SCHEMA, RunSpec, from_json
from lossbench.store import StoreError, write_whole

ARRAYS = ("embeddings", "labels", "class_names")
NETWORK, BACKBONE = "network.json", "backbone.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written of a task: which recipe and why, the folder, and whether its network can embed other samples."""

    task: str
    recipe: str
    why: str
    folder: Path
    has_network: bool

    @property
    def line(self) -> str:
        """What is printed."""
        return f"{self.task}: {self.recipe}, {self.why}: {self.folder}"


def export(
    name: str, runs: Path, folder: Path, *, task: str | None = None, recipe: str | None = None
) -> Iterator[Exported]:
    """Write one run a task to `folder/<task>/<recipe>/`.

    The run is the one with the median score of the winner; without a winner, of the recipe with the highest mean, and
    the line says that it is none. `embeddings.npz` is what `lossbench score` reads; `model.pt` loads with
    `weights_only=True`; `run.json` is the whole record; `network.json`, with the file of a backbone that lossbench does
    not ship, is what `load_exported` builds the network by.

    Raises:
        StoreError: no such experiment, task or recipe, or no finished run of it.
        DataError: its data are not there, or not those of the run: nobody else knows the shape of its samples.
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
        place = folder / folder_of(each, chosen)
        has_network = _write(material, each, chosen, place)
        yield Exported(task=each, recipe=chosen, why=why, folder=place, has_network=has_network)


def folder_of(task: str, recipe: str) -> Path:
    """Where in a folder of exports a recipe lies: names of files, whatever the names are."""
    return Path(
        task.replace("/", "-").replace(":", "-"), "".join(c if c.isalnum() or c in "+-@._ " else "-" for c in recipe)
    )


def _write(material: Material, task: str, recipe: str, place: Path) -> bool:
    """The files of a run; whether its network is among them."""
    run = material.representative(task, recipe)
    if run is None:
        raise StoreError(f"{material.name}: {recipe} has no finished final run on {task}")
    place.mkdir(parents=True, exist_ok=True)
    arrays, record = material.arrays(run), material.record(run)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: arrays[key] for key in ARRAYS if key in arrays})  # type: ignore[arg-type]
    write_whole(place / "embeddings.npz", buffer.getvalue())
    write_whole(place / "run.json", json.dumps(record, indent=1).encode())
    model = material.store.folder(run) / "model.pt"
    if not model.exists():
        return False
    shutil.copyfile(model, place / "model.pt")
    spec = from_json(record["spec"])
    described = dict(_network(spec))
    if (file := _backbone_file(spec)) is not None:
        shutil.copyfile(file, place / BACKBONE)
        described["plugin"] = BACKBONE
    write_whole(place / NETWORK, json.dumps(described, indent=1).encode())
    return True


def _network(spec: RunSpec) -> Mapping[str, Any]:
    """What a network is built by, and what is done to a sample before it sees it."""
    task, size = spec.task, spec.task.input_size or spec.training.input_size
    data = datasets.load(task.dataset, size, task.fit)
    if checksum_under(data, task.protocol) != spec.provenance.data:
        raise datasets.DataError(f"{task.dataset}: is not what the run was made from; export needs the same data")
    parts = splits.split(data, task.protocol, fold=spec.fold, deal=spec.deal)
    train = training_samples(data, parts, task.train_classes, spec.deal)
    shape = data.samples.shape[1:]
    channels_first = shape if data.features is not None else (1, *shape) if len(shape) == 2 else (3, *shape[:2])
    return {
        "schema": SCHEMA,
        "backbone": spec.backbone,
        "embedding_dim": spec.embedding_dim,
        "neck": spec.neck,
        "num_classes": len(np.unique(data.labels[train])),
        "input_shape": list(channels_first),
        "size": size,
        "fit": task.fit,
        "inverted": task.dataset == "omniglot",  # its ink is dark in the files and bright to the network
    }


def _backbone_file(spec: RunSpec) -> Path | None:
    """The plugin file that holds the backbone; None where lossbench or an installed package has it."""
    digest = dict(spec.provenance.plugins).get(f"backbone {spec.backbone.partition(':')[0]}")
    for path in map(Path, spec.plugin_files if digest else ()):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    return None


def _known(wanted: str, known: tuple[str, ...], what: str) -> str:
    if wanted not in known:
        raise StoreError(f"--{what} {wanted}: is not in this experiment{nearest(wanted, known)}")
    return wanted
