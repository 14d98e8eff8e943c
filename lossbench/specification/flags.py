"""The plain flags of `lossbench run`: each stands for one or a few `--set`, which are shown."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossbench.plugins import PluginError, registry
from lossbench.plugins.mistakes import nearest

QUICK = (
    "training.epochs=3",
    "budget.studies=2",
    "budget.trials=2",
    "budget.candidates=1",
    "budget.candidate_seeds=1",
    "budget.seeds=1",
    "budget.longer=0",
)  # minutes, to see whether everything works
SUFFIXES = {".csv": "csv", ".npz": "features", ".parquet": "features"}
PROTOCOL = "closed-set"  # tests on other samples of the same classes, of which any data with two a class has some
OF_VECTORS = "residual"  # the network for features; those of pictures are the file's
PICTURE_SIZE = 32  # pixels: what the shipped networks train on in minutes; pictures of one size need not be scaled


def settings(
    *,
    name: str | None = None,
    data: str | None = None,
    studies: int | None = None,
    epochs: int | str | None = None,
    recipes: str | None = None,
    quick: bool = False,
) -> list[str]:
    """The `key=value` of every flag that was given; `quick` first, so that the others replace parts of it.

    Raises:
        PluginError: `data` is neither a folder, a table, a file of features, nor a data set's name.
    """
    found = list(QUICK) if quick else []
    found += [f"name={_text(name)}"] if name is not None else []
    found += [task(data), *_network(data)] if data is not None else []
    found += [f"budget.studies={studies}"] if studies is not None else []
    found += [f"training.epochs={epochs}"] if epochs is not None else []
    found += [f"recipes={json.dumps([each.strip() for each in recipes.split(',')])}"] if recipes is not None else []
    return found


def _text(value: str) -> str:
    """The value of a `--set` that stays text, in quotes where TOML would read it as something else.

    >>> _text("mine"), _text("2026-11-28")
    ('mine', '"2026-11-28"')
    """
    return value if read_value(value) == value else json.dumps(value)


def read_value(text: str) -> Any:
    """What a `--set` gives a key: the TOML value that the text is, else the text itself.

    >>> read_value("0.1"), read_value("mine")
    (0.1, 'mine')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def shown(overrides: Sequence[str]) -> str:
    """`same as --set a=1 --set b=2`, quoted for a shell."""
    return "same as " + shlex.join(part for each in overrides for part in ("--set", each))


def task(data: str, **given: str | int) -> str:
    """The one task that `--data` names; `given` are further settings of it, or others than the flag's."""
    dataset = dataset_of(data)
    kind = dataset.partition(":")[0]
    size = {"input_size": PICTURE_SIZE} if kind in ("folder", "csv") else {}
    settings = {"dataset": dataset, "protocol": PROTOCOL, **size, **given}
    return f"tasks=[{{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in settings.items())} }}]"


def _network(data: str) -> list[str]:
    """A network for data that are vectors, where the file's own is one of pictures."""
    return [f"backbone={OF_VECTORS}"] if dataset_of(data).startswith("features:") else []


def dataset_of(data: str) -> str:
    """What an experiment would call it: `folder:PATH`, `csv:PATH`, `features:PATH`, or the name itself.

    Raises:
        PluginError: it is neither a folder, a table, a file of features, nor a data set's name.
    """
    known, path = registry.names("dataset"), Path(data).expanduser()
    if data.partition(":")[0] in known:
        return data
    if path.is_dir():
        return f"folder:{data}"
    if path.suffix.lower() in SUFFIXES:
        return f"{SUFFIXES[path.suffix.lower()]}:{data}"
    raise PluginError(
        f"{data}: is no folder of pictures, no .csv of paths and labels, no .npz or .parquet of features and no "
        f"data set{nearest(data, known)}"
    )
