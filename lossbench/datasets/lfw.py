"""Labeled Faces in the Wild, deep-funneled: 13,233 photographs of 5,749 people (Huang et al. 2007, 2012).

Grey, because colour tells more of the photograph than of the person and costs three times as much. The middle 128 x 128
of the 250 x 250 pixels holds the face, and is averaged over areas to `size`.

Views (Huang et al. 2007, section IV): View 1, `people/pairsDevTrain` and `DevTest`, is for development. View 2, ten
folds of people and of 300 + 300 pairs each, is for the final figures. The View 1 people also make the open-set
split: DevTest people test, every fifth of the DevTrain people in alphabetical order validates.

Long tail: 4,069 people have one photograph and one has 530. At most MAX_PER_PERSON of a person count, the first
ones; people with one photograph are not trained on (see `splits`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lossbench.datasets.archives import members
from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import (
    DEV_TEST,
    DEV_TRAIN,
    TEST,
    TRAIN,
    VAL,
    DataError,
    Dataset,
    Images,
    Indices,
    Pairs,
    Request,
)
from lossbench.datasets.images import centered_square, shrunk
from lossbench.datasets.sources import local_files

CROP = 128  # pixels of 250
MAX_PER_PERSON = 50  # twelve people have more
VALIDATES_EVERY = 5
MEMBER = re.compile(r"lfw-deepfunneled/(?P<person>[^/]+)/(?P=person)_(?P<number>\d{4})\.jpg")

Photographs = Mapping[tuple[str, int], int]  # (person, number) -> sample index
PairRow = tuple[int, int, bool, int]  # first, second, same, part


def load(request: Request) -> Dataset:
    """13,233 faces, 128 x 128 grey or `size`, with the pairs and people of both views."""
    return cached("lfw", request, local_files("lfw", request.folder), decode)


def decode(request: Request) -> Dataset:
    """The archive and its six lists; a list that names what the archive does not hold is an error."""
    archive, *lists = local_files("lfw", request.folder)
    pairs_path, dev_train, dev_test, people_path, people_train, people_test = lists
    faces = _faces(archive, request.size)
    keys = sorted(faces)
    photographs = {key: index for index, key in enumerate(keys)}
    people = {person: label for label, person in enumerate(dict.fromkeys(person for person, _ in keys))}
    rows = [
        *read_pairs(pairs_path, photographs),
        *read_pairs(dev_train, photographs, part=DEV_TRAIN),
        *read_pairs(dev_test, photographs, part=DEV_TEST),
    ]
    return Dataset(
        images=np.stack([faces[key] for key in keys]),
        labels=np.array([people[person] for person, _ in keys], dtype=np.int64),
        class_names=tuple(people),
        class_split=_open_set_split(people, people_train, people_test),
        val_is_made=True,
        class_part=_folds(people, people_path),
        pairs=_as_pairs(rows),
        max_per_class=MAX_PER_PERSON,
    )


def _faces(archive: Path, size: int | None) -> dict[tuple[str, int], Images]:
    faces = {}
    for name, content in members(archive, lambda name: name.endswith(".jpg")):
        if (match := MEMBER.fullmatch(name)) is None:
            raise DataError(f"{archive}: member {name!r} is not lfw-deepfunneled/PERSON/PERSON_NUMBER.jpg")
        faces[match["person"], int(match["number"])] = _face(name, content, size)
    if not faces:
        raise DataError(f"{archive}: holds no photographs; fetch it again")
    return faces


def _face(name: str, content: bytes, size: int | None) -> Images:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            grey = centered_square(picture.convert("L"), CROP)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"lfw: {name} cannot be read ({error}); fetch the archive again") from error
    return np.asarray(shrunk(grey, size))


# lists


def read_pairs(path: Path, photographs: Photographs, part: int | None = None) -> list[PairRow]:
    """The pairs of a list: `NAME a b` are two photographs of one person, `NAME a OTHER b` of two.

    Args:
        part: of the development view; None: the list has folds, and its first line says `FOLDS PAIRS`.

    Raises:
        DataError: a line that is not a pair or names an absent photograph, or too few or too many lines.
    """
    header, *lines = _lines(path)
    numbers = [int(field) for field in header if field.isdecimal()]
    if len(numbers) != len(header) or len(numbers) != (2 if part is None else 1):
        raise DataError(f"{path}:1: expected {'FOLDS and PAIRS' if part is None else 'PAIRS'}, found {header}")
    folds, per_fold = (numbers[0] if part is None else 1), numbers[-1]
    if len(lines) != 2 * folds * per_fold:
        raise DataError(f"{path}: line 1 announces {2 * folds * per_fold} pairs, but {len(lines)} follow")
    rows = []
    for number, fields in enumerate(lines):
        first, second = _pair(fields, f"{path}:{number + 2}", photographs)
        fold, place = divmod(number, 2 * per_fold)
        same = place < per_fold
        if same != (len(fields) == 3):
            raise DataError(f"{path}:{number + 2}: a pair of {'one person' if same else 'two people'} belongs here")
        rows.append((first, second, same, fold if part is None else part))
    return rows


def _pair(fields: Sequence[str], place: str, photographs: Photographs) -> tuple[int, int]:
    match fields:
        case [person, first, second]:
            named = ((person, first), (person, second))
        case [person, first, other, second]:
            named = ((person, first), (other, second))
        case _:
            raise DataError(f"{place}: {len(fields)} fields; a pair has 3 or 4, separated by tabs")
    found = [photographs.get((name, int(number))) if number.isdecimal() else None for name, number in named]
    if found[0] is None or found[1] is None:
        name, number = named[0] if found[0] is None else named[1]
        raise DataError(f"{place}: photograph {number} of {name!r} is not in the archive")
    return found[0], found[1]


def _as_pairs(rows: Sequence[PairRow]) -> Pairs:
    first, second, same, part = zip(*rows, strict=True)
    return Pairs(
        first=np.array(first, dtype=np.int64),
        second=np.array(second, dtype=np.int64),
        same=np.array(same, dtype=np.bool_),
        part=np.array(part, dtype=np.int64),
    )


def _open_set_split(people: Mapping[str, int], train_path: Path, test_path: Path) -> Indices:
    split = np.full(len(people), -1, dtype=np.int64)
    learnt = np.sort([_label(person, people, train_path) for person in _people(_lines(train_path), train_path)])
    split[learnt] = TRAIN
    split[learnt[VALIDATES_EVERY - 1 :: VALIDATES_EVERY]] = VAL
    for person in _people(_lines(test_path), test_path):
        label = _label(person, people, test_path)
        if split[label] >= 0:
            raise DataError(f"{test_path}: {person!r} is in {train_path.name} too")
        split[label] = TEST
    return split


def _folds(people: Mapping[str, int], path: Path) -> Indices:
    """(C,) the View 2 fold of each person, -1 for none."""
    header, *lines = _lines(path)
    if len(header) != 1 or not header[0].isdecimal():
        raise DataError(f"{path}:1: expected the number of folds, found {header}")
    parts = np.full(len(people), -1, dtype=np.int64)
    for fold in range(int(header[0])):
        names = _people(lines, path, more_follow=True)
        for person in names:
            label = _label(person, people, path)
            if parts[label] >= 0:
                raise DataError(f"{path}: {person!r} is in two folds")
            parts[label] = fold
        lines = lines[len(names) + 1 :]
    return parts


def _people(lines: Sequence[Sequence[str]], path: Path, *, more_follow: bool = False) -> list[str]:
    """The names of a list that starts with their number."""
    if not lines or len(lines[0]) != 1 or not lines[0][0].isdecimal():
        raise DataError(f"{path}: a number of people is missing")
    count = int(lines[0][0])
    names = [fields[0] for fields in lines[1 : count + 1]]
    if len(names) != count or (not more_follow and len(lines) != count + 1):
        raise DataError(f"{path}: {count} people announced, but {len(lines) - 1} lines follow")
    return names


def _label(person: str, people: Mapping[str, int], path: Path) -> int:
    if person not in people:
        raise DataError(f"{path}: {person!r} has no photograph in the archive")
    return people[person]


def _lines(path: Path) -> list[list[str]]:
    """The tab-separated fields of every line that is not empty."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a UTF-8 text file ({error})") from error
    if not lines:
        raise DataError(f"{path}: is empty; fetch it again")
    return [line.split("\t") for line in lines if line.strip()]
