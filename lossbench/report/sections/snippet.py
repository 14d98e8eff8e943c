"""The code of a run: its network, losses, parameters, batches and training step, in lines that run as they stand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.plugins.plugin import OBJECT, python_name

TEMPLATE = """\
import torch
from lossbench import Problem, datasets
{weighing}from lossbench.datasets.splits import split
from lossbench.plugins.registry import find{loading}{necks}
from lossbench.run.sampling import batch_plan
{files}
data = datasets.load({data})  # or your own: {own}
rows = split(data, {protocol}).train
samples = {samples}
labels = torch.unique(torch.tensor(data.labels[rows]), return_inverse=True)[1]
problem = Problem(num_classes=int(labels.max()) + 1, embedding_dim={dim}, input_shape=tuple(samples.shape[1:]){variant})
network = find("backbone", {backbone}).build(problem)
{started}{necked}"""
STAGE = """\
losses = {{
{losses}
}}
optimizer = {optimizer}
for batch in batch_plan({sampler}, labels, batch_size={batch}, samples_per_class={each}, generator=torch.Generator()):
    embeddings = network(samples[batch])  # one epoch; {course}
    total = {total}
    optimizer.zero_grad(); total.backward(); optimizer.step()
"""
TOTAL = "sum(weight * loss(embeddings, labels[batch]) for loss, weight in losses.items())"
# A neck gives embeddings before and after it: each loss has its place beside its weight
NECKED = "sum(weight * loss(embeddings[:, place], labels[batch]) for loss, (weight, place) in losses.items())"
WEIGHING = """\
from pathlib import Path
from lossbench.backbones.trunk import trunk_of
from lossbench.backbones.weights import put_into, read
"""
STARTED = """\
anew = put_into(network, read(Path({file})), "weights")  # what they do not fill
trunk = trunk_of(network, anew, freeze={freeze}, lr_factor={factor})
"""
# As the network sees them: (N, C, H, W) in [-1, 1)
IMAGES = "(torch.tensor(data.images[rows]).view(len(rows), *data.images.shape[1:3], -1).movedim(-1, 1) - 127.5) / 128"
VECTORS = "torch.tensor(data.features[rows]).float()"


def code(spec: Mapping[str, Any], *, vectors: bool = False) -> str:
    """One epoch of a recipe's training at a run's parameters, without the run's seed and deal.

    Args:
        spec: of the run, as its record has it.
        vectors: whether its samples are vectors.

    Returns:
        A Python program; empty where a loss was given as a Python object, which no other program can name.
    """
    if any(digest.startswith(OBJECT) for _, digest in spec["provenance"]["plugins"]):
        return ""
    files, start = foreign_files(spec), spec.get("start")
    bare, colon, variant = spec["backbone"].partition(":")
    head = TEMPLATE.format(
        weighing=WEIGHING if start else "",
        loading=", load_files" if files else "",
        files=f"\nload_files([{', '.join(map(quoted, files))}])" if files else "",
        data=loaded(spec),
        own="features (N, F) and labels (N,)" if vectors else "images (N, H, W) uint8 and labels (N,)",
        protocol=quoted(spec["task"]["protocol"]),
        samples=VECTORS if vectors else IMAGES,
        dim=spec["embedding_dim"],
        variant=f", variant={quoted(variant)}" if colon else "",
        backbone=quoted(bare),
        started=_started(spec, start) if start else "",
        necks="\nfrom lossbench.run.necks import AFTER, BEFORE, Necked" if spec.get("neck") else "",
        necked="network = Necked(network, problem.embedding_dim)\n" if spec.get("neck") else "",
    )
    then = spec.get("then")
    first = {**spec, "epochs": spec["training"]["epochs"] - (then["epochs"] if then else 0)}
    return head + "".join(_stage(spec, stage) for stage in (first, then) if stage)


def _stage(spec: Mapping[str, Any], stage: Mapping[str, Any]) -> str:
    """The losses, the optimizer and an epoch of one stage of a run; most have one."""
    training = spec["training"]
    return STAGE.format(
        losses="\n".join(_loss(spec, term) for term in stage["terms"]),
        total=NECKED if spec.get("neck") else TOTAL,
        optimizer=_optimizer(training, spec["lr"], spec.get("start")),
        sampler=quoted(stage["sampler"]),
        batch=training["batch_size"],
        each=training["samples_per_class"],
        course=_course(training, stage["epochs"]),
    )


def _started(spec: Mapping[str, Any], start: Mapping[str, Any]) -> str:
    """The lines that fill the network from a file."""
    lines = STARTED.format(
        file=quoted(shown_path(spec["weights_file"])), freeze=start["freeze"], factor=_value(start["lr_factor"])
    )
    return lines + ("trunk.hold()\n" if start["freeze"] else "")


def loaded(spec: Mapping[str, Any]) -> str:
    """The arguments of `datasets.load` for a run's data."""
    task = spec["task"]
    size = task["input_size"] or spec["training"]["input_size"]
    parts = [quoted(task["dataset"])] + ([str(size)] if size is not None else [])
    return ", ".join(parts + ([quoted(task["fit"])] if task["fit"] != "crop" else []))


def quoted(text: str) -> str:
    """A text as a Python literal in double quotes, whatever is in it."""
    literal = repr(text)
    return f'"{text}"' if literal == f"'{text}'" and '"' not in text else literal


def shown_path(path: str) -> str:
    """A path as it is seen from the working directory, where it lies below that."""
    below = os.path.relpath(path)
    return path if below.startswith("..") else Path(below).as_posix()


def foreign_files(spec: Mapping[str, Any]) -> Sequence[str]:
    """The plugin files that a run may need, as seen from the working directory; none where all it uses ships."""
    return [shown_path(path) for path in spec["plugin_files"]] if spec["provenance"]["plugins"] else []


def _loss(spec: Mapping[str, Any], term: Mapping[str, Any]) -> str:
    weight = _value(float(term["weight"]))
    if spec.get("neck"):
        weight = f"({weight}, {'BEFORE' if term['loss'] in spec.get('before_neck', ()) else 'AFTER'})"
    params = "".join(f", {python_name(name)}={_value(value)}" for name, value in term["params"])
    return f'    find("loss", {quoted(term["loss"])}).build(problem{params}): {weight},'


def _optimizer(training: Mapping[str, Any], lr: float, start: Mapping[str, Any] | None) -> str:
    name = {"adam": "Adam", "sgd": "SGD"}[training["optimizer"]]
    settings = f", momentum={training['momentum']:g}" if training["optimizer"] == "sgd" else ""
    settings += f", weight_decay={training['weight_decay']:g}" if training["weight_decay"] else ""
    values = "[each for part in (network, *losses) for each in part.parameters()]"
    if start and start["lr_factor"] != 1.0:
        slow = f'{{"params": trunk.parameters, "lr": {lr * start["lr_factor"]:.6g}}}'
        rest = "set(network.parameters()).difference(trunk.parameters)"
        values = f'[{slow}, {{"params": [*{rest}, *(each for loss in losses for each in loss.parameters())]}}]'
    return f"torch.optim.{name}({values}, lr={lr:.6g}{settings})"


def _course(training: Mapping[str, Any], epochs: int) -> str:
    """What of a stage's training one epoch leaves out."""
    parts = [f"the run had {epochs}"]
    parts += [f"on a {training['schedule']} schedule"] if training["schedule"] != "constant" else []
    augment = training["augment"] if isinstance(training["augment"], list) else [training["augment"]]
    parts += [f"under {' and '.join(augment)}"] if augment not in ([], ["none"]) else []
    share = training.get("negatives", 1.0)  # which records of before have not
    parts += [f"with {share:g} of the classes at a step"] if share < 1.0 else []
    parts += ["without decay of vectors"] if training["weight_decay"] else []
    return ", ".join(parts)


def _value(value: Any) -> str:
    """A parameter as Python writes it, a number to six digits."""
    if isinstance(value, float):
        return repr(float(f"{value:.6g}"))
    return quoted(value) if isinstance(value, str) else repr(value)
