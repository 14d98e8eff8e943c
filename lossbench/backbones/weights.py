"""Weights from a file: read without running anything that lies in it, checked, and put into a network."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lossbench.plugins import PluginError
from lossbench.plugins.mistakes import nearest

INSIDE = ("network", "state_dict", "model_state_dict", "model")  # where files have the network; the first is ours
NECKED = ("backbone.", "neck.")  # what the names in a network with a neck begin with
COUNTER = "num_batches_tracked"  # of batch normalization: older files lack it, and no output depends on it

Tensors = Mapping[str, Tensor]


@lru_cache(maxsize=1)  # a worker starts run after run from one file
def read(file: Path, digest: str = "") -> Tensors:
    """The tensors of a network by name, from `.safetensors` or from what `torch.save` wrote.

    Args:
        digest: SHA-256 that the file must have; empty: any.

    Raises:
        PluginError: there is no such file, it is another one, or it holds more than tensors.
    """
    if not file.is_file():
        raise PluginError(f"weights: {file}: is not a file")
    if digest and digest_of(file) != digest:
        raise PluginError(f"weights: {file}: changed while the experiment ran; start it again")
    found = _safetensors(file) if file.suffix == ".safetensors" else _saved(file)
    for name in INSIDE:
        if isinstance(inner := found.get(name), Mapping):
            found = inner
            break
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if tensors and all(name.startswith(NECKED) for name in tensors):  # a run's network behind which a neck was trained
        tensors = {name: value for name, value in tensors.items() if not name.startswith("neck.")}
    if not tensors:
        raise PluginError(f"weights: {file}: holds no tensors by name, nor do {', '.join(INSIDE)} in it")
    return tensors


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _safetensors(file: Path) -> Mapping[str, object]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise PluginError(f"weights: {file}: needs a package more: pip install 'lossbench[vision]'") from error
    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise PluginError(f"weights: {file}: damaged, or not what its name says ({error})") from error


def _saved(file: Path) -> Mapping[str, object]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PluginError(
            f"weights: {file}: holds more than tensors, which may run code; save `model.state_dict()`"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise PluginError(f"weights: {file}: damaged, or no file of torch") from error
    if not isinstance(found, Mapping):
        raise PluginError(f"weights: {file}: holds {type(found).__name__}, not tensors by name")
    return found


def put_into(network: nn.Module, tensors: Tensors, place: str) -> list[str]:
    """Copy every tensor that fits by name and shape into a network.

    Names count without what all of them begin with, such as `module.`. A layer of which the file lacks anything, or has
    it in another shape, starts anew as a whole. Such layers must be the network's last ones, as where these lead to
    other classes: a hole further in is a mistake.

    Returns:
        The names in the network's own state that keep their initial values.

    Raises:
        PluginError: nothing fits, or something other than the end does not.
    """
    state = network.state_dict()
    here, there = _alike(list(state), list(tensors))
    sources = {name: tensors[there[bare]] for bare, name in here.items() if bare in there}
    fitting = {name for name, source in sources.items() if source.shape == state[name].shape}
    named = [name for name in state if not name.endswith(COUNTER)]
    broken = {_layer(name) for name in named if name not in fitting}
    anew = [name for name in named if _layer(name) in broken]
    for name in fitting.difference(anew):
        state[name].copy_(sources[name])
    if not named:
        raise PluginError(f"{place}: the network has no weights to fill")
    if len(anew) == len(named):
        raise PluginError(
            f"{place}: none of its {len(tensors)} tensors fits the network; it begins with {next(iter(tensors))}, "
            f"the network with {named[0]}"
        )
    if anew != named[len(named) - len(anew) :]:
        hole = next(name for name in anew if name not in fitting)
        raise PluginError(f"{place}: {_hole(hole, here, there, state, tensors)}")
    return anew


def _layer(name: str) -> str:
    """The layer that a tensor belongs to."""
    return name.rpartition(".")[0]


def _hole(name: str, here: Mapping[str, str], there: Mapping[str, str], state: Tensors, tensors: Tensors) -> str:
    """What is wrong with the first tensor that does not fit."""
    bare = next(bare for bare, full in here.items() if full == name)
    if bare not in there:
        return f"has no {bare!r}{nearest(bare, list(there))}"
    shapes = [tuple(each.shape) for each in (tensors[there[bare]], state[name])]
    return f"{bare} is {shapes[0]} there and {shapes[1]} in the network"


def _alike(network: list[str], file: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Names without common beginnings to full names, of the network and of the file, so that most agree."""
    pairs = [(here(network), there(file)) for here in (_whole, _bare) for there in (_whole, _bare)]
    return max(pairs, key=lambda pair: len(pair[0].keys() & pair[1].keys()))


def _whole(names: list[str]) -> dict[str, str]:
    return {name: name for name in names}


def _bare(names: list[str]) -> dict[str, str]:
    """Names without the parts that all of them begin with, to the names."""
    common = len(list(_shared([name.split(".")[:-1] for name in names])))
    return {".".join(name.split(".")[common:]): name for name in names}


def _shared(paths: list[list[str]]) -> Iterator[str]:
    """The parts that all paths begin with."""
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            return
        yield parts[0]
