"""Does the network of a run build, take its weights and its samples? Asked before the first run, in a process apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lossbench.backbones.weights import COUNTER
from lossbench.plugins import registry
from lossbench.run import device
from lossbench.run.data import task_data
from lossbench.run.execution import build
from lossbench.run.model import Model, to_input
from lossbench.specification.spec import RunSpec

NAMED = 4  # tensors of a note


def mistakes(specs: Sequence[RunSpec]) -> list[str]:
    """One line for each run whose network cannot be built or cannot embed two of the task's samples."""
    found = []
    for spec in specs:
        try:
            _tried(spec)
        except Exception as error:  # whatever a library raises at a size that its model does not take
            found.append(f"{spec.task.key}: {spec.backbone}: {' '.join(str(error).split()) or type(error).__name__}")
    return found


def note(spec: RunSpec) -> str:
    """What a file of weights gives the network of a run, and what of it starts anew."""
    model = _tried(spec)
    assert model.trunk is not None  # it has a file
    filled = set(map(id, model.trunk.parameters))
    names = [name for name in model.network.state_dict() if not name.endswith(COUNTER)]
    anew = [name for name, parameter in model.network.named_parameters() if id(parameter) not in filled]
    shown = ", ".join(anew[:NAMED]) + (f" and {len(anew) - NAMED} more" if len(anew) > NAMED else "")
    return (
        f"{Path(spec.weights_file).name} fills {len(names) - len(anew)} of the {len(names)} tensors of {spec.backbone}"
        f"{', all that it has' if not anew else f'; anew: {shown}'}"
    )


def _tried(spec: RunSpec) -> Model:
    device.set_up("cpu")
    registry.load_files(spec.plugin_files)
    spec = replace(spec, training=spec.training.model_copy(update={"device": "cpu"}))
    data = task_data(spec)
    model = build(spec, data)
    model.train(False)
    with torch.no_grad():
        embeddings = model.network(to_input(data.train.images[:2]))
    if embeddings.shape != (2, spec.embedding_dim):
        raise ValueError(f"gives {tuple(embeddings.shape)} for two samples, not (2, {spec.embedding_dim})")
    return model
