"""`lossbench embed`: features of pictures in a file that `features:FILE` reads, kept as far as they are made."""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from lossbench import datasets
from lossbench.datasets import Dataset
from lossbench.datasets.dataset import ROLES, TEST, TRAIN, VAL, DataError, Fit
from lossbench.plugins import PluginError
from lossbench.run.clock import peak_memory_bytes, reset_peak_memory
from lossbench.run.encoders import Asked, Encoder, open_encoder

FIRST_BATCH, MOST_IN_BATCH = 8, 256
SHARE_OF_MEMORY = 0.5  # of what is free at the start, for one batch
SPLITS = {TRAIN: "train", VAL: "val", TEST: "test"}


def embed(
    source: str,
    model: str,
    out: Path,
    *,
    weights: Path | None = None,
    size: int | None = None,
    fit: Fit = "crop",
    protocol: str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    batch_size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dim: int | None = None,
) -> tuple[int, int]:
    """Write the features of every picture of a data set, with what it says of each.

    Rows lie in `OUT.part` until all are there. A call that is killed goes on from there, if it is about the same.

    Args:
        source: a data set's name, `folder:PATH` or `csv:FILE`.
        model, weights: as `encoders.open_encoder` takes them.
        size, mean, std, dim: in place of the model's own (`encoders.Asked`).
        fit: how a picture that is not square becomes so.
        protocol: whose split is written where a data set has several; None: its first.
        batch_size: pictures at once; None: as many as half of the free memory holds, at most 256.
        progress: is told the rows that are there and their number.

    Returns:
        (N, F) of the features.

    Raises:
        DataError: the data set has no pictures, `out` is another file, or features are no finite (B, F).
        PluginError: no such data set or model, or weights that do not fill it.
    """
    if out.suffix != ".npz":
        raise DataError(f"--out {out}: is no .npz, which `features:FILE` reads")
    torch.backends.cudnn.allow_tf32 = False  # float32 as IEEE 754 has it
    asked = Asked(size=size, mean=mean, std=std, dim=dim)
    encoder = open_encoder(
        model, weights, asked, device=device, shape=lambda edge: _shape(_pictures(source, edge, fit))
    )  # fmt: skip
    data = _pictures(source, encoder.size, fit)
    if protocol is not None and protocol not in data.protocols:
        raise DataError(f"--protocol {protocol}: {source} has {', '.join(data.protocols)}")
    about = {
        "model": model, "size": encoder.size, "fit": fit, "protocol": protocol or data.protocols[0], **encoder.about,
        "versions": dict(_versions(model)), "weights_sha256": encoder.weights, "pictures_sha256": data.checksum,
    }  # fmt: skip
    if (shape := _made_before(out, about)) is not None:
        return shape
    total, part = len(data.labels), out.with_name(f"{out.name}.part")
    sizes = BatchSize(device, fixed=batch_size or encoder.batch)
    with Rows(part, about) as rows:
        progress(rows.count, total)
        while rows.count < total:
            rows.append(_next(data, encoder, rows.count, sizes, device))
            progress(rows.count, total)
    width = _write(data, part, out, about)
    part.unlink()
    return total, width


def _pictures(source: str, size: int | None, fit: Fit) -> Dataset:
    data = datasets.load(source, size, fit if size is not None else "crop")
    if data.images is None:
        raise DataError(f"{source}: holds vectors already")
    return data


def _shape(data: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of the pictures."""
    height, width, *channels = data.samples.shape[1:]
    return (channels[0] if channels else 1), height, width


class Rows:
    """Rows of float32 in a growing file, after a line that says what they are about.

    A row that a kill has cut is cut off; a file about something else is begun anew.
    """

    def __init__(self, file: Path, about: dict[str, Any]) -> None:
        self._file, self._about = file, about
        self._stream: BinaryIO | None = None
        self.width = 0
        self.count = 0

    def __enter__(self) -> Rows:
        """Open the file and find what is there."""
        known = _header(self._file) if self._file.exists() else None
        if known is not None and known.about == self._about:
            self.width = known.width
            self.count = (self._file.stat().st_size - known.length) // (4 * known.width)
            os.truncate(self._file, known.length + self.count * 4 * known.width)
        else:
            self._file.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def append(self, features: np.ndarray) -> None:
        """Add features (B, F)."""
        if self._stream is None:  # only now: a model that takes no picture leaves no file
            self._stream = self._file.open("ab")
        if not self.width:
            self.width = features.shape[1]
            self._stream.write(json.dumps({"about": self._about, "width": self.width}).encode() + b"\n")
        self._stream.write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        self._stream.flush()
        self.count += len(features)


@dataclass(frozen=True, slots=True)
class _Header:
    about: dict[str, Any]
    width: int
    length: int  # bytes


def _header(file: Path) -> _Header | None:
    with file.open("rb") as stream:
        line = stream.readline()
    try:
        found = json.loads(line)
        return _Header(found["about"], int(found["width"]), len(line)) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None


class BatchSize:
    """How many pictures at once: doubled while twice the memory that a batch took is there, halved where it was not."""

    def __init__(self, device: str, *, fixed: int | None) -> None:
        self._device, self._fixed = device, fixed
        self.now = fixed or FIRST_BATCH
        self._most = self.now if fixed else MOST_IN_BATCH
        self._measures = reset_peak_memory(device)
        self._before = peak_memory_bytes(device)
        self._room = SHARE_OF_MEMORY * _free_bytes(device)

    def took(self, size: int) -> None:
        """A batch of that size went well."""
        if size < self.now or self.now >= self._most or not self._measures:
            return
        if 2 * (peak_memory_bytes(self._device) - self._before) <= self._room:  # not where either is NaN
            self.now = min(2 * self.now, self._most)

    def failed(self) -> bool:
        """A batch did not fit; whether a smaller one is left to try."""
        if self._fixed or self.now == 1:
            return False
        self.now = self._most = self.now // 2
        return True


def _next(data: Dataset, encoder: Encoder, start: int, sizes: BatchSize, device: str) -> np.ndarray:
    """Features of the next pictures from row `start` on, as many as fit."""
    while True:
        try:
            found = _features(data, encoder, start, sizes.now, device)
        except (DataError, PluginError):
            raise
        except Exception as error:  # whatever a program raises at pictures that it does not take
            if not _is_memory(error):
                taken = " x ".join(map(str, _shape(data)))
                raise DataError(
                    f"the model does not take pictures of {taken}: {str(error).splitlines()[-1]}"
                ) from error
            if not sizes.failed():
                raise DataError("not even one picture fits into memory; --size makes them smaller") from error
            continue
        sizes.took(len(found))
        return found


def _features(data: Dataset, encoder: Encoder, start: int, size: int, device: str) -> np.ndarray:
    pixels = np.array(data.samples[start : start + size])
    pictures = torch.from_numpy(pixels).to(device)
    pictures = pictures.unsqueeze(1) if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2)
    if encoder.batch is not None:  # the last pictures repeat themselves to fill a batch
        pictures = pictures[torch.arange(encoder.batch, device=device).clamp(max=len(pixels) - 1)]
    with torch.inference_mode():
        features = encoder.network(encoder.prepare(pictures.contiguous()))
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise DataError(f"the model gives {shape} for {len(pictures)} pictures, not features (B, F)")
    found: np.ndarray = features[: len(pixels)].float().cpu().numpy()
    if not (finite := np.isfinite(found).all(axis=1)).all():
        raise DataError(f"{data.name}: row {start + int(np.argmin(finite))}: features are not finite")
    return found


def _is_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)


def _free_bytes(device: str) -> float:
    """Memory that can be had now; NaN where it cannot be read."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.nan
    free = next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), math.nan)
    with contextlib.suppress(OSError, ValueError):  # a container may have less than its machine; "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(free, limit - used)
    return free


def columns(data: Dataset, protocol: str) -> dict[str, np.ndarray]:
    """What a data set says of each picture, in the words of a file of features: labels, split, group, role, id.

    Args:
        protocol: whose split is written where a data set has several.
    """
    found = {"labels": np.array(data.class_names)[data.labels]}
    if (split := _split(data, protocol)) is not None:
        found["split"] = np.array([SPLITS[part] for part in split.tolist()])
    if data.groups is not None:
        found["group"] = data.groups
    if data.roles is not None:
        found["role"] = np.array(ROLES)[data.roles]
    if data.ids is not None:
        found["id"] = data.ids
    return found


def _split(data: Dataset, protocol: str) -> np.ndarray | None:
    """The split of each sample that a user or publisher fixed; None where there is none.

    Validation classes that are only a reader's choice are training ones here, so that a deal may choose others.
    """
    if data.fixed_split is not None:
        return data.fixed_split
    if protocol == "closed-set":
        return None if data.published_test is None else np.where(data.published_test, TEST, TRAIN)
    if data.class_split is None:
        return None
    split = data.class_split[data.labels]
    return np.where(split == VAL, TRAIN, split) if data.val_is_made else split


def _write(data: Dataset, part: Path, out: Path, about: dict[str, Any]) -> int:
    """The rows and what belongs to them as one `.npz`, whole or not at all; F."""
    header = _header(part)
    assert header is not None  # rows were written
    shape = (len(data.labels), header.width)
    features = np.memmap(part, dtype="<f4", mode="r", offset=header.length, shape=shape)
    temporary = out.with_name(f"{out.name}.tmp")
    arrays = columns(data, about["protocol"])
    with temporary.open("wb") as stream:
        np.savez(stream, features=features, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(out)
    return header.width


def _made_before(out: Path, about: dict[str, Any]) -> tuple[int, int] | None:
    """(N, F) of a file that holds these very features; None where there is no file.

    Raises:
        DataError: it holds something else.
    """
    if not out.exists():
        return None
    try:
        with np.load(out, allow_pickle=False) as stored, zipfile.ZipFile(out) as archive:
            if json.loads(str(stored["about"])) == about:
                with archive.open("features.npy") as stream:
                    np.lib.format.read_magic(stream)
                    count, width = np.lib.format.read_array_header_1_0(stream)[0]
                return count, width
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    raise DataError(f"{out}: is there and was made otherwise; remove it or name another file")


def _versions(model: str) -> Iterator[tuple[str, str]]:
    """(name, version) of what computes the features of a model."""
    for name in ("lossbench", "torch", model.partition(":")[0]):
        try:
            yield name, metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
