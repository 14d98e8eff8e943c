"""Published layouts: what the owners' files are, where they come from, and how many samples they hold.

The owners ask for an agreement or a form, so nothing is downloaded: the files lie where the owner's archive puts them,
in FOLDER/NAME. The counts are those that the owners publish; files with other counts are refused. The real files have
not been seen in making this: the readers are tested on miniatures in each layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lossbench.datasets.cache import cached
from lossbench.datasets.columns import Columns
from lossbench.datasets.dataset import (
    DISTRACTOR,
    GALLERY,
    QUERY,
    TEST,
    TRAIN,
    VAL,
    DataError,
    Dataset,
    Indices,
    Request,
)
from lossbench.datasets.pictures import Listed, decoded

VALIDATES_EVERY = 5  # of the training classes in their order; a deal chooses others


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a data set come from, and what they are.

    Attributes:
        address: the owner's page.
        marker: a file or folder that lies at the top of the owner's archive.
        counts: what `counted` must find.
    """

    address: str
    marker: str
    counts: Mapping[str, int]


LAYOUTS = {
    "cub200": Layout(
        "https://www.vision.caltech.edu/datasets/cub_200_2011, CUB_200_2011.tgz, unpacked",
        "train_test_split.txt",
        {"training images": 5_864, "training classes": 100, "test images": 5_924, "test classes": 100},
    ),
    "cars196": Layout(
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html, car_ims.tgz unpacked and cars_annos.mat",
        "cars_annos.mat",
        {"training images": 8_054, "training classes": 98, "test images": 8_131, "test classes": 98},
    ),
    "sop": Layout(
        "https://cvgl.stanford.edu/projects/lifted_struct, Stanford_Online_Products.zip, unpacked",
        "Ebay_train.txt",
        {"training images": 59_551, "training classes": 11_318, "test images": 60_502, "test classes": 11_316},
    ),
    "inshop": Layout(
        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html, Img/img.zip unpacked and Eval/",
        "Eval/list_eval_partition.txt",
        {
            "training images": 25_882,
            "training classes": 3_997,
            "test images": 26_830,
            "test classes": 3_985,
            "queries": 14_218,
            "gallery images": 12_612,
        },
    ),
    "market1501": Layout(
        "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html, Market-1501-v15.09.15.zip, unpacked",
        "bounding_box_test",
        {
            "training images": 12_936,
            "training classes": 751,
            "test images": 19_281,  # distractors among them
            "test classes": 750,
            "queries": 3_368,
            "gallery images": 15_913,
        },
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture of a published data set: its file, the owner's class, and whether it is to be tested on."""

    file: Path
    label: str
    test: bool
    role: int | None = None
    group: int | None = None


def top(name: str, request: Request) -> Path:
    """The folder that the owner's archive unpacks to, FOLDER/NAME itself or one in it.

    Raises:
        DataError: it is not there; says where to get it.
    """
    if (folder := found(name, request.folder)) is None:
        layout, home = LAYOUTS[name], request.folder / name
        raise DataError(f"{name}: {layout.marker} not found in {home}; put there what you get from {layout.address}")
    return folder


def found(name: str, data_folder: Path) -> Path | None:
    """As `top`; None where it is not there."""
    home = data_folder / name
    return next((each for each in (home, *sorted(home.glob("*/"))) if (each / LAYOUTS[name].marker).exists()), None)


def checked(
    name: str,
    request: Request,
    samples: Sequence[Sample],
    decode: Callable[[Request], Dataset],
    lists: Sequence[str] = (),
) -> Dataset:
    """The data set from the cache, if its samples are as many as the owner publishes and their files are there.

    Args:
        lists: the owner's lists that `decode` reads, from `top`.

    Raises:
        DataError: other counts than the owner's, or pictures that are missing or cannot be read.
    """
    have = counted(samples)
    for what, number in LAYOUTS[name].counts.items():
        if have[what] != number:
            raise DataError(f"{name}: {have[what]:,} {what}, but the owner publishes {number:,}; unpack it again")
    files = [sample.file for sample in samples]
    if absent := [file for file in files if not file.is_file()]:
        raise DataError(f"{name}: {len(absent):,} pictures are missing: {absent[0]}; unpack it again")
    root = top(name, request)
    return cached(name, request, [*(root / each for each in lists), *files], decode)


def assembled(name: str, request: Request, samples: Sequence[Sample], notes: Sequence[str] = ()) -> Dataset:
    """The data set of some samples: the classes that are not tested train, and every fifth of those validates.

    Raises:
        DataError: a picture cannot be read.
    """
    columns = _columns(samples)
    root = top(name, request)
    files = [sample.file for sample in samples]
    listed = Listed(name, [file.relative_to(root).as_posix() for file in files], files, columns, notes=tuple(notes))
    data = decoded(listed, request)
    if data.unreadable:
        raise DataError(
            f"{name}: {len(data.unreadable)} pictures cannot be read: {data.unreadable[0]}; unpack it again"
        )
    tested = np.zeros(data.num_classes, dtype=bool)
    tested[columns.labels] = [sample.test for sample in samples]
    return replace(data, class_split=_class_split(tested), val_is_made=True)


def counted(samples: Sequence[Sample]) -> dict[str, int]:
    """How many of each kind there are; distractors are images and of no class."""
    parts = {
        part: [each for each in samples if each.test == tested]
        for part, tested in (("training", False), ("test", True))
    }
    found = {f"{part} images": len(chosen) for part, chosen in parts.items()}
    found |= {
        f"{part} classes": len({each.label for each in chosen if each.role != DISTRACTOR})
        for part, chosen in parts.items()
    }
    found["queries"] = sum(each.role == QUERY for each in samples)
    found["gallery images"] = sum(each.role in (GALLERY, DISTRACTOR) for each in samples)
    return found


def _columns(samples: Sequence[Sample]) -> Columns:
    names, labels = np.unique([sample.label for sample in samples], return_inverse=True)
    roles = [sample.role for sample in samples]
    groups = [sample.group for sample in samples]
    return Columns(
        labels=labels.astype(np.int64),
        class_names=tuple(str(name) for name in names),
        roles=None if None in roles else np.array(roles, dtype=np.int64),
        groups=None if None in groups else np.array(groups, dtype=np.int64),
    )


def _class_split(tested: np.ndarray) -> Indices:
    """(C,) TEST as given; of the others every fifth validates."""
    split = np.where(tested, TEST, TRAIN).astype(np.int64)
    learnt = np.flatnonzero(~tested)
    split[learnt[VALIDATES_EVERY - 1 :: VALIDATES_EVERY]] = VAL
    return split
