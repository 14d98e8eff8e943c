from __future__ import annotations

import shutil
import sys

import dataset_files
import numpy as np
import pytest
from PIL import Image

from lossbench.datasets import DataError, load, outline
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


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "jfif", "pgm", "pnm", "bmp", "webp", "PNG"])
def test_every_format(root, suffix):
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "pgm": "PPM", "pnm": "PPM"}.get(
        suffix.lower(), suffix.upper()
    )
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


def rgba(alpha: np.ndarray, color=(0, 0, 0)) -> np.ndarray:
    """A picture of one color that can be seen through as `alpha` (H, W) says."""
    return np.dstack([np.broadcast_to(np.array(color, dtype=np.uint8), (*alpha.shape, 3)), alpha])


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "tRNS"])
def test_what_is_transparent_lies_on_white_and_is_counted(root, kind):
    icon = np.full((12, 12), 0, dtype=np.uint8)
    icon[3:9, 3:9] = 255  # a black square on transparent ground
    picture = Image.fromarray(rgba(icon))
    if kind == "LA":
        picture = picture.convert("LA")
    elif kind == "palette":
        picture = picture.quantize(4)
    if kind == "tRNS":  # one gray is declared transparent
        Image.fromarray(255 - icon).save(root / "class0" / "z.png", transparency=255)
    else:
        picture.save(root / "class0" / "z.png")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UnreadableFiles, match=r"1 picture with transparency laid over white: class0/z.png"):
            found = load(f"folder:{root}").images
        assert np.array_equal(found[4] if found.ndim == 3 else found[4, :, :, 0], 255 - icon)


def test_half_transparent_is_half_white(root):
    Image.fromarray(rgba(np.full((12, 12), 128, dtype=np.uint8), (0, 0, 200))).save(root / "class0" / "z.png")
    with pytest.warns(UnreadableFiles):
        found = load(f"folder:{root}").images
    assert np.abs(found[4].astype(int) - [127, 127, 227]).max() <= 1  # half of it white, half of it the color


def test_opaque_alpha_is_nothing_to_speak_of(root, recwarn):
    Image.fromarray(rgba(np.full((12, 12), 255, dtype=np.uint8), (9, 9, 9))).save(root / "class0" / "z.png")
    assert (load(f"folder:{root}").images[4] == 9).all()
    assert not recwarn


def test_of_frames_and_pages_the_first_counts(root):
    frames = [Image.fromarray(np.full((12, 12), shade, dtype=np.uint8)) for shade in (40, 200)]
    for suffix in ("gif", "tif", "tiff"):
        frames[0].save(root / "class2" / f"z.{suffix}", save_all=True, append_images=frames[1:])
    found = load(f"folder:{root}").images
    assert (found[-3:] == 40).all()


def test_heic_is_read_where_pillow_heif_is_installed(root):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.new("RGB", (12, 12), (200, 30, 30)).save(root / "class2" / "z.heic", quality=95)
    assert np.abs(load(f"folder:{root}").images[-1].astype(int) - [200, 30, 30]).max() <= 6


def test_heic_without_pillow_heif_is_left_out_and_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (root / "class2" / "z.heic").write_bytes(b"any")
    with pytest.warns(UnreadableFiles, match=r"1 file left out \(needs pip install pillow-heif\): class2/z.heic"):
        assert len(load(f"folder:{root}").images) == 12


def test_twelve_bits_in_files_of_sixteen_use_their_range(root):
    dark, bright = (np.full((12, 12), value, dtype=np.uint16) for value in (160, 4000))
    Image.fromarray(dark).save(root / "class2" / "z.png")
    Image.fromarray(bright).save(root / "class2" / "zz.tif")
    found = load(f"folder:{root}").images
    assert (found[-2] == 160 >> 4).all()  # all deep pictures share one range
    assert (found[-1] == 4000 >> 4).all()
    assert (load(f"folder:{root}", 6).images[-1] == 4000 >> 4).all()


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


def test_what_is_left_out_is_one_line_a_reason_every_time(root):
    for number in range(4):
        (root / "class0" / f"broken{number}.png").write_bytes(b"not a picture")
    (root / "class1" / "cut.png").write_bytes((root / "class1" / "0.png").read_bytes()[:60])
    (root / "class1" / "film.mp4").write_bytes(b"moving")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UnreadableFiles) as said:
            data = load(f"folder:{root}")
        assert [str(each.message).partition("pictures: ")[2] for each in said] == [
            "5 files left out (damaged, or not what its name says): "
            "class0/broken0.png, class0/broken1.png, class0/broken2.png and 2 more",
            "1 file left out (not a picture): class1/film.mp4",
        ]
        assert len(data.unreadable) == 6
    assert len(data.images) == 12


@pytest.mark.parametrize("name", ["Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt", "README.md", ".hidden"])
def test_junk_is_silent(root, name, recwarn):
    (root / "class1" / name).write_text("whatever")
    (root / name).write_text("whatever")
    data = load(f"folder:{root}")
    assert (len(data.images), data.unreadable, data.notes, list(recwarn)) == (12, (), (), [])


def test_folders_inside_a_class_are_read(root):
    deep = root / "class1" / "2024" / "march"
    deep.mkdir(parents=True)
    (root / "class1" / ".thumbnails").mkdir()
    (root / "class1" / ".thumbnails" / "0.png").write_bytes(b"not looked at")
    (deep / "0.png").write_bytes(dataset_files.encoded(dataset_files.noise(9, 12, 12)))
    data = load(f"folder:{root}")
    assert data.labels.tolist() == [0] * 4 + [1] * 5 + [2] * 4
    assert any(np.array_equal(image, dataset_files.noise(9, 12, 12)) for image in data.images[4:9])


# splits of one's own


@pytest.fixture
def parted(tmp_path):
    """`parted(train=3, ...)`: a folder of parts with so many classes of four pictures each, named from `first` on."""

    def write(first: dict[str, int], **classes: int):
        folder = tmp_path / "parted"
        for number, (part, count) in enumerate(classes.items()):
            for label in range(count):
                place = folder / part / f"class{first.get(part, 0) + label}"
                place.mkdir(parents=True)
                for picture in range(4):
                    pixels = dataset_files.noise(number * 1000 + label * 10 + picture, 12, 12)
                    (place / f"{picture}.png").write_bytes(dataset_files.encoded(pixels))
        return folder

    return write


def test_parts_with_the_same_classes_are_a_closed_set_split(parted):
    data = load(f"folder:{parted({}, train=3, val=3, test=3)}")
    assert data.class_names == ("class0", "class1", "class2")
    parts = split(data, "closed-set")
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [12, 12, 12]
    assert np.array_equal(data.images[parts.val[0]], dataset_files.noise(1000, 12, 12))
    with pytest.raises(DataError, match=r"open-set: 3 classes .* are in test and in train or val"):
        split(data, "open-set")


def test_parts_with_other_classes_are_an_open_set_split(parted):
    data = load(f"folder:{parted({'validation': 4, 'test': 6}, train=4, validation=2, test=3)}")
    parts = split(data, "open-set")
    assert [np.unique(data.labels[part]).tolist() for part in (parts.train, parts.val, parts.test)] == [
        [0, 1, 2, 3],
        [4, 5],
        [6, 7, 8],
    ]
    with pytest.raises(DataError, match="not in its train"):
        split(data, "closed-set")


def test_without_a_test_part_it_says_what_to_do(parted):
    with pytest.raises(DataError, match="its split has no test; a val of your own is never tested on"):
        load(f"folder:{parted({}, train=3, val=3)}")


# tables


def test_a_table_names_pictures_classes_and_parts(root):
    table = root / "table.csv"
    rows = [(f"class{label}/{picture}.png", f"k{label}") for label in range(3) for picture in range(4)]
    parts = ["train", "train", "Test", "test"] * 3
    lines = [f'"{path}",{label},{part}' for (path, label), part in zip(rows, parts, strict=True)]
    table.write_text("\n".join(["path,label,split", *lines, "absent.png,k0,train"]))
    with pytest.warns(UnreadableFiles, match=r"1 file left out \(not there\): absent.png"):
        data = load(f"csv:{table}")
    assert data.class_names == ("k0", "k1", "k2")
    assert np.array_equal(data.images[5], dataset_files.noise(101, 12, 12))
    assert data.fixed_split.tolist() == [0, 0, 2, 2] * 3
    table.write_text("\n".join(["path,label", *(f"{path},{label}" for path, label in rows)]))
    assert load(f"csv:{table}").fixed_split is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.png,x", "its first line must name path and label; it has no 'path'"),
        ("path,label,split\na.png,x,train\nb.png,y,tset", r"row 3: split 'tset' is none of .*did you mean 'test'"),
        ("path,label\na.png,x\nb.png", "row 3: has not the 2 fields"),
        ("path,label\na.png,x\nb.png,", "row 3: has no label"),
        ("path,label", "has no rows"),
        ("path,label\na.png,x\nb.png,x", "holds one class, 'x'"),
        ("path,label,split\na.png,x,val\nb.png,y,val", "its split has no train; a val of your own"),
    ],
)
def test_a_table_that_does_not_fit_names_the_row(tmp_path, content, message):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load(f"csv:{tmp_path / 'table.csv'}")


# squares


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_that_are_not_square(root, fit):
    wide = np.full((12, 36), 10, dtype=np.uint8)
    wide[:, 12:24] = 200
    for file in root.glob("*/*.png"):
        file.write_bytes(dataset_files.encoded(wide))
    image = load(f"folder:{root}", 12, fit).images[0]
    assert image.shape == (12, 12)
    expected = {
        "crop": np.full((12, 12), 200),
        "stretch": np.tile(np.repeat([10, 200, 10], 4), (12, 1)),
        "pad": np.vstack([np.full((4, 12), 127), np.tile(np.repeat([10, 200, 10], 4), (4, 1)), np.full((4, 12), 127)]),
    }
    assert np.abs(image.astype(int) - expected[fit]).max() <= 1


def test_a_fit_is_part_of_what_the_data_are(root):
    (root / "class0" / "0.png").write_bytes(dataset_files.encoded(dataset_files.noise(3, 12, 30)))
    assert len({load(f"folder:{root}", 6, fit).checksum for fit in ("crop", "pad", "stretch")}) == 3
    with pytest.raises(DataError, match="fit = 'pad' needs a size to fit into"):
        load(f"folder:{root}", None, "pad")


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
    ("make", "message", "classes"),
    [
        (lambda root: (root / "empty").mkdir(), "1 class folder left out, without a picture: empty", 3),
        (
            lambda root: [file.write_bytes(b"") for file in (root / "class1").iterdir()],
            "1 class left out: no picture of it can be read: class1",
            2,
        ),
        (
            lambda root: [file.rename(file.with_suffix(".txt")) for file in (root / "class1").iterdir()],
            "1 class folder left out, without a picture: class1",
            2,
        ),
    ],
)
def test_a_class_without_pictures_is_left_out_and_named(root, make, message, classes):
    make(root)
    with pytest.warns(UnreadableFiles) as said:
        data = load(f"folder:{root}")
    assert message in str(said[-1].message)
    assert data.num_classes == classes
    assert set(data.labels) == set(range(classes))


def test_nothing_readable_is_an_error(root):
    for file in root.glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its 12 files can be read: class0/0.png"):
        load(f"folder:{root}")


def test_one_class_is_refused_before_anything_is_decoded(root, monkeypatch):
    monkeypatch.setattr("lossbench.datasets.pictures.read", None)
    with pytest.raises(DataError, match=rf"one class, 'pictures'.*say folder:{root.parent}/pictures"):
        load(f"folder:{root.parent}")
    for name in ("class1", "class2"):
        shutil.rmtree(root / name)
    with pytest.raises(DataError, match="holds one class, 'class0'; a comparison needs two classes or more"):
        load(f"folder:{root}")


def test_an_outline_has_labels_and_split_without_decoding(root, monkeypatch):
    expected = load(f"folder:{root}")
    monkeypatch.setattr("lossbench.datasets.pictures.read", None)
    found = outline(f"folder:{root}")
    assert np.array_equal(found.labels, expected.labels)
    assert (found.class_names, found.name, found.protocols) == (
        expected.class_names,
        expected.name,
        expected.protocols,
    )
    assert outline("digits") is None


@pytest.mark.parametrize(("name", "typed"), [("pictures", "folder"), ("rows.csv", "csv"), ("f.npz", "features")])
def test_naming_a_path_alone_says_what_to_type(root, name, typed):
    path = root.parent / name
    path.exists() or path.write_text("")
    with pytest.raises(DataError, match=f"write {typed}:{path}"):
        load(str(path))


def test_folders_that_are_none(tmp_path):
    for name, message in (
        ("folder", "say which one"),
        ("folder:", "say which one"),
        (f"folder:{tmp_path / 'absent'}", "is not a folder"),
        (f"folder:{tmp_path}", "has no sub-folders"),
    ):
        with pytest.raises(DataError, match=message):
            load(name)
