"""Networks that turn pictures into features: by name with weights from a file, or a whole program in a file."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.backbones import vision
from lossbench.backbones.weights import digest_of, put_into, read
from lossbench.plugins import PluginError, Problem, registry
from lossbench.run.exported import MODEL, NETWORK, TORCHSCRIPT, load_exported
from lossbench.run.model import to_input

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation most files were trained with
SIZE = 224  # pixels of a file that does not say its own
DIM = 32  # of a backbone's embedding, as in an experiment
ZOOS = {"timm": vision.timm_model, "torchvision": vision.torchvision_model}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """A network and what it expects of pictures.

    Attributes:
        network: from what `prepare` gives to features (B, F).
        prepare: from uint8 pictures (B, C, H, W) to the network's input.
        size: edge of the pictures in pixels; None: as they are.
        batch: the only number of pictures that it takes at once; None: any.
        weights: SHA-256 of the file that its weights came from.
        about: what else its features depend on, for the record.
    """

    network: Callable[[Tensor], Tensor]
    prepare: Callable[[Tensor], Tensor]
    size: int | None
    weights: str
    batch: int | None = None
    about: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller says in place of the model's own.

    Attributes:
        size: edge of the pictures in pixels.
        mean, std: of values in [0, 1], one for each channel that the model takes.
        dim: embedding dimension of a registered backbone.
    """

    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dim: int | None = None


@dataclass(frozen=True, slots=True)
class Normalization:
    """(x / 255 - mean) / std by channel; pictures of one channel come as three where the network wants three.

    Raises:
        PluginError: not a mean and a deviation a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """See that they fit each other."""
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise PluginError("--mean and --std have a value a channel: one, or three joined by commas")

    @classmethod
    def of(cls, asked: Asked, mean: Sequence[float], std: Sequence[float]) -> Normalization:
        """The one that was asked for, else the model's."""
        return cls(tuple(asked.mean or mean), tuple(asked.std or std))

    def __call__(self, pictures: Tensor) -> Tensor:
        """float32 (B, C, H, W) of uint8 pictures (B, 1 or C, H, W).

        Raises:
            PluginError: color for a network of one channel.
        """
        channels, found = len(self.mean), pictures.shape[1]
        if found not in (1, channels):
            raise PluginError(
                f"--mean has {channels} value for a network of gray pictures, but these have {found} channels"
            )
        mean, std = (torch.tensor(values, device=pictures.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pictures.float().div_(255) - mean) / std


def open_encoder(
    model: str, weights: Path | None, asked: Asked, *, device: str, shape: Callable[[int | None], tuple[int, int, int]]
) -> Encoder:
    """The encoder of that name, in evaluation mode on the device.

    Args:
        model: `timm:NAME`, `torchvision:NAME`, a registered backbone, a folder of `lossbench export`, or a file of
            TorchScript or `torch.export`.
        weights: the file of weights of a model that has a name.
        shape: (C, H, W) of the pictures at a size, which a registered backbone is built for.

    Raises:
        PluginError: no such model, weights that do not fill it, or options that it does not have.
    """
    zoo, _, name = model.partition(":")
    if zoo in ZOOS:
        _refuse("--dim", asked.dim, "the model gives the features before its last layer")
        return _from_zoo(zoo, name, _needed(model, weights), asked, device)
    if (folder := _exported(Path(model))) is not None:
        _refuse("--weights", weights, f"{folder} holds its own")
        for option, value in (("--size", asked.size), ("--mean", asked.mean), ("--dim", asked.dim)):
            _refuse(option, value, "an exported network says it itself")
        return _from_export(folder, device)
    if Path(model).is_file():
        _refuse("--dim", asked.dim, "a file gives what it gives")
        _refuse("--weights", weights, f"{model} holds its own")
        return _from_file(Path(model), asked, device)
    if Path(model).suffix and model not in registry.names("backbone"):
        raise PluginError(f"--model {model}: is not a file")
    for option, value in (("--mean", asked.mean), ("--std", asked.std)):
        _refuse(option, value, "backbones of lossbench take (x - 127.5) / 128")
    return _from_registry(model, _needed(model, weights), asked, device, shape)


def _from_zoo(zoo: str, name: str, weights: Path, asked: Asked, device: str) -> Encoder:
    """A model of timm or torchvision without its last layer, which gives pooled features."""
    if not name:
        raise PluginError(f"--model {zoo}: say which one: `{zoo}:NAME`")
    model = ZOOS[zoo](name, 0)
    _fill(model.network, weights)
    normalization = Normalization.of(asked, model.mean, model.std)
    return Encoder(
        network=model.network.eval().to(device),
        prepare=normalization,
        size=asked.size or model.size,
        weights=digest_of(weights),
        about=_normalized(normalization),
    )


def _exported(path: Path) -> Path | None:
    """The folder of an exported network, or of its TorchScript, whose scaling is inside; None where it is no such."""
    folder = path.parent if path.name == TORCHSCRIPT else path
    return folder if (folder / NETWORK).is_file() else None


def _from_export(folder: Path, device: str) -> Encoder:
    """A network as `lossbench export` wrote it."""
    model = load_exported(folder)
    return Encoder(
        network=model.network.to(device),
        prepare=to_input,
        size=model.size,
        weights=digest_of(folder / MODEL),
        about={"network": json.loads((folder / NETWORK).read_bytes())},
    )


def _from_file(file: Path, asked: Asked, device: str) -> Encoder:
    """A program that was saved whole; its input says size and number of pictures, where they are fixed."""
    normalization = Normalization.of(asked, *IMAGENET)
    batch, edge = None, None
    inside = _inside(file)
    if "archive_format" in inside:
        program = torch.export.load(file)
        network, (batch, edge) = program.module(), _fixed(program)
        network = network.to(device)
    elif "constants.pkl" in inside:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # files are there, however new ones are made
            network = torch.jit.load(file, map_location=device).eval()  # type: ignore[no-untyped-call]
    else:
        raise PluginError(
            f"--model {file}: is neither TorchScript nor a program of torch.export; weights alone need "
            f"`--model NAME --weights {file}`"
        )
    if asked.size is not None and edge not in (None, asked.size):
        raise PluginError(f"--size {asked.size}: {file} takes {edge} pixels only")
    return Encoder(
        network=network,
        prepare=normalization,
        size=asked.size or edge or SIZE,
        weights=digest_of(file),
        batch=batch,
        about=_normalized(normalization),
    )


def _from_registry(
    name: str, weights: Path, asked: Asked, device: str, shape: Callable[[int | None], tuple[int, int, int]]
) -> Encoder:
    """A backbone by the name that experiments call it, as a run left it."""
    plugin, variant = registry.find("backbone", name), name.partition(":")[2]
    if plugin.inputs and "images" not in plugin.inputs:
        raise PluginError(f"--model {name}: takes vectors, not pictures")
    problem = Problem(
        num_classes=2, embedding_dim=asked.dim or DIM, input_shape=shape(asked.size), variant=variant
    )  # fmt: skip
    network: nn.Module = plugin.build(problem)
    _fill(network, weights)
    return Encoder(
        network=network.eval().to(device),
        prepare=to_input,
        size=asked.size,
        weights=digest_of(weights),
        about={"plugin": "" if plugin.builtin else plugin.digest},
    )


def _fill(network: nn.Module, file: Path) -> None:
    """Put a file's weights into a network, all of which it must fill."""
    if anew := put_into(network, read(file), f"weights: {file}"):
        raise PluginError(f"weights: {file}: {anew[0]} is not there in the network's shape; is --dim that of the file?")


def _needed(model: str, weights: Path | None) -> Path:
    if weights is None:
        raise PluginError(f"--model {model}: needs --weights FILE; nothing is downloaded")
    return weights


def _refuse(option: str, value: object, why: str) -> None:
    if value is not None:
        raise PluginError(f"{option}: {why}")


def _normalized(normalization: Normalization) -> dict[str, Any]:
    return {"mean": list(normalization.mean), "std": list(normalization.std)}


def _inside(file: Path) -> set[str]:
    """What the files in an archive of torch are called."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        return set()


def _fixed(program: Any) -> tuple[int | None, int | None]:
    """The number of pictures and the edge that an exported program takes; None: any."""
    inputs = program.graph_signature.user_inputs
    node = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs)
    batch, _, height, _ = node.meta["val"].shape
    return (batch if isinstance(batch, int) else None), (height if isinstance(height, int) else None)
