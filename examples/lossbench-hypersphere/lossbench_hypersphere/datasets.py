"""Regular polygons and stars, drawn with noise: a data set that is made and not downloaded."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lossbench import dataset
from lossbench.datasets import DataError, Dataset, Request

CORNERS = (3, 4, 5, 6, 7, 8)  # each as a polygon and as a star
SAMPLES = 60


@dataset("shapes", source="drawn by this package", license="MIT", protocols=("closed-set", "open-set"))
def shapes(request: Request) -> Dataset:
    """Twelve classes of 60 images, 24 x 24 grey, turned at random."""
    if request.path:
        raise DataError("shapes takes no path")
    rng = np.random.default_rng(0)
    kinds = [(corners, star) for corners in CORNERS for star in (False, True)]
    images = [draw(rng, corners, star, request.size or 24) for corners, star in kinds for _ in range(SAMPLES)]
    return Dataset(
        images=np.stack(images),
        labels=np.repeat(np.arange(len(kinds)), SAMPLES),
        class_names=tuple(f"{'star' if star else 'polygon'} {corners}" for corners, star in kinds),
        class_split=None,
    )


def draw(rng: np.random.Generator, corners: int, star: bool, size: int) -> np.ndarray:
    """One image (size, size) uint8."""
    count = 2 * corners if star else corners
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    radius = np.where(star & (np.arange(count) % 2 == 1), 0.18, 0.42) * size * rng.uniform(0.8, 1.0)
    image = Image.new("L", (size, size))
    middle = size / 2 + rng.uniform(-1, 1, 2)
    points = np.stack([middle[0] + radius * np.cos(angles), middle[1] + radius * np.sin(angles)], 1)
    ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=200)
    noisy = np.asarray(image, dtype=float) + rng.normal(0, 20, (size, size))
    return noisy.clip(0, 255).astype(np.uint8)
