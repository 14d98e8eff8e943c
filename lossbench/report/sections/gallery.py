"""The worst retrieval mistakes of each recipe with their images: sure, and wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lossbench.report.evidence.material import Material
from lossbench.report.writing import formats

SHOWN = 6  # mistakes of a recipe
LONGEST = 20  # characters of a class name under an image
EDGE = 56  # largest edge of an image in the page, pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A test image and its nearest neighbor of another class, as data URIs, with what the images are."""

    query: str
    nearest: str
    query_class: str
    nearest_class: str
    distance: str

    @property
    def short(self) -> str:
        """What the two classes differ in: `… PSILI → … DASIA`."""
        return " → ".join(
            formats.shortened(name, LONGEST) for name in formats.differing(self.query_class, self.nearest_class)
        )

    @property
    def text(self) -> str:
        """What is to be seen, in words."""
        return f"class {self.query_class} taken for {self.nearest_class}, distance {self.distance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The surest mistakes of a recipe's median run."""

    recipe: str
    mistakes: tuple[Mistake, ...]


def galleries(material: Material, task: str) -> tuple[Gallery, ...]:
    """One gallery a recipe whose run kept its mistakes; a recipe without any mistake has an empty one."""
    found = []
    for recipe in material.featured(task):
        run = material.representative(task, recipe)
        arrays = material.arrays(run) if run else {}
        if "errors.images" not in arrays:
            continue
        found.append(Gallery(recipe=recipe, mistakes=tuple(_mistakes(arrays))[:SHOWN]))
    return tuple(found)


def _mistakes(arrays: dict[str, np.ndarray]) -> Iterator[Mistake]:
    """The kept mistakes; of two images that are each other's neighbor, the first only."""
    seen = set()
    rows = zip(*(arrays[f"errors.{name}"] for name in ("images", "labels", "distance")), strict=True)
    for images, labels, distance in rows:
        if (labels[1], labels[0], float(distance)) in seen:
            continue
        seen.add((labels[0], labels[1], float(distance)))
        yield _mistake(images, labels, distance, arrays)


def _mistake(images: np.ndarray, labels: np.ndarray, distance: float, arrays: dict[str, np.ndarray]) -> Mistake:
    names = arrays.get("class_names")
    texts = [str(names[label]) if names is not None and label < len(names) else str(label) for label in labels]
    return Mistake(
        query=data_uri(images[0]),
        nearest=data_uri(images[1]),
        query_class=texts[0],
        nearest_class=texts[1],
        distance=formats.score(float(distance)),
    )


def data_uri(image: np.ndarray) -> str:
    """An image (C, H, W) uint8 as a PNG inside a `data:` URI, shrunk where it is large."""
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((EDGE * 2, EDGE * 2))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
