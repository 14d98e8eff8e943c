"""A data set as `datasets` saves it is read as it was written; what is missing is said in one line."""

from __future__ import annotations

import sys

import dataset_files
import datasets
import numpy as np
import pytest

from lossbench.datasets import DataError, load
from lossbench.datasets.splits import split


def rows(count, **kwargs):
    return dataset_files.rows(count, ["owl", "cat", "ant"], **kwargs)


@pytest.fixture
def root(tmp_path):
    saved = datasets.DatasetDict({"train": rows(36), "test": rows(6, first=100)})
    saved.save_to_disk(tmp_path / "animals")
    return tmp_path / "animals"


def test_rows_are_images_with_classes_and_a_test_part(root):
    data = load(f"huggingface:{root}")
    assert data.class_names == ("owl", "cat", "ant")
    assert data.labels.tolist() == [0, 1, 2] * 14
    assert np.array_equal(data.images[4], dataset_files.noise(4, 12, 12))
    assert np.array_equal(data.images[36], dataset_files.noise(100, 12, 12))
    assert split(data, "closed-set").test.tolist() == list(range(36, 42))
    assert load(f"huggingface:{root}", size=8).images.shape == (42, 8, 8)


def test_one_part_has_no_published_test_and_absent_classes_are_left_out(tmp_path):
    kept = rows(12, shape=(12, 12, 3)).filter(lambda row: row["kind"] != 1)
    kept.save_to_disk(tmp_path / "one")
    data = load(f"huggingface:{tmp_path / 'one'}")
    assert data.class_names == ("owl", "ant")
    assert data.images.shape == (8, 12, 12, 3)
    assert data.labels.tolist() == [0, 1] * 4
    assert data.published_test is None


def test_another_content_is_another_data_set(root, tmp_path):
    before = load(f"huggingface:{root}")
    rows(9, first=1).save_to_disk(tmp_path / "other")
    assert load(f"huggingface:{tmp_path / 'other'}").checksum != before.checksum


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda: rows(6).remove_columns("kind"), "wants one column of type ClassLabel, has img (Image)"),
        (lambda: rows(6).add_column("more", [1] * 6).remove_columns("img"), "wants one column of type Image"),
        (lambda: rows(6).map(lambda row: {"kind": -1}), "rows without a class"),
    ],
)
def test_unusable_tables_are_one_line(tmp_path, saved, message):
    saved().save_to_disk(tmp_path / "bad")
    with pytest.raises(DataError, match="huggingface:") as error:
        load(f"huggingface:{tmp_path / 'bad'}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_are_not_there_or_not_saved(tmp_path):
    with pytest.raises(DataError, match="save_to_disk"):
        load(f"huggingface:{tmp_path / 'nowhere'}")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be read"):
        load(f"huggingface:{tmp_path / 'some'}")
    with pytest.raises(DataError, match="say which one"):
        load("huggingface")


def test_without_the_package_the_extra_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'lossbench\[huggingface\]'"):
        load(f"huggingface:{root}")
