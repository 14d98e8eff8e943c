from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dataset_files
import numpy as np
import pytest

import lossbench.datasets.cache
from lossbench.datasets import DataError, Dataset, Request, cached, load
from lossbench.datasets.cache import cache_folder, content_digest, data_folder, write_whole
from lossbench.datasets.dataset import Pairs, arrays_of, with_checksum

calls: list[Request] = []


def decode(request: Request) -> Dataset:
    calls.append(request)
    content = (request.folder / "source").read_bytes()
    row = np.arange(3, dtype=np.int64)
    return Dataset(
        images=np.frombuffer(content[:12], dtype=np.uint8).reshape(3, 2, 2),
        labels=np.array([0, 1, 1]),
        class_names=("a", "ü"),
        class_split=np.array([0, 2]),
        class_part=np.array([0, -1]),
        published_test=np.array([True, False, False]),
        pairs=Pairs(first=row, second=row[::-1].copy(), same=row > 1, part=row),
        max_per_class=7,
        val_is_made=True,
        class_family=np.array([3, 3]),
        unreadable=("x.png",),
    )


@pytest.fixture
def source(tmp_path) -> Request:
    calls.clear()
    (tmp_path / "source").write_bytes(b"0123456789abcdef")
    return Request(folder=tmp_path)


def get(request: Request) -> Dataset:
    return cached("mine", request, [request.folder / "source"], decode)


def entries(cache: Path) -> list[Path]:
    return [path for path in (cache / "datasets" / "mine").iterdir() if not path.name.startswith(".")]


def test_decoding_happens_once_and_everything_comes_back(source):
    built = with_checksum(decode(source))
    calls.clear()
    first, again = get(source), get(source)
    assert len(calls) == 1
    for found in (first, again):
        assert isinstance(found.images, np.memmap)
        assert not found.images.flags.writeable
        assert found.checksum == built.checksum
        assert (found.class_names, found.unreadable, found.max_per_class) == (("a", "ü"), ("x.png",), 7)
        assert found.val_is_made
        assert found.class_family.tolist() == [3, 3]
        expected = arrays_of(built)
        assert expected.keys() == arrays_of(found).keys()
        for name, array in arrays_of(found).items():
            assert array.dtype == expected[name].dtype
            assert np.array_equal(array, expected[name])


def test_other_content_size_or_code_is_another_entry(source, cache, monkeypatch):
    get(source)
    get(Request(folder=source.folder, size=2))
    (source.folder / "source").write_bytes(b"another content!")
    get(source)
    monkeypatch.setattr(lossbench.datasets.cache, "LIBRARIES", ("numpy",))
    get(source)
    assert len(calls) == len(entries(cache)) == 4


def test_the_key_is_the_content_not_the_time(source, cache):
    get(source)
    (source.folder / "source").touch()
    get(source)
    assert len(calls) == 1


@pytest.mark.parametrize("size", [0, 1, 100, -1])
@pytest.mark.parametrize("file", ["images.npy", "rest.npz", "entry.json"])
def test_a_damaged_entry_is_rebuilt(source, cache, file, size):
    checksum = get(source).checksum
    damaged = entries(cache)[0] / file
    damaged.write_bytes(damaged.read_bytes()[:size])
    assert get(source).checksum == checksum
    assert len(calls) == 2
    get(source)
    assert len(calls) == 2


@pytest.mark.parametrize("file", ["images.npy", "rest.npz"])
def test_an_entry_that_has_grown_is_rebuilt(source, cache, file):
    get(source)
    with (entries(cache)[0] / file).open("ab") as stream:
        stream.write(b"x")
    get(source)
    assert len(calls) == 2


@pytest.mark.parametrize("content", ["[]", "null", '{"sizes": {}}', '{"sizes": 3}', "{"])
def test_an_entry_that_says_nonsense_is_rebuilt(source, cache, content):
    get(source)
    (entries(cache)[0] / "entry.json").write_text(content)
    get(source)
    assert len(calls) == 2


def test_a_missing_file_of_an_entry_is_rebuilt(source, cache):
    get(source)
    (entries(cache)[0] / "images.npy").unlink()
    get(source)
    assert len(calls) == 2


def test_a_failure_leaves_nothing_behind(source, cache, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(lossbench.datasets.cache, "_sync", fail)
    with pytest.warns(UserWarning, match=r"mine: not cached: disk full; set LOSSBENCH_CACHE"):
        assert get(source).checksum
    assert list((cache / "datasets" / "mine").iterdir()) == []


def test_a_decoder_that_fails_leaves_no_entry(source, cache):
    (source.folder / "source").write_bytes(b"short")
    with pytest.raises(ValueError):
        get(source)
    assert not (cache / "datasets").exists()


def test_two_workers_race_and_both_win(source, cache):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: get(source), range(16)))
    assert len({data.checksum for data in found}) == 1
    assert len(entries(cache)) == 1
    assert [path for path in (cache / "datasets" / "mine").iterdir() if path.name.startswith(".")] == []


def test_what_killed_workers_left_is_cleared_after_a_day(source, cache):
    import os

    get(source)
    left = {name: cache / "datasets" / "mine" / name for name in (".building-old", ".building-new")}
    for path in left.values():
        path.mkdir()
    os.utime(left[".building-old"], (0, 0))
    get(Request(folder=source.folder, size=9))
    assert not left[".building-old"].exists()
    assert left[".building-new"].exists()


def test_digests_are_remembered_only_while_the_stamp_holds(source, monkeypatch):
    path = source.folder / "source"
    monkeypatch.setattr(lossbench.datasets.cache, "SETTLED_S", -1.0)
    digest = content_digest([path])
    with monkeypatch.context() as patch:
        patch.setattr(lossbench.datasets.cache, "_file_digest", lambda _: pytest.fail("read again"))
        assert content_digest([path]) == digest
    path.write_bytes(b"0123456789abcdeF")
    assert content_digest([path]) != digest


def test_a_file_that_has_just_changed_is_not_remembered(source, cache):
    content_digest([source.folder / "source"])
    assert not (cache / "digests").exists()


def test_write_whole_replaces_and_leaves_no_temporary_file(tmp_path):
    write_whole(tmp_path / "x", b"one")
    write_whole(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".")]) == 0


@pytest.mark.slow
def test_60_000_images_open_in_a_fifth_of_a_second(data, monkeypatch):
    monkeypatch.setattr(lossbench.datasets.cache, "SETTLED_S", -1.0)
    (data / "mnist").mkdir()
    dataset_files.write_idx(data / "mnist", train=50_000, test=10_000)
    load("mnist")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = load("mnist")
        times.append(time.perf_counter() - start)
    assert len(found.images) == 60_000
    assert min(times) < 0.2


def test_the_environment_names_the_folders(monkeypatch):
    monkeypatch.setenv("LOSSBENCH_CACHE", "/x/cache")
    monkeypatch.setenv("LOSSBENCH_DATA", "/x/data")
    assert (cache_folder(), data_folder()) == (Path("/x/cache"), Path("/x/data"))
    monkeypatch.delenv("LOSSBENCH_CACHE")
    monkeypatch.delenv("LOSSBENCH_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x/xdg")
    assert (cache_folder(), data_folder()) == (Path("/x/xdg/lossbench"), Path("/x/xdg/lossbench/data"))


# loading


def test_importing_the_package_imports_no_library():
    code = (
        "import sys, lossbench.datasets, lossbench.datasets.builtin;"
        "assert not {'numpy', 'PIL', 'matplotlib', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_cached_data_imports_no_library_that_made_it(small):
    digits = small("digits")
    assert digits.protocols == ("closed-set", "open-set")
    assert digits.name == "digits"
    assert digits.images.shape == (1797, 8, 8)
    assert (digits.images.min(), digits.images.max()) == (0, 255)


def test_digits_have_known_content(small):
    from sklearn.datasets import load_digits

    assert np.array_equal(np.round(small("digits").images / (255 / 16)), load_digits().images)
    assert np.array_equal(small("digits").labels, load_digits().target)


@pytest.mark.parametrize("size", [4, 20])
def test_a_size_resizes_every_image(size):
    assert load("digits", size).images.shape == (1797, size, size)


def test_shrinking_averages_areas():
    native, half = load("digits").images, load("digits", 4).images
    means = native.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    assert np.abs(half - means).max() < 1  # Pillow rounds rows, then columns


def test_sizes_that_are_none():
    with pytest.raises(DataError, match="size 0 is not a number of pixels"):
        load("digits", 0)


def test_missing_files_are_named_with_what_to_do(data):
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    assert "\n" not in message
    assert "t10k-labels-idx1-ubyte.gz" in message
    assert "lossbench data fetch mnist`, or put the files from https://" in message
    assert str(data / "mnist") in message


# what a data set is


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": np.zeros((3, 2, 2))}, "images are float64"),
        ({"images": np.zeros((3, 2), dtype=np.uint8)}, "images are uint8"),
        ({"images": np.zeros((4, 2, 2), dtype=np.uint8)}, "4 images, but 3 labels"),
        ({"labels": np.array([0, 1, 2])}, "not exactly 0 to 1"),
        ({"labels": np.array([0, 0, 0])}, "not exactly 0 to 1"),
        ({"labels": np.array([0, -1, 1])}, "not exactly 0 to 1"),
        ({"labels": np.array([0, 1, 1], dtype=np.int32)}, "int64"),
        ({"class_split": np.array([0])}, "does not cover the classes"),
        ({"published_test": np.array([True])}, "names 1 samples of 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields, message):
    good = {"images": np.zeros((3, 2, 2), dtype=np.uint8), "labels": np.array([0, 1, 1]), "class_names": ("a", "b")}
    Dataset(**good)
    with pytest.raises(DataError, match=message):
        Dataset(**(good | fields))


def test_the_checksum_is_of_content_and_splits(source):
    from dataclasses import replace

    data = decode(source)
    checksum = with_checksum(data).checksum
    assert checksum == with_checksum(decode(source)).checksum
    changed = [
        replace(data, images=data.images ^ 1),
        replace(data, images=data.images.reshape(3, 1, 4)),
        replace(data, labels=np.array([1, 0, 0])),
        replace(data, class_split=np.array([2, 0])),
        replace(data, published_test=None),
        replace(data, pairs=None),
        replace(data, max_per_class=None),
        replace(data, val_is_made=False),
        replace(data, class_family=None),
    ]
    assert len({checksum, *(with_checksum(other).checksum for other in changed)}) == len(changed) + 1
    assert json.dumps(checksum)
