"""Layouts of owners who ask for an agreement, read from miniatures: what trains, what tests, and as what."""

from __future__ import annotations

import io

import dataset_files
import numpy as np
import owner_files
import pytest
from PIL import Image

from lossbench.datasets import DataError, load
from lossbench.datasets.dataset import BOTH, DISTRACTOR, GALLERY, QUERY, TEST, TRAIN, VAL
from lossbench.datasets.fetch import fetch, list_data, verify
from lossbench.datasets.layouts import LAYOUTS
from lossbench.datasets.roles import matches, roles_of
from lossbench.datasets.splits import split

NAMES = tuple(LAYOUTS)
EVERY = pytest.mark.parametrize("name", NAMES)
# Of the papers: Song et al. 2016 for the first three, Liu et al. 2016, Zheng et al. 2015.
PUBLISHED = {
    "cub200": 11_788,
    "cars196": 16_185,
    "sop": 120_053,
    "inshop": 52_712,
    "market1501": 12_936 + 3_368 + 15_913,
}


@pytest.fixture
def there(data, monkeypatch):
    """`there(name)`: the name, with a miniature of it in the data folder and its counts expected."""

    def write(name: str) -> str:
        owner_files.write(name, data)
        owner_files.expect_miniatures(monkeypatch)
        return name

    return write


@EVERY
def test_the_first_half_of_the_classes_trains_and_the_other_tests(there, name):
    found = load(there(name))
    parts = split(found, "open-set")
    assert found.images.shape[1:] == (12, 12, 3)
    assert [len(np.unique(found.labels[part])) for part in (parts.train, parts.val, parts.test)] == [8, 2, 10]
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [32, 8, 40]
    learnt = {found.class_names[label] for label in found.labels[np.concatenate([parts.train, parts.val])]}
    tested = {found.class_names[label] for label in found.labels[parts.test]}
    assert max(learnt) < min(tested)  # names begin with the owner's numbers
    assert found.val_is_made
    assert np.unique(found.class_split).tolist() == [TRAIN, VAL, TEST]


def test_pictures_keep_their_class(there):
    found = load(there("cub200"))
    for row, label in ((0, "091.Bird_91"), (79, "110.Bird_110")):
        assert found.class_names[found.labels[row]] == label
        noise = dataset_files.noise(10 * int(label[:3]) + row % 4, 12, 12, 3)
        stored = Image.open(io.BytesIO(dataset_files.encoded(noise, "JPEG")))
        assert np.array_equal(found.images[row], np.asarray(stored))


def test_inshop_has_queries_and_a_gallery(there):
    found = load(there("inshop"))
    tested = found.class_split[found.labels] == TEST
    assert set(found.roles[~tested]) == {BOTH}
    assert [int((found.roles[tested] == role).sum()) for role in (QUERY, GALLERY)] == [20, 20]
    assert found.groups is None


def test_market_has_cameras_distractors_and_no_junk(there):
    with pytest.warns(
        UserWarning, match="2 boxes of junk left out, as in the owner's evaluation: bounding_box_test/-1_c1"
    ):
        found = load(there("market1501"))
    assert len(found.labels) == 40 + 43
    distractors = found.roles == DISTRACTOR
    assert [found.class_names[label] for label in np.unique(found.labels[distractors])] == ["0000"]
    assert found.groups[distractors].tolist() == [1, 2, 3]
    assert not np.isin(split(found, "open-set").test, np.flatnonzero(distractors)).any()
    parts = split(found, "query-gallery")
    roles = roles_of(found, parts.test, made=False)
    assert [int((roles == role).sum()) for role in (QUERY, GALLERY, DISTRACTOR)] == [20, 20, 3]
    # Cameras 2 and 4 are asked, 1 and 3 are in the gallery: nothing is of a query's own camera.
    assert set(matches(found, parts.test, roles)[roles == QUERY].tolist()) == {2}
    assert set(roles_of(found, parts.val, made=True)) == {BOTH}
    assert [int((found.roles == role).sum()) for role in (QUERY, GALLERY, DISTRACTOR)] == [20, 20, 3]


@EVERY
def test_other_counts_than_the_owners_are_refused(there, data, monkeypatch, name):
    owner_files.write(name, data)
    stated = LAYOUTS[name].counts["training images"]
    with pytest.raises(DataError, match=f"{name}: 40 training images, but the owner publishes {stated:,}; unpack it"):
        load(name)


@EVERY
def test_stated_counts_add_up_to_what_is_published(name):
    counts = LAYOUTS[name].counts
    assert counts["training images"] + counts["test images"] == PUBLISHED[name]
    if "queries" in counts:
        assert counts["queries"] + counts["gallery images"] == counts["test images"]


@EVERY
def test_a_missing_picture_is_named(there, data, name):
    there(name)
    next(file for file in sorted(data.glob(f"{name}/**/*.[jJ][pP][gG]")) if file.name[0] != "-").unlink()
    with pytest.raises(DataError, match=rf"{name}: (1 pictures are missing: .*[jJ][pP][gG]|42 test images, but)"):
        load(name)


@EVERY
def test_what_is_not_there_says_where_to_get_it(data, name):
    where = LAYOUTS[name].address.split(",")[0]
    with pytest.raises(DataError, match=f"not found in .*{name}; put there what you get from {where}"):
        load(name)
    with pytest.raises(DataError, match=f"put in .*{name} what you get from {where}"):
        fetch(name, data)
    row = next(row for row in list_data(data) if row.name == name)
    assert row.state == "missing"
    assert where in row.source


@EVERY
def test_what_is_there_is_listed_and_verified(there, data, name):
    there(name)
    assert next(row for row in list_data(data) if row.name == name).state == "present"
    assert all(finding.ok for finding in verify(name, data))


def test_a_list_that_does_not_fit_names_its_line(there, data):
    there("sop")
    file = data / "sop" / "Stanford_Online_Products" / "Ebay_train.txt"
    file.write_text(file.read_text() + "\n41 3")
    with pytest.raises(DataError, match=r"Ebay_train.txt:42: 2 fields, not 4"):
        load("sop")
