"""Vectors of one's own: both file formats, what comes with them, and what is refused with file and row."""

from __future__ import annotations

import numpy as np
import pytest

import lossbench.datasets.features as features_module
from lossbench.datasets import DataError, load
from lossbench.datasets.splits import split

ROWS, WIDTH, CLASSES = 60, 5, 4


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([f"voice {row % CLASSES}" for row in range(ROWS)])


@pytest.fixture
def write(tmp_path):
    """`write(".npz", **columns)`: the file, as a name to load."""

    def file(suffix: str, **columns) -> str:
        path = tmp_path / f"vectors{suffix}"
        if suffix == ".npz":
            np.savez(path, **columns)
        else:
            pyarrow = pytest.importorskip("pyarrow", reason="needs pip install 'lossbench[parquet]'")
            from pyarrow import parquet

            table = {name: list(column) if np.ndim(column) == 2 else column for name, column in columns.items()}
            parquet.write_table(pyarrow.table(table), path)
        return f"features:{path}"

    return file


BOTH = pytest.mark.parametrize("suffix", [".npz", ".parquet"])


@BOTH
def test_vectors_and_labels_come_back_from_the_cache(write, vectors, labels, suffix):
    name = write(suffix, features=vectors, labels=labels)
    for _ in range(2):  # converted, then from the cache
        data = load(name)
        assert isinstance(data.features, np.memmap)
        assert data.images is None
        assert np.array_equal(data.features, vectors)
        assert data.class_names == ("voice 0", "voice 1", "voice 2", "voice 3")
        assert data.labels.tolist() == [row % CLASSES for row in range(ROWS)]


@BOTH
def test_whatever_else_stands_beside_them(write, vectors, labels, suffix):
    parts = np.array(["train", "val", "test"])[np.arange(ROWS) // 20]
    roles = np.array(["query", "gallery", "both", "distractor"])[np.arange(ROWS) % 4]
    rows = np.arange(ROWS)
    data = load(
        write(suffix, features=vectors, labels=labels, split=parts, role=roles, group=rows % 3 + 7, id=rows * 10)
    )
    assert data.fixed_split.tolist() == (rows // 20).tolist()
    assert data.roles.tolist() == (rows % 4).tolist()
    assert data.groups.tolist() == (rows % 3).tolist()
    assert data.ids.tolist() == [str(row * 10) for row in rows]
    assert len(split(data, "closed-set").val) == 15  # no gallery: without distractors


@BOTH
@pytest.mark.parametrize(
    ("given", "kept"), [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float32)]
)
def test_precision(write, vectors, labels, suffix, given, kept):
    data = load(write(suffix, features=vectors.astype(given), labels=labels))
    assert data.features.dtype == kept
    assert np.array_equal(data.features, vectors.astype(given).astype(kept))


@BOTH
def test_numbers_are_classes_in_the_order_of_numbers(write, vectors, suffix):
    data = load(write(suffix, features=vectors, labels=np.array([10, 9, 100])[np.arange(ROWS) % 3]))
    assert data.class_names == ("9", "10", "100")
    assert data.labels[:3].tolist() == [1, 0, 2]


@BOTH
def test_it_is_read_by_chunks(write, vectors, labels, suffix, monkeypatch):
    monkeypatch.setattr(features_module, "CHUNK_BYTES", 7 * WIDTH * 4)  # seven rows: the last chunk is short
    assert np.array_equal(load(write(suffix, features=vectors, labels=labels)).features, vectors)


def test_columns_first_and_compressed(tmp_path, vectors, labels):
    np.savez_compressed(tmp_path / "f.npz", features=np.asfortranarray(vectors), labels=labels)
    assert np.array_equal(load(f"features:{tmp_path / 'f.npz'}").features, vectors)


def changed(vectors: np.ndarray, row: int, value: float) -> np.ndarray:
    vectors = vectors.copy()
    vectors[row, 1] = value
    return vectors


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: {"features": changed(x, 17, np.nan), "labels": y}, r"row 17: features are not finite"),
        (lambda x, y: {"features": changed(x.astype(np.float64), 3, 1e300), "labels": y}, "row 3: features are no"),
        (lambda x, y: {"features": x.astype(np.int64), "labels": y}, r"features are .*int64"),
        (lambda x, y: {"features": x, "labels": y[:1].repeat(ROWS)}, "holds one class, 'voice 0'"),
        (lambda x, y: {"features": x, "labels": np.where(np.arange(ROWS) == 5, " ", y)}, "row 5: has no label"),
        (lambda x, y: {"feature": x, "labels": y}, "has no 'features'; did you mean 'feature'"),
        (lambda x, y: {"features": x, "labels": y, "role": np.where(np.arange(ROWS) == 2, "galery", "query")},
         r"row 2: role 'galery' is none of query, gallery, both, distractor, junk; did you mean 'gallery'"),
        (lambda x, y: {"features": x, "labels": y, "split": np.full(ROWS, "train")}, "its split has no test"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_with_file_and_row(write, vectors, labels, suffix, change, message):
    name = write(suffix, **change(vectors, labels))
    with pytest.raises(DataError, match=message) as refused:
        load(name)
    assert str(refused.value).startswith(f"{name}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"features": np.zeros((4, 3, 2), np.float32), "labels": np.arange(4)},
            r"features are float32 \(4, 3, 2\), not",
        ),
        ({"features": np.zeros((4, 3), np.float32), "labels": np.arange(5)}, "labels: 5 rows, but features have 4"),
        (
            {"features": np.array([[1], [1, 2]], object), "labels": np.arange(2)},
            "features are Python objects; save them",
        ),
        ({"features": np.zeros((2, 3), np.float32), "labels": np.array(["a", 1], object)}, "labels are Python objects"),
        (
            {"features": np.zeros((2, 3), np.float32), "labels": np.zeros((2, 2))},
            r"labels are float64 \(2, 2\), not one",
        ),
    ],
)
def test_arrays_that_do_not_fit(write, columns, message):
    with pytest.raises(DataError, match=message):
        load(write(".npz", **columns))


def test_lists_that_do_not_fit(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pip install 'lossbench[parquet]'")
    from pyarrow import parquet

    for lists, message in (
        ([[1.0, 2.0], [1.0]], "row 1: features have not 2 values as those of row 0"),
        ([[1.0, 2.0], None], "row 1: features have not 2 values"),
        ([[1.0, 2.0], [1.0, None]], r"row 1: features are not finite \(a value is missing\)"),
    ):
        parquet.write_table(pyarrow.table({"features": lists, "labels": ["a", "b"]}), tmp_path / "f.parquet")
        with pytest.raises(DataError, match=message):
            load(f"features:{tmp_path / 'f.parquet'}")


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".txt"])
def test_files_that_are_none(tmp_path, write, vectors, labels, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pip install 'lossbench[parquet]'")
    path = tmp_path / f"f{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"damaged|is neither"):
        load(f"features:{path}")
    with pytest.raises(DataError, match="is not a file"):
        load(f"features:{tmp_path / 'absent.npz'}")


def test_a_file_that_was_cut(tmp_path, write, vectors, labels):
    name = write(".npz", features=vectors, labels=labels)
    path = tmp_path / "vectors.npz"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="damaged"):
        load(name)


def test_a_size_in_pixels_says_nothing_of_vectors(write, vectors, labels):
    name = write(".npz", features=vectors, labels=labels)
    assert load(name, 28).checksum == load(name).checksum
