from __future__ import annotations

import gzip
import os
import pickle
import tarfile
import zipfile

import dataset_files
import numpy as np
import pytest
from PIL import Image

from lossbench.datasets import DataError, load
from lossbench.datasets.archives import contents_digest, members
from lossbench.datasets.cifar import StoredArray, read_pickle
from lossbench.datasets.dataset import TEST, TRAIN, VAL

# IDX


@pytest.fixture
def mnist(data):
    dataset_files.write("mnist", data)
    return data / "mnist"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_give_train_then_test(data, name):
    dataset_files.write(name, data)
    found = load(name)
    assert np.array_equal(found.images[:240], dataset_files.noise(240, 240, 28, 28))
    assert np.array_equal(found.images[240:], dataset_files.noise(40, 40, 28, 28))
    assert found.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert np.flatnonzero(found.published_test).tolist() == list(range(240, 280))
    assert found.num_classes == 10


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (IMAGES, lambda content: content[: len(content) // 2], "truncated or damaged gzip file"),
        (IMAGES, lambda content: content[:-4], "truncated or damaged gzip file"),
        (IMAGES, lambda _: b"plain text", "truncated or damaged gzip file"),
        (IMAGES, lambda _: b"", "magic number 0x0000 instead of 0x0803"),
        (IMAGES, lambda _: dataset_files.idx(np.zeros((240, 28, 28), np.uint8), magic=0x801), "magic number 0x0801"),
        (LABELS, lambda _: dataset_files.idx(np.zeros(239, np.uint8)), "239 labels, but train-images.* has 240 images"),
        (LABELS, lambda _: gzip.compress(b"\0\0\x08\1\0\0\0\5abc"), "5 bytes announced for .* but 3 found"),
        (LABELS, lambda _: gzip.compress(b"\0\0\x08\1\0\0\0\5abcdefgh"), "5 bytes announced for .* but more found"),
        (LABELS, lambda _: gzip.compress(b"\0\0\x08\1\0"), "ends within its header"),
        (IMAGES, lambda _: gzip.compress(b"\0\0\x08\3" + b"\xff" * 12), "not such an IDX file"),
    ],
)
def test_idx_files_that_are_wrong(mnist, file, content, message):
    path = mnist / file
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load("mnist")
    assert str(caught.value).startswith(str(mnist))
    assert "\n" not in str(caught.value)


# Omniglot


def test_omniglot_is_split_by_alphabet_with_bright_ink(data):
    dataset_files.write("omniglot", data)
    found = load("omniglot")
    assert found.images.shape == (120, 105, 105)
    assert set(np.unique(found.images)) == {0, 255}
    split = dict(zip(found.class_names, found.class_split, strict=True))
    assert split["Korean/character01"] == split["Tagalog/character02"] == VAL
    assert split["Latin/character01"] == split["Greek/character02"] == TRAIN
    assert split["Tibetan/character01"] == TEST
    assert found.labels.tolist() == np.repeat(np.arange(12), 10).tolist()
    name, content = min(members(data / "omniglot" / "images_background.zip"))
    assert name.startswith("images_background/Greek/character01/")
    (data / "first.png").write_bytes(content)
    assert np.array_equal(found.images[0], ~np.asarray(Image.open(data / "first.png").convert("L")))


def test_omniglot_shrinks_by_area(data):
    dataset_files.write("omniglot", data)
    native, small = load("omniglot").images, load("omniglot", 35).images
    means = native.reshape(-1, 35, 3, 35, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images_background/Greek/x.png", b"", "is not FOLDER/ALPHABET/CHARACTER/DRAWING.png"),
        ("images_background/Greek/c/x.png", b"no", "x.png cannot be read"),
        ("images_background/Greek/c/x.png", dataset_files.encoded(np.zeros((5, 5), np.uint8)), "5 x 5 pixels"),
        ("../images_background/Greek/c/x.png", b"", "points outside"),
    ],
)
def test_omniglot_archives_that_are_wrong(data, name, content, message):
    dataset_files.write("omniglot", data)
    dataset_files.write_zip(data / "omniglot" / "images_background.zip", {name: content})
    with pytest.raises(DataError, match=message):
        load("omniglot")


# archives

HOSTILE_NAMES = ["../x", "a/../../x", "/etc/x", "..\\x", "C:/x", "\\\\host\\x", "a/.."]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_a_member_that_escapes_is_refused_and_nothing_is_written(tmp_path, name, suffix):
    path = tmp_path / "inner" / f"archive{suffix}"
    path.parent.mkdir()
    (dataset_files.write_zip if suffix == ".zip" else dataset_files.write_tar)(path, {"good.png": b"1", name: b"2"})
    with pytest.raises(DataError, match=r"refused: member .* points outside the archive"):
        list(members(path))
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", path.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("x.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    dataset_files.write_tar(tmp_path / "a.tgz", {"good.jpg": b"1"}, [info])
    with pytest.raises(DataError, match="is a link or a device"):
        list(members(tmp_path / "a.tgz"))


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("x.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="is a link or a device"):
        list(members(tmp_path / "a.zip"))


def test_huge_members_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("lossbench.datasets.archives.MAX_MEMBER_BYTES", 10)
    dataset_files.write_zip(tmp_path / "a.zip", {"x": b"0" * 11})
    dataset_files.write_tar(tmp_path / "a.tgz", {"x": b"0" * 11})
    for name in ("a.zip", "a.tgz"):
        with pytest.raises(DataError, match="has 11 bytes, more than 10"):
            list(members(tmp_path / name))


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_truncated_archives(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    write = dataset_files.write_zip if suffix == ".zip" else dataset_files.write_tar
    write(path, {f"{number}.png": os.urandom(5000) for number in range(20)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match="damaged or incomplete archive"):
        list(members(path))


def test_no_cut_of_a_compressed_tar_passes_for_a_shorter_archive(tmp_path):
    """A cut inside a header looks like an end to a reader that does not ask how the compression ended."""
    content = {f"{number}.png": dataset_files.noise(number, 700).tobytes() for number in range(20)}
    dataset_files.write_tar(tmp_path / "whole.tgz", content)
    whole = (tmp_path / "whole.tgz").read_bytes()
    for cut in range(1, len(whole), 19):
        (tmp_path / "cut.tgz").write_bytes(whole[:cut])
        try:
            assert dict(members(tmp_path / "cut.tgz")) == content, cut  # all is there but the end mark
        except DataError:
            continue


def test_contents_are_known_again_however_they_are_packed(tmp_path):
    content = {"a/1.png": b"1", "a/2.png": b"2"}
    dataset_files.write_zip(tmp_path / "a.zip", content)
    dataset_files.write_tar(tmp_path / "b.tgz", {"readme": b"", **dict(reversed(content.items()))})
    dataset_files.write_tar(tmp_path / "c.tgz", {"a/1.png": b"2", "a/2.png": b"1"})
    digests = [contents_digest(tmp_path / name, ".png") for name in ("a.zip", "b.tgz", "c.tgz")]
    assert digests[0] == digests[1] != digests[2]


# LFW


@pytest.fixture
def lfw(data):
    dataset_files.write("lfw", data)
    return data / "lfw"


def test_lfw_has_people_pairs_and_views(lfw):
    found = load("lfw", 16)
    assert found.images.shape[1:] == (16, 16)
    assert found.class_names == tuple(dataset_files.PEOPLE)
    counts = [dataset_files.photographs_of(person) for person in dataset_files.PEOPLE]
    assert np.bincount(found.labels).tolist() == counts
    assert found.class_part.tolist() == [number % 5 for number in range(60)]
    assert (found.class_split[:40] != TEST).all()
    assert (found.class_split[40:] == TEST).all()
    assert np.flatnonzero(found.class_split == VAL).tolist() == list(range(4, 40, 5))
    assert np.bincount(found.pairs.part + 2).tolist() == [6] * 7
    first = found.pairs.of(0)
    assert first.first[0] == 0
    assert first.second[0] == 52


def test_lfw_takes_the_middle_128_pixels_in_grey(lfw):
    found = load("lfw")
    name = "lfw-deepfunneled/Person_00/Person_00_0001.jpg"
    stream = dict(members(lfw / "lfw-deepfunneled.tgz"))[name]
    (lfw / "one.jpg").write_bytes(stream)
    grey = np.asarray(Image.open(lfw / "one.jpg").convert("L"))
    assert np.array_equal(found.images[0], grey[61:189, 61:189])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("pairs.txt", None, "pairs.txt not found in"),
        ("pairs.txt", lambda text: text.replace("Person_00\t1\t53", "Person_00\t1\t54"), "pairs.txt:2: photograph 54"),
        (
            "pairs.txt",
            lambda text: text.replace("Person_00\t1\t53", "Nobody\t1\t53"),
            "photograph 1 of 'Nobody' is not",
        ),
        ("pairs.txt", lambda text: text.replace("Person_00\t1\t53", "Person_00\tone\t2"), "photograph one of"),
        ("pairs.txt", lambda text: text.replace("Person_00\t1\t53", "Person_00"), "1 fields; a pair has 3 or 4"),
        (
            "pairs.txt",
            lambda text: text.replace("Person_00\t1\t53", "Person_00\t1\tPerson_01\t1"),
            "one person belongs",
        ),
        ("pairs.txt", lambda text: text.rstrip("\n").rpartition("\n")[0], "announces 30 pairs, but 29 follow"),
        ("pairs.txt", lambda text: text.replace("5\t3", "many"), "expected FOLDS and PAIRS"),
        ("pairs.txt", lambda _: "", "is empty"),
        ("pairsDevTest.txt", lambda text: text.replace("3\n", "3\t3\n", 1), "expected PAIRS"),
        ("people.txt", lambda text: text.replace("Person_05", "Person_99"), "'Person_99' has no photograph"),
        ("people.txt", lambda text: text.replace("5\n", "five\n", 1), "expected the number of folds, found"),
        ("people.txt", lambda text: text.replace("Person_06", "Person_05"), "'Person_05' is in two folds"),
        ("peopleDevTest.txt", lambda text: text.replace("Person_59", "Person_00"), "is in peopleDevTrain.txt too"),
        ("peopleDevTrain.txt", lambda text: text.replace("40\n", "41\n", 1), "41 people announced"),
        ("peopleDevTrain.txt", lambda text: text.replace("40\n", "", 1), "a number of people is missing"),
    ],
)
def test_lfw_lists_that_are_wrong(lfw, file, change, message):
    path = lfw / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        load("lfw", 16)
    assert "\n" not in str(caught.value)


def test_lfw_archives_with_something_else_in_them(lfw):
    dataset_files.write_tar(lfw / "lfw-deepfunneled.tgz", {"lfw-deepfunneled/A/B_0001.jpg": b""})
    with pytest.raises(DataError, match=r"is not lfw-deepfunneled/PERSON/PERSON_NUMBER.jpg"):
        load("lfw")
    dataset_files.write_tar(lfw / "lfw-deepfunneled.tgz", {"lfw-deepfunneled/A/A_0001.jpg": b"no"})
    with pytest.raises(DataError, match=r"A_0001\.jpg cannot be read"):
        load("lfw")


# CIFAR


@pytest.mark.parametrize(("name", "train", "test"), [("cifar10", 200, 40), ("cifar100", 1000, 200)])
def test_cifar_pickles(data, name, train, test):
    dataset_files.write(name, data)
    found = load(name)
    assert found.images.shape == (train + test, 32, 32, 3)
    assert found.published_test.sum() == test
    count = 40 if name == "cifar10" else train
    expected = dataset_files.noise(1, count, 3072).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(found.images[:count], expected)
    assert found.class_names[3] == "class 3"
    assert found.labels[:3].tolist() == [1, 2, 3]


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "value", [Evil(), {b"data": Evil()}, {b"data": print}, np.float64(1), {b"data": np.zeros(3)[0]}, {1: StoredArray}]
)
def test_a_pickle_that_asks_for_anything_else_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"refused: asks for .*, which no CIFAR file needs"):
        read_pickle(pickle.dumps(value), "x")
    assert list(tmp_path.glob("pwned")) == []


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x02}q\x00(U", b"cos\nsystem\n(S'id'\ntR."])
def test_damaged_pickles_are_refused(content):
    with pytest.raises(DataError, match="x: refused"):
        read_pickle(content, "x")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "holds no dict"),
        ({b"data": np.zeros((2, 3072), np.uint8)}, "has no images or labels"),
        ({b"data": b"0" * 6144, b"labels": [0, 1]}, "has no images or labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, b"1"]}, "has no images or labels"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "but 1 labels"),
        ({b"data": np.zeros((2, 3071), np.uint8), b"labels": [0, 1]}, "but 2 labels"),
        ({b"data": np.zeros((2, 3072), np.int16), b"labels": [0, 1]}, "not rows of unsigned bytes"),
        ({b"data": np.zeros((2, 3072), object), b"labels": [0, 1]}, "not rows of unsigned bytes"),
    ],
)
def test_cifar_batches_that_are_wrong(data, batch, message):
    dataset_files.write("cifar10", data)
    path = data / "cifar10" / "cifar-10-python.tar.gz"
    content = dict(members(path)) | {"cifar-10-batches-py/test_batch": dataset_files.pickled(batch)}
    dataset_files.write_tar(path, content)
    with pytest.raises(DataError, match=message):
        load("cifar10")


def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused():
    batch = read_pickle(dataset_files.pickled({b"data": np.zeros((2, 3), np.uint8)}), "x")
    version, _, kind, order, content = batch[b"data"].state
    assert batch[b"data"].to_uint8("x").shape == (2, 3)
    for shape in ((2, 4), (-2, -3), (6,)):
        batch[b"data"].state = (version, shape, kind, order, content)
        with pytest.raises(DataError, match="x: the array is not rows of unsigned bytes"):
            batch[b"data"].to_uint8("x")


def test_a_cifar_archive_without_a_batch(data):
    dataset_files.write("cifar10", data)
    path = data / "cifar10" / "cifar-10-python.tar.gz"
    content = dict(members(path))
    del content["cifar-10-batches-py/data_batch_3"]
    dataset_files.write_tar(path, content)
    with pytest.raises(DataError, match="data_batch_3 not in the archive"):
        load("cifar10")
