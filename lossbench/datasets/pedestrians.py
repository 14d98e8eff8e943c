"""Market-1501: boxes of 1,501 people seen by six cameras, and of what a detector took for people (Zheng et al. 2015).

A name says who and where: `0002_c1s1_000451_03.jpg` is person 2 seen by camera 1. Person 0000 is a distractor, which
stays in the gallery and matches nobody. Person -1 is junk: a box on no one in particular, or a poor one, which the
owner's evaluation leaves out of every ranking; here it is left out of the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lossbench.datasets.dataset import BOTH, DISTRACTOR, GALLERY, QUERY, DataError, Dataset, Request
from lossbench.datasets.layouts import Sample, assembled, checked, top
from lossbench.datasets.pictures import line

FOLDERS = {"bounding_box_train": BOTH, "query": QUERY, "bounding_box_test": GALLERY}
NAME = re.compile(r"(?P<person>-1|\d{4})_c(?P<camera>\d)s\d+_\d+_\d+\.jpg")
JUNK, NOBODY = "-1", "0000"


def load(request: Request) -> Dataset:
    """Boxes of 128 x 64 pixels with the camera as group; the owner's queries and gallery are the test."""
    return checked("market1501", request, list(listed(request)), decode)


def decode(request: Request) -> Dataset:
    """The boxes of `listed`."""
    root = top("market1501", request)
    junk = [file.relative_to(root).as_posix() for _, file in _files(request) if file.name.startswith(JUNK)]
    notes = [line(junk, "box", "of junk left out, as in the owner's evaluation")] if junk else []
    return assembled("market1501", request, list(listed(request)), notes)


def listed(request: Request) -> Iterator[Sample]:
    """Every box but junk, in the order of names."""
    for folder, file in _files(request):
        if (found := NAME.fullmatch(file.name)) is None:
            raise DataError(f"market1501: {folder}/{file.name} is not PERSON_cCAMERAsSEQUENCE_FRAME_BOX.jpg")
        if found["person"] == JUNK:
            continue
        role = DISTRACTOR if found["person"] == NOBODY else FOLDERS[folder]
        test = folder != "bounding_box_train"
        yield Sample(file=file, label=found["person"], test=test, role=role, group=int(found["camera"]))


def _files(request: Request) -> Iterator[tuple[str, Path]]:
    root = top("market1501", request)
    for folder in FOLDERS:
        if not (root / folder).is_dir():
            raise DataError(f"market1501: {folder} not found in {root}; unpack the archive again")
        yield from ((folder, file) for file in sorted((root / folder).glob("*.jpg")))
