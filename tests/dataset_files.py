"""Small files in the layouts of the publishers, for tests."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from lossbench.datasets.loading import WITH_PATH

PEOPLE = [f"Person_{number:02d}" for number in range(60)]  # every third has one photograph, the first has 53
FOLDS = 5


def write(name: str, folder: Path) -> Path | None:
    """Write the files of a data set; returns the path where its name needs one, as in `folder:PATH`."""
    target = folder / name
    if name == "features":
        return write_vectors(target)
    if name == "csv":
        return write_table(target)
    writers = {
        "mnist": write_idx,
        "fashion-mnist": write_idx,
        "omniglot": write_omniglot,
        "lfw": write_lfw,
        "cifar10": write_cifar10,
        "cifar100": write_cifar100,
        "folder": write_pictures,
        "huggingface": write_rows,
    }
    if name in writers:
        target.mkdir(parents=True, exist_ok=True)
        writers[name](target)
    return target if name in WITH_PATH else None


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, kind)
    return stream.getvalue()


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    """A gzipped IDX file of unsigned bytes."""
    header = struct.pack(">I", 0x800 + array.ndim if magic is None else magic)
    return gzip.compress(header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes(), mtime=0)


def write_idx(folder: Path, train: int = 240, test: int = 40) -> None:
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(noise(count, count, 28, 28)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))


def write_omniglot(folder: Path, drawings: int = 10) -> None:
    alphabets = {
        "background": ("Greek", "Latin", "Korean", "Tagalog"),
        "evaluation": ("Angelic", "Tibetan"),
    }
    for part, names in alphabets.items():
        members = {}
        for alphabet in names:
            for character in (1, 2):
                for number in range(drawings):
                    pixels = noise(len(members), 105, 105)
                    member = f"images_{part}/{alphabet}/character{character:02d}/0001_{number:02d}.png"
                    members[member] = encoded(pixels, mode="1")
        write_zip(folder / f"images_{part}.zip", members)


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_tar(
    path: Path, members: Mapping[str, bytes], extra: Sequence[tarfile.TarInfo] = (), *, level: int = 9
) -> None:
    with tarfile.open(path, "w:gz", compresslevel=level) as archive:
        for info in extra:
            archive.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def photographs_of(person: str) -> int:
    number = PEOPLE.index(person)
    return 53 if number == 0 else 1 if number % 3 == 2 else 2 + number % 2


@lru_cache  # as long to draw as all that a test does with it
def photograph(number: int) -> bytes:
    return encoded(noise(number, 250, 250, 3), "JPEG")


def write_lfw(folder: Path) -> None:
    """60 people in five folds of twelve; View 1 has the first 40 to learn on and the last 20 to test."""
    members = {
        f"lfw-deepfunneled/{person}/{person}_{number:04d}.jpg": photograph(number)
        for person in PEOPLE
        for number in range(1, photographs_of(person) + 1)
    }
    write_tar(folder / "lfw-deepfunneled.tgz", members, level=1)
    folds = [PEOPLE[fold::FOLDS] for fold in range(FOLDS)]
    pairs = [line for fold in folds for line in pair_lines(fold)]
    (folder / "pairs.txt").write_text("\n".join([f"{FOLDS}\t3", *pairs]) + "\n")
    people = [line for fold in folds for line in people_lines(fold)]
    (folder / "people.txt").write_text("\n".join([str(FOLDS), *people]) + "\n")
    for part, chosen in (("Train", PEOPLE[:40]), ("Test", PEOPLE[40:])):
        (folder / f"pairsDev{part}.txt").write_text("\n".join(["3", *pair_lines(chosen)]) + "\n")
        (folder / f"peopleDev{part}.txt").write_text("\n".join(people_lines(chosen)) + "\n")


def pair_lines(people: Sequence[str]) -> list[str]:
    """Three pairs of one person, three of two; the first person's last photograph is among them."""
    several = [person for person in people if photographs_of(person) >= 2]
    same = [f"{person}\t1\t{photographs_of(person)}" for person in several[:3]]
    return same + [f"{first}\t1\t{second}\t1" for first, second in zip(people[:3], people[3:6], strict=True)]


def people_lines(people: Sequence[str]) -> list[str]:
    return [str(len(people)), *(f"{person}\t{photographs_of(person)}" for person in people)]


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2 and the NumPy of 2009 wrote: strings are bytes, and NumPy's module has its old name."""

    dispatch: ClassVar[dict] = pickle._Pickler.dispatch.copy()

    def save_text(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = dispatch[str] = save_text


def pickled(value: object) -> bytes:
    """A pickle as the CIFAR files have it."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_batch(count: int, classes: int, labels_key: bytes, seed: int) -> bytes:
    labels = [(number + seed) % classes for number in range(count)]
    data = noise(seed, count, 3072)
    return pickled({b"data": data, labels_key: labels, b"batch_label": b"x"})


def write_cifar10(folder: Path) -> None:
    base = "cifar-10-batches-py"
    members = {f"{base}/data_batch_{part}": cifar_batch(40, 10, b"labels", part) for part in range(1, 6)}
    members[f"{base}/test_batch"] = cifar_batch(40, 10, b"labels", 6)
    names = [f"class {number}".encode() for number in range(10)]
    members[f"{base}/batches.meta"] = pickled({b"label_names": names})
    write_tar(folder / "cifar-10-python.tar.gz", members)


def write_cifar100(folder: Path) -> None:
    base = "cifar-100-python"
    members = {
        f"{base}/train": cifar_batch(1000, 100, b"fine_labels", 1),
        f"{base}/test": cifar_batch(200, 100, b"fine_labels", 2),
        f"{base}/meta": pickled({b"fine_label_names": [f"class {number}".encode() for number in range(100)]}),
    }
    write_tar(folder / "cifar-100-python.tar.gz", members)


def write_pictures(folder: Path, classes: int = 10, count: int = 10) -> None:
    for number in range(classes):
        (folder / f"class{number}").mkdir()
        for picture in range(count):
            pixels = noise(number * 100 + picture, 12, 12)
            (folder / f"class{number}" / f"{picture}.png").write_bytes(encoded(pixels))


def write_vectors(folder: Path, classes: int = 10, count: int = 10) -> Path:
    folder.mkdir(parents=True)
    labels = np.repeat(np.arange(classes), count)
    points = np.random.default_rng(0).normal(size=(classes * count, 6)) + 3 * np.eye(classes, 6)[labels]
    np.savez(folder / "vectors.npz", features=points.astype(np.float32), labels=labels)
    return folder / "vectors.npz"


def write_table(folder: Path, classes: int = 10, count: int = 10) -> Path:
    folder.mkdir(parents=True)
    write_pictures(folder, classes, count)
    files = sorted(folder.glob("*/*.png"))
    (folder / "table.csv").write_text(
        "\n".join(["path,label", *(f"{file.relative_to(folder)},{file.parent.name}" for file in files)])
    )
    return folder / "table.csv"


def write_rows(folder: Path, classes: int = 10, count: int = 10) -> None:
    rows(classes * count, [f"class{number}" for number in range(classes)]).save_to_disk(folder)


def rows(count: int, classes: Sequence[str], *, shape: tuple[int, ...] = (12, 12), first: int = 0):
    """A table of Hugging Face: a picture and a class in each row, classes in turn."""
    import datasets

    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=list(classes))})
    pictures = [Image.fromarray(noise(first + row, *shape)) for row in range(count)]
    labels = [row % len(classes) for row in range(count)]
    return datasets.Dataset.from_dict({"img": pictures, "kind": labels}, features=features)
