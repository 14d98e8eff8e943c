"""What `lossbench export` wrote, used again: the network with all that happens to a sample before it sees it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lossbench.datasets.dataset import DataError
from lossbench.datasets.images import squared, stacked
from lossbench.datasets.pictures import Unreadable, read
from lossbench.plugins import Problem, registry
from lossbench.plugins.discovery import digest_of
from lossbench.run import device, evaluation
from lossbench.run.model import to_input
from lossbench.run.necks import Necked
from lossbench.store import StoreError

PathLike: TypeAlias = str | os.PathLike[str]
NETWORK, MODEL, TORCHSCRIPT = "network.json", "model.pt", "network.torchscript.pt"


class ExportedModel:
    """A trained network that embeds what its run embedded, and more of the kind.

    Attributes:
        network: in evaluation mode; it takes (B, C, H, W) or (B, F) float32 as `training.to_input` makes them.
        input_shape: (C, H, W) of an image, or (F,) of a vector.
        embedding_dim: D.
        size: edge in pixels to which pictures are scaled; None: as they are.
    """

    def __init__(self, network: nn.Module, described: dict[str, Any]) -> None:
        self.network = network
        self.input_shape = tuple(described["input_shape"])
        self.embedding_dim: int = described["embedding_dim"]
        self.size: int | None = described["size"]
        self._fit, self._inverted = described["fit"], described["inverted"]

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        return f"{type(self).__name__}({type(self.network).__name__}: {shape} to {self.embedding_dim})"

    def embed(self, samples: npt.ArrayLike | Tensor | PathLike | Sequence[PathLike]) -> npt.NDArray[np.float32]:
        """Embeddings (N, D) as the run had them: of its own test split, in its order, the same bits on the same CPU.

        Blocks are those of the run's evaluation, because sums round differently in others; one thread computes.

        Args:
            samples: uint8 images (N, H, W), (N, H, W, 3) or (N, C, H, W) of the network's size; floating vectors
                (N, F); or paths of pictures, in a list, an array or a column, which become grey or colour, square and
                small as those of `folder:` do.

        Raises:
            DataError: samples of another kind or size, or a picture that cannot be read.
        """
        with device.lent():
            tensor = self._pictures(samples) if _are_paths(samples) else self._tensor(samples)
            return evaluation.embed(self.network, tensor).numpy()

    def _pictures(self, paths: Any) -> Tensor:
        """(N, C, H, W) uint8 of picture files."""
        mode = "L" if self.input_shape[0] == 1 else "RGB"
        found = []
        for path in map(Path, [paths] if isinstance(paths, (str, os.PathLike)) else paths):
            try:
                picture, _ = read(path)
            except Unreadable as reason:
                raise DataError(f"{path}: cannot be read: {reason}") from reason
            if picture.mode == "F":
                raise DataError(f"{path}: is deeper than eight bits, which are cut by what a whole data set holds")
            found.append(squared(picture.convert(mode), self.size, self._fit))
        if not found:
            raise DataError("no picture to embed")
        images = stacked(found, "pictures")
        return self._tensor(255 - images if self._inverted else images)

    def _tensor(self, samples: Any) -> Tensor:
        """Samples as a run holds them: (N, C, H, W) uint8 or (N, F) floating."""
        given = samples.detach().cpu() if isinstance(samples, Tensor) else _numbers(samples)
        shape = tuple(given.shape[1:])
        if len(self.input_shape) == 1:
            if given.is_floating_point() and shape == self.input_shape:
                return given
            raise DataError(f"samples are {_kind(given)}, not floating vectors (N, {self.input_shape[0]})")
        channels, height, width = self.input_shape
        if given.dtype == torch.uint8:
            if shape == (height, width):
                return given.unsqueeze(1).repeat(1, channels, 1, 1)
            if shape == (height, width, channels):
                return given.permute(0, 3, 1, 2).contiguous()
            if shape == self.input_shape:
                return given.contiguous()
        raise DataError(
            f"samples are {_kind(given)}, not uint8 images (N, {height}, {width}{', 3' if channels == 3 else ''}); "
            "pictures of any size may come as paths"
        )


def load_exported(folder: PathLike) -> ExportedModel:
    """The network in a folder that `lossbench export` wrote.

    Raises:
        StoreError: the folder is no such one.
        PluginError: its backbone belongs to a package that is not installed.
    """
    place = Path(folder)
    try:
        described = json.loads((place / NETWORK).read_bytes())
        state = torch.load(place / MODEL, map_location="cpu", weights_only=True)["network"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{place}: holds no exported network ({error}); lossbench export NAME writes one") from error
    if "plugin" in described:
        _load_backbone(described["backbone"], place / described["plugin"])
    problem = Problem(
        num_classes=described["num_classes"],
        embedding_dim=described["embedding_dim"],
        input_shape=tuple(described["input_shape"]),
        variant=described["backbone"].partition(":")[2],
    )
    network: nn.Module = registry.find("backbone", described["backbone"]).build(problem)
    if described.get("neck"):
        network = Necked(network, problem.embedding_dim)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in a run: it sets the order of sums
    network.load_state_dict(state)
    return ExportedModel(network.eval(), described)


def _load_backbone(name: str, file: Path) -> None:
    """Load the file that has the backbone, unless it is there from another copy of the file."""
    known = registry.find("backbone", name) if name.partition(":")[0] in registry.names("backbone") else None
    if known is None or known.digest != digest_of(file):
        registry.load_file(file)


class _Whole(nn.Module):
    """A network with its scaling inside: uint8 images or vectors to embeddings."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> Tensor:
        embeddings: Tensor = self.network(to_input(samples.clone()))
        return embeddings


def write_torchscript(folder: PathLike) -> str:
    """Write the network, its scaling inside, as TorchScript beside `model.pt`; return a line that says how it went.

    It is kept only where it embeds other batches than the one it was traced with as the network does.
    """
    place = Path(folder)
    model = load_exported(place)
    generator = torch.Generator().manual_seed(0)
    traced_with, others = (_samples(model.input_shape, count, generator) for count in (2, 5))
    whole = _Whole(model.network).eval().requires_grad_(False)
    try:
        with device.lent(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a trace cannot follow; the comparison shows whether it matters
            script: Any = torch.jit.trace(whole, traced_with)  # type: ignore[no-untyped-call]
            torch.testing.assert_close(script(others), whole(others))
            script.save(str(place / TORCHSCRIPT))
    except Exception as error:  # whatever a backbone does that cannot be traced
        (place / TORCHSCRIPT).unlink(missing_ok=True)
        return f"{place}: no TorchScript: {str(error).strip().splitlines()[0] or type(error).__name__}"
    return f"{place / TORCHSCRIPT}: takes {'uint8 images' if len(model.input_shape) == 3 else 'vectors'}"


def _samples(shape: tuple[int, ...], count: int, generator: torch.Generator) -> Tensor:
    """Random samples (count, *shape) as a run holds them."""
    if len(shape) == 1:
        return torch.randn(count, *shape, generator=generator)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def _are_paths(samples: Any) -> bool:
    if isinstance(samples, (str, os.PathLike)):
        return True
    if getattr(getattr(samples, "dtype", None), "kind", "") in ("U", "O"):  # an array or a column of a table
        samples = list(samples)
    return isinstance(samples, Sequence) and all(isinstance(each, (str, os.PathLike)) for each in samples)


def _numbers(samples: Any) -> Tensor:
    array = np.array(samples)
    if array.dtype.kind not in "biuf":
        raise DataError(f"samples are {type(samples).__name__}, neither an array of numbers nor a list of paths")
    return torch.from_numpy(array)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
