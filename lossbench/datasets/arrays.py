"""Data that were given as arrays, kept as files that every process reads: known by their content, written once."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lossbench.datasets.cache import write_whole
from lossbench.datasets.dataset import DataError


def kept(samples: Any, labels: Any, folder: Path) -> tuple[str, int | None]:
    """The data set (`features:FILE`, `csv:FILE`) that the arrays are, in files in `folder`, and the edge of its images.

    Args:
        samples: vectors (N, F) of numbers, stored as float32, or float16 as it is; or uint8 images (N, H, W) or
            (N, H, W, 3).
        labels: (N,) numbers or text.

    Raises:
        DataError: arrays of another kind, or of different lengths.
    """
    points, classes = np.asarray(samples), np.asarray(labels)
    if classes.ndim != 1 or len(points) != len(classes):
        raise DataError(f"data: {points.shape} samples and {classes.shape} labels; X has N rows and y is (N,)")
    digest = hashlib.sha256()
    for array in (points, classes):
        digest.update(f"{array.dtype.str} {array.shape};".encode())
        digest.update(
            np.ascontiguousarray(array).tobytes() if not array.dtype.hasobject else repr(list(array)).encode()
        )
    name = digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if points.ndim == 2 and points.dtype.kind in "fiub":
        return _features(points, classes, folder / f"{name}.npz"), None
    if points.dtype == np.uint8 and (points.ndim == 3 or (points.ndim == 4 and points.shape[3] == 3)):
        return _pictures(points, classes, folder / name), min(points.shape[1:3])
    raise DataError(
        f"data: X is {points.dtype} {points.shape}, neither vectors (N, F) nor uint8 images (N, H, W) or (N, H, W, 3)"
    )


def _features(points: npt.NDArray[Any], classes: npt.NDArray[Any], file: Path) -> str:
    if not file.exists():
        stored = points if points.dtype == np.float16 else points.astype(np.float32)
        buffer = io.BytesIO()
        np.savez(buffer, features=stored, labels=_plain(classes))
        write_whole(file, buffer.getvalue())
    return f"features:{file}"


def _pictures(images: npt.NDArray[np.uint8], classes: npt.NDArray[Any], folder: Path) -> str:
    """A PNG for each image and a table of their classes, which is written last."""
    table = folder / "table.csv"
    if not table.exists():
        folder.mkdir(exist_ok=True)
        names = [f"{row:07}.png" for row in range(len(images))]
        for name, image in zip(names, images, strict=True):
            Image.fromarray(image).save(folder / name)
        text = io.StringIO()
        csv.writer(text).writerows([("path", "label"), *zip(names, _plain(classes).tolist(), strict=True)])
        write_whole(table, text.getvalue().encode())
    return f"csv:{table}"


def _plain(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels as numbers or text, never as Python objects."""
    return classes.astype(str) if classes.dtype.hasobject else classes
