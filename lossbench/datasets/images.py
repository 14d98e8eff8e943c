"""Pictures to arrays: one rule for cropping, grey, and size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from lossbench.datasets.dataset import DataError, Images

GREY = ("1", "L", "LA", "I;16", "I;16B", "I")


def shrunk(picture: Image.Image, size: int | None) -> Image.Image:
    """A square picture at `size` pixels: the area average when it shrinks, bilinear when it grows."""
    if size is None or picture.size == (size, size):
        return picture
    shrinks = size < min(picture.size)
    return picture.resize((size, size), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def resized(images: Images, size: int | None) -> Images:
    """Every image (N, H, W) or (N, H, W, 3) at `size` x `size`; unchanged where that is its size."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    return np.stack([np.asarray(shrunk(Image.fromarray(image), size)) for image in images])


def squared(picture: Image.Image, size: int | None) -> Images:
    """The middle square of a picture at `size` pixels, as an array; None: the whole picture as it is."""
    return np.asarray(picture if size is None else shrunk(centered_square(picture), size))


def centered_square(picture: Image.Image, edge: int | None = None) -> Image.Image:
    """The square of `edge` pixels in the middle; None: the largest one."""
    width, height = picture.size
    edge = min(width, height) if edge is None else edge
    left, top = (width - edge) // 2, (height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge))


def upright(picture: Image.Image) -> Image.Image:
    """Eight bits, grey or red-green-blue, turned the way the camera was held."""
    turned = ImageOps.exif_transpose(picture)
    if turned.mode in ("I", "I;16", "I;16B"):  # 16 bits: the upper eight
        return Image.fromarray((np.asarray(turned).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return turned.convert("L" if turned.mode in GREY else "RGB")


def stacked(images: Sequence[Images], place: str) -> Images:
    """All images in one array; grey ones become colour where any has colour.

    Raises:
        DataError: they differ in size; the message starts with `place`.
    """
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        shown = " and ".join(f"{width} x {height}" for height, width in (sizes[0], sizes[-1]))
        raise DataError(f"{place}: pictures differ in size ({shown}); set `training.input_size`")
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    return np.stack(images)
