"""Pictures to arrays: one rule for cropping, grey, and size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from lossbench.datasets.dataset import Images


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


def centered_square(picture: Image.Image, edge: int | None = None) -> Image.Image:
    """The square of `edge` pixels in the middle; None: the largest one."""
    width, height = picture.size
    edge = min(width, height) if edge is None else edge
    left, top = (width - edge) // 2, (height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge))
