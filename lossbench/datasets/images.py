"""Pictures to arrays: one rule each for transparency, depth, squares and size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from lossbench.datasets.dataset import DataError, Fit, Images

GREY = ("1", "L", "LA")
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # 16 bits a pixel; `I` is what some formats open them as
DEPTHS = (8, 10, 12, 14, 16)  # bits of a pixel that cameras and scanners have

Picture = npt.NDArray[Any]  # uint8, or uint16 where deeper


def shrunk(picture: Image.Image, size: int | None) -> Image.Image:
    """A picture at `size` x `size` pixels: the area average when it shrinks, bilinear when it grows."""
    if size is None or picture.size == (size, size):
        return picture
    return picture.resize((size, size), _filter(picture, size))


def _filter(picture: Image.Image, size: int) -> Image.Resampling:
    shrinks = size <= min(picture.size) and size < max(picture.size)
    return Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR


def resized(images: Images, size: int | None) -> Images:
    """Every image (N, H, W) or (N, H, W, 3) at `size` x `size`; unchanged where that is its size."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    return np.stack([np.asarray(shrunk(Image.fromarray(image), size)) for image in images])


def squared(picture: Image.Image, size: int | None, fit: Fit = "crop") -> Picture:
    """A picture of `upright` at `size` x `size` pixels as an array; None: the whole picture as it is.

    Args:
        fit: `crop` takes the middle square; `pad` the whole picture on a square of gray (127, next to zero where the
            network sees it); `stretch` the whole picture, each edge scaled on its own.

    Returns:
        (H, W) or (H, W, 3) uint8; (H, W) uint16 where the picture is deeper than eight bits, for `stacked`.
    """
    if size is not None:
        square: Callable[[Image.Image], Image.Image] | None
        square = {"crop": centered_square, "pad": padded_square, "stretch": None}[fit]
        picture = shrunk(square(picture) if square else picture, size)
    pixels = np.asarray(picture)
    return np.rint(pixels).astype(np.uint16) if picture.mode == "F" else pixels


def centered_square(picture: Image.Image, edge: int | None = None) -> Image.Image:
    """The square of `edge` pixels in the middle; None: the largest one."""
    width, height = picture.size
    edge = min(width, height) if edge is None else edge
    left, top = (width - edge) // 2, (height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge))


def padded_square(picture: Image.Image) -> Image.Image:
    """The whole picture in the middle of the smallest square that holds it, on gray."""
    width, height = picture.size
    edge = max(width, height)
    gray = {"L": 127, "F": 127 * 2.0 ** (_depth(np.asarray(picture)) - 8)}.get(picture.mode, (127, 127, 127))
    canvas = Image.new(picture.mode, (edge, edge), gray)
    canvas.paste(picture, ((edge - width) // 2, (edge - height) // 2))
    return canvas


def upright(picture: Image.Image) -> Image.Image:
    """Grey (L), red-green-blue (RGB) or deeper than eight bits (F, 0 to 65,535), turned as the camera was held.

    What is transparent lies on white. Of several frames or pages the first counts.
    """
    turned = ImageOps.exif_transpose(picture)
    if turned.mode in DEEP:
        return Image.fromarray(np.asarray(turned).astype(np.float32).clip(0, 65_535))
    mode = "L" if turned.mode in GREY else "RGB"
    if (layer := transparent(turned)) is not None:
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(mode)
    return turned.convert(mode)


def transparent(picture: Image.Image) -> Image.Image | None:
    """The picture as RGBA where any of its pixels can be seen through, else None."""
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return None
    layer = picture.convert("RGBA")
    darkest = layer.getchannel("A").getextrema()[0]
    return layer if isinstance(darkest, int) and darkest < 255 else None


def stacked(pictures: Sequence[Picture], place: str) -> Images:
    """All images in one array; grey ones become colour where any has colour.

    Deep ones are cut to the upper eight of the bits that all of them use together: 12-bit pixels in files of 16 bits
    span the same range as 8-bit ones.

    Raises:
        DataError: they differ in size; the message starts with `place`.
    """
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        shown = " and ".join(f"{width} x {height}" for height, width in (sizes[0], sizes[-1]))
        raise DataError(f"{place}: pictures differ in size ({shown}); set `training.input_size`")
    lost = max((_depth(picture) - 8 for picture in pictures if picture.dtype == np.uint16), default=0)
    images = [(picture >> lost).astype(np.uint8) if picture.dtype == np.uint16 else picture for picture in pictures]
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    return np.stack(images)


def _depth(pixels: npt.NDArray[Any]) -> int:
    """The bits that a camera or scanner of these values has: the smallest of DEPTHS that holds them."""
    highest = round(float(pixels.max()))
    return next(depth for depth in DEPTHS if highest < 1 << depth)
