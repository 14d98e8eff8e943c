"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each (Lake et al. 2015)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lossbench.datasets.archives import members
from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import TEST, TRAIN, VAL, DataError, Dataset, Images, Request
from lossbench.datasets.images import shrunk
from lossbench.datasets.sources import local_files

NATIVE = 105  # pixels
# 191 of the 964 background characters, from alphabets that have no close relative among the other 24, unlike the
# two Georgian, the two Japanese and the three Canadian ones.
VALIDATION_ALPHABETS = {"Armenian", "Burmese_(Myanmar)", "Futurama", "Korean", "N_Ko", "Tagalog"}


def load(request: Request) -> Dataset:
    """32,460 drawings, bright ink on black, 105 x 105 or averaged over areas to `size`.

    Open-set: the publisher's 20 evaluation alphabets test, 6 of the 30 background alphabets validate; a deal takes
    other 6, relatives of those that are learnt among them.
    """
    return cached("omniglot", request, local_files("omniglot", request.folder), decode)


def decode(request: Request) -> Dataset:
    """Both archives, classes in the order background, evaluation, then by name."""
    images: list[Images] = []
    labels: list[int] = []
    names: list[str] = []
    split: list[int] = []
    for path, evaluation in zip(local_files("omniglot", request.folder), (False, True), strict=True):
        for name, content in sorted(members(path, lambda name: name.endswith(".png"))):
            alphabet, character = _place(name, path.name)
            if not names or names[-1] != f"{alphabet}/{character}":
                names.append(f"{alphabet}/{character}")
                split.append(TEST if evaluation else VAL if alphabet in VALIDATION_ALPHABETS else TRAIN)
            images.append(_drawing(name, content, request.size))
            labels.append(len(names) - 1)
    if not images:
        raise DataError(f"omniglot: no drawings in {request.folder / 'omniglot'}; fetch the archives again")
    return Dataset(
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(names),
        class_split=np.array(split, dtype=np.int64),
        val_is_made=True,
        class_family=np.unique([name.partition("/")[0] for name in names], return_inverse=True)[1].astype(np.int64),
    )


def _place(name: str, archive: str) -> tuple[str, str]:
    """Alphabet and character of `images_background/Greek/character01/0394_01.png`."""
    match name.split("/"):
        case [_, alphabet, character, _]:
            return alphabet, character
    raise DataError(f"{archive}: member {name!r} is not FOLDER/ALPHABET/CHARACTER/DRAWING.png")


def _drawing(name: str, content: bytes, size: int | None) -> Images:
    """Ink is 0 in the file; here it is bright, as in the other sets of characters."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            grey = picture.convert("L")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"omniglot: {name} cannot be read ({error}); fetch the archives again") from error
    if grey.size != (NATIVE, NATIVE):
        raise DataError(f"omniglot: {name} has {grey.width} x {grey.height} pixels, not {NATIVE} x {NATIVE}")
    return 255 - np.asarray(shrunk(grey, size))
