from __future__ import annotations

import dataset_files
import numpy as np
import pytest
from PIL import Image

from lossbench.datasets import DataError, load
from lossbench.datasets.loading import UnreadableFiles
from lossbench.datasets.splits import split


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    dataset_files.write_pictures(folder, classes=3, count=4)
    return folder


def test_classes_are_sub_folders_and_pictures_their_files(root):
    data = load(f"folder:{root}")
    assert data.class_names == ("class0", "class1", "class2")
    assert data.images.shape == (12, 12, 12)
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(data.images[5], dataset_files.noise(101, 12, 12))
    assert data.unreadable == ()


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "pgm", "bmp", "webp", "PNG"])
def test_every_format(root, suffix):
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "pgm": "PPM"}.get(suffix.lower(), suffix.upper())
    smooth = np.linspace(0, 255, 144).reshape(12, 12).astype(np.uint8)
    Image.fromarray(smooth).save(root / "class2" / f"z.{suffix}", kind)
    found = load(f"folder:{root}").images
    last = found[-1] if found.ndim == 3 else found[-1, :, :, 0]  # WebP has no grey: it makes the whole set colour
    assert np.abs(last.astype(int) - smooth).max() <= 12


def test_colour_anywhere_makes_colour_everywhere(root):
    pixels = dataset_files.noise(1, 12, 12, 3)
    (root / "class1" / "z.png").write_bytes(dataset_files.encoded(pixels))
    found = load(f"folder:{root}").images
    assert found.shape == (13, 12, 12, 3)
    assert np.array_equal(found[8], pixels)
    assert (found[0] == found[0][:, :, :1]).all()


def test_sixteen_bits_are_cut_to_the_upper_eight(root):
    pixels = (np.arange(144, dtype=np.uint16) * 400).reshape(12, 12)
    Image.fromarray(pixels).save(root / "class2" / "z.png")
    Image.fromarray(pixels).save(root / "class2" / "zz.pgm")
    found = load(f"folder:{root}").images
    assert np.array_equal(found[-1], pixels >> 8)
    assert np.array_equal(found[-2], pixels >> 8)


def test_a_size_takes_the_middle_square(root):
    wide = np.zeros((12, 36), dtype=np.uint8)
    wide[:, 12:24] = 200
    (root / "class0" / "0.png").write_bytes(dataset_files.encoded(wide))
    assert (load(f"folder:{root}", 6).images[0] == 200).all()
    with pytest.raises(DataError, match=r"pictures differ in size \(12 x 12 and 36 x 12\); set `training.input_size`"):
        load(f"folder:{root}")


def test_unreadable_files_are_counted_and_named_every_time(root):
    (root / "class0" / "broken.png").write_bytes(b"not a picture")
    (root / "class1" / "cut.png").write_bytes((root / "class1" / "0.png").read_bytes()[:60])
    (root / "class1" / "notes.txt").write_text("hello")
    (root / "class2" / "nested").mkdir()
    (root / "class2" / ".hidden").write_text("")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UnreadableFiles, match="4 files left out as unreadable: class0/broken.png"):
            data = load(f"folder:{root}")
        assert [file.partition(" ")[0] for file in data.unreadable] == [
            "class0/broken.png",
            "class1/cut.png",
            "class1/notes.txt",
            "class2/nested",
        ]
    assert len(data.images) == 12


def test_a_class_with_one_picture_is_for_the_gallery(root):
    (root / "rare").mkdir()
    (root / "rare" / "0.png").write_bytes(dataset_files.encoded(dataset_files.noise(5, 12, 12)))
    for number in range(4, 10):
        (root / "class0" / f"{number}.png").write_bytes(dataset_files.encoded(dataset_files.noise(number, 12, 12)))
    data = load(f"folder:{root}")
    parts = split(data, "closed-set")
    assert 3 in data.labels[parts.train]
    assert 3 not in data.labels[np.concatenate([parts.val, parts.test])]


def test_a_new_or_renamed_picture_is_seen(root):
    before = load(f"folder:{root}").checksum
    (root / "class0" / "9.png").write_bytes(dataset_files.encoded(dataset_files.noise(7, 12, 12)))
    assert len(load(f"folder:{root}").images) == 13
    (root / "class0" / "9.png").rename(root / "class1" / "9.png")
    data = load(f"folder:{root}")
    assert data.labels.tolist() == [0] * 4 + [1] * 5 + [2] * 4
    assert data.checksum != before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: (root / "empty").mkdir(), "class folder empty is empty"),
        (lambda root: [file.write_bytes(b"") for file in (root / "class1").iterdir()], "class1: none of its 4 files"),
        (lambda root: [file.rename(file.with_suffix(".txt")) for file in (root / "class1").iterdir()], "none of its 4"),
    ],
)
def test_a_class_without_pictures_is_an_error(root, make, message):
    make(root)
    with pytest.raises(DataError, match=message):
        load(f"folder:{root}")


def test_folders_that_are_none(tmp_path):
    for name, message in (
        ("folder", "say which one"),
        ("folder:", "say which one"),
        (f"folder:{tmp_path / 'absent'}", "is not a folder"),
        (f"folder:{tmp_path}", "has no sub-folders"),
    ):
        with pytest.raises(DataError, match=message):
            load(name)
