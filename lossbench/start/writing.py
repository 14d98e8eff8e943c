"""An experiment for data of one's own, with a comment on every choice that whoever knows the data may make better."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lossbench.datasets.dataset import QUERY
from lossbench.start.looking import Found

MANY_CLASSES = 20  # from which on unseen classes are asked for: 8 of them to learn from, 4 to choose on, 8 to test
LEAST_STEPS = 2  # of an epoch, so that no deal of classes of many sizes has fewer than one
BATCH, BATCH_OF_VECTORS = 64, 128
DIMENSIONS, MOST_DIMENSIONS = 64, 512  # of embeddings of pictures, and of vectors at most
RECIPES = ("softmax", "arcface", "contrastive", "triplet", "multi-similarity", "softmax+center")
QUESTIONS = {
    "closed-set": "Which loss gives the best embeddings of other {samples} of the same classes?",
    "open-set": "Which loss tells apart classes that no training saw?",
    "query-gallery": "With which loss do queries find their own in the gallery?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What an experiment is made of; fields are keys of the file."""

    protocol: str
    input_size: int | None
    backbone: str
    embedding_dim: int
    batch_size: int
    samples_per_class: int
    augment: tuple[str, ...]
    baselines: tuple[str, ...]


def choices(found: Found) -> Choices:
    """What fits the data: a place to begin, not an optimum."""
    protocol = _protocol(found)
    train = found.parts[protocol].train
    vectors = found.data.features
    counts = np.bincount(found.data.labels[train])
    batch = _batch(len(train), BATCH if vectors is None else BATCH_OF_VECTORS)
    several = 4 if batch >= 8 and np.median(counts[counts > 0]) >= 4 else 2
    if vectors is not None:
        return Choices(
            protocol=protocol,
            input_size=None,
            backbone="residual",
            embedding_dim=min(vectors.shape[1], MOST_DIMENSIONS),
            batch_size=batch,
            samples_per_class=several,
            augment=(),
            baselines=("untrained", "features", "pca", "lda"),
        )
    photographs = found.shapes is not None and found.shapes.photographs and found.shapes.color
    edge = found.data.samples.shape[1]
    return Choices(
        protocol=protocol,
        input_size=found.size,
        backbone="convnet4" if edge >= 28 else "convnet",
        embedding_dim=DIMENSIONS,
        batch_size=batch,
        samples_per_class=several,
        augment=("flip", "crop", "color") if photographs else (),
        baselines=("untrained", "pixels"),
    )


def _protocol(found: Found) -> str:
    """Queries and a gallery where there are any; classes never seen where there are enough; else known classes."""
    roles = found.data.roles
    if "query-gallery" in found.parts and roles is not None and (roles == QUERY).any():
        return "query-gallery"
    wanted = ["open-set", "closed-set"]
    if found.data.num_classes < MANY_CLASSES and found.data.fixed_split is None:
        wanted.reverse()
    return next((name for name in wanted if name in found.parts), next(iter(found.parts)))


def _batch(samples: int, most: int) -> int:
    """The largest power of two that leaves LEAST_STEPS to an epoch; 4 at least."""
    batch = most
    while batch > 4 and samples // batch < LEAST_STEPS:
        batch //= 2
    return batch


def experiment(found: Found, name: str) -> str:
    """The text of an experiment file."""
    chosen = choices(found)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = _toml
    return environment.get_template("experiment.toml.jinja").render(
        name=name,
        found=found,
        chosen=chosen,
        question=QUESTIONS.get(chosen.protocol, "Which loss gives the best embeddings?").format(samples=found.samples),
        others=[protocol for protocol in found.parts if protocol != chosen.protocol],
        recipes=RECIPES,
    )


def _toml(value: object) -> str:
    """Text, a number or a list of them as TOML has it, which is as JSON has it."""
    return json.dumps(value, ensure_ascii=False)


def name_for(given: str) -> str:
    """A name that an experiment may have, from a path: `My people.npz` to `My-people`."""
    path = Path(given.rpartition(":")[2]).expanduser()
    stem = path.stem if path.suffix.lower() in (".csv", ".npz", ".parquet") else path.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100] or "mine"
