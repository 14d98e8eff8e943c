"""`features:FILE`: vectors that some model has made, with their labels, in a `.npz` or a `.parquet` file.

The file is read by chunks and kept in the cache as a memory-mapped `.npy`: a million rows never lie in memory at once,
unless a `.npz` holds them compressed by columns (`order="F"`).
"""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lossbench.datasets.cache import cache_folder, cached
from lossbench.datasets.columns import OPTIONAL, columns_of
from lossbench.datasets.dataset import DataError, Dataset, Request, Samples
from lossbench.plugins.mistakes import nearest

CHUNK_BYTES = 32 * 1024 * 1024
FLOATS = {"float16": np.float16, "float32": np.float32, "float64": np.float32}  # as they are stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An open file of features.

    Attributes:
        columns: `labels` and what else is there of `columns.OPTIONAL`, by name.
        shape, dtype: of the features, (N, F) of a floating type.
        chunks: the features, some rows at a time.
    """

    columns: Mapping[str, Any]
    shape: tuple[int, int]
    dtype: npt.DTypeLike
    chunks: Iterator[Samples]


def load(request: Request) -> Dataset:
    """The vectors of a file: `features` (N, F) float16, 32 or 64, `labels` (N,), and any of the other columns.

    Float64 is stored as float32, in which networks compute.
    """
    if not request.path:
        raise DataError("features: say which one: `features:FILE`, a .npz or .parquet with `features` and `labels`")
    file = Path(request.path).expanduser()
    if not file.is_file():
        raise DataError(f"features:{request.path}: is not a file")
    return cached("features", replace(request, size=None), [file], decode)


def decode(request: Request) -> Dataset:
    """Features on disk in a file that goes with the process, and what the other columns say.

    Raises:
        DataError: arrays of a wrong type or shape, a row that is not finite, or one class; one line with file and row.
    """
    file, place = Path(request.path).expanduser(), f"features:{request.path}"
    readers = {".npz": _npz, ".parquet": _parquet}
    if file.suffix.lower() not in readers:
        raise DataError(f"{place}: is neither .npz nor .parquet")
    try:
        with readers[file.suffix.lower()](file, place) as table:
            columns = columns_of(place, table.columns)
            if len(columns.class_names) < 2:
                raise DataError(f"{place}: holds one class, {columns.class_names[0]!r}; a comparison needs two or more")
            return columns.dataset(features=_written(table, place))
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place}: damaged, or not what its name says ({error})") from error


def _written(table: Table, place: str) -> Samples:
    """The features (N, F) as a memory map of a nameless file."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # its memory map outlives this function
    except OSError:
        stream = tempfile.TemporaryFile()  # noqa: SIM115
    stored: Samples = np.memmap(stream, dtype=FLOATS[np.dtype(table.dtype).name], mode="w+", shape=table.shape)
    row = 0
    for chunk in table.chunks:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and said below
            stored[row : row + len(chunk)] = chunk
        if not (finite := np.isfinite(stored[row : row + len(chunk)]).all(axis=1)).all():
            raise DataError(f"{place}: row {row + int(np.argmin(finite))}: features are not finite (NaN or infinity)")
        row += len(chunk)
    return stored


def _checked(place: str, shape: tuple[int, ...], dtype: np.dtype[Any], columns: Mapping[str, Any]) -> tuple[int, int]:
    """(N, F), where features are a table of floating numbers and every column has a row for each."""
    if dtype.hasobject:
        raise DataError(f"{place}: features are Python objects; save them as one array of float32 (N, F)")
    if len(shape) != 2 or not all(shape) or dtype.name not in FLOATS:
        raise DataError(f"{place}: features are {dtype} {shape}, not float16, float32 or float64 (N, F)")
    for name, column in columns.items():
        if len(column) != shape[0]:
            raise DataError(f"{place}: {name}: {len(column)} rows, but features have {shape[0]}")
    return shape[0], shape[1]


def _missing(place: str, found: list[str]) -> str | None:
    """What is said where `features` or `labels` is not among the names found."""
    absent = [name for name in ("features", "labels") if name not in found]
    return f"{place}: has no {absent[0]!r}{nearest(absent[0], found)}; it has {', '.join(found)}" if absent else None


# .npz


@contextlib.contextmanager
def _npz(file: Path, place: str) -> Iterator[Table]:
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if said := _missing(place, names):
            raise DataError(said)
        columns = {name: _column(archive, place, name) for name in ("labels", *OPTIONAL) if name in names}
        with archive.open("features.npy") as stream:
            shape, columnwise, dtype = _header(stream)
            rows, width = _checked(place, shape, dtype, columns)
            if columnwise:
                whole = np.frombuffer(stream.read(), dtype).reshape(width, rows).T
                yield Table(columns=columns, shape=(rows, width), dtype=dtype, chunks=iter([whole]))
                return
            yield Table(columns=columns, shape=(rows, width), dtype=dtype, chunks=_rows(stream, (rows, width), dtype))


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array in a stream of `.npy`."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columnwise, dtype = read(stream)
    return shape, columnwise, dtype


def _rows(stream: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Samples]:
    row_bytes = shape[1] * dtype.itemsize
    at_once = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, shape[0], at_once):
        wanted = min(at_once, shape[0] - start) * row_bytes
        content = stream.read(wanted)
        if len(content) < wanted:
            raise EOFError("it ends early")
        yield np.frombuffer(content, dtype).reshape(-1, shape[1])


def _column(archive: zipfile.ZipFile, place: str, name: str) -> npt.NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        shape, _, dtype = _header(stream)
        if dtype.hasobject:
            raise DataError(f"{place}: {name} are Python objects; save text as `np.array({name}, dtype=str)`")
        if len(shape) != 1:
            raise DataError(f"{place}: {name} are {dtype} {shape}, not one for each row (N,)")
        return np.frombuffer(stream.read(), dtype)


# .parquet


@contextlib.contextmanager
def _parquet(file: Path, place: str) -> Iterator[Table]:
    try:
        from pyarrow import ArrowException, ArrowInvalid, parquet, types
    except ImportError as error:
        raise DataError(f"{place}: needs a package more: pip install 'lossbench[parquet]'") from error
    try:
        opened = parquet.ParquetFile(file)
    except ArrowInvalid as error:
        raise DataError(f"{place}: damaged, or not what its name says ({error})") from error
    with opened as table:
        schema = table.schema_arrow
        if said := _missing(place, schema.names):
            raise DataError(said)
        vectors = schema.field("features").type
        listed = types.is_list(vectors) or types.is_large_list(vectors) or types.is_fixed_size_list(vectors)
        if not listed or not types.is_floating(vectors.value_type):
            raise DataError(f"{place}: features are {vectors}, not lists of float16, float32 or float64")
        wanted = [name for name in ("labels", *OPTIONAL) if name in schema.names]
        columns = {name: _plain(table.read([name]).column(name), place, name) for name in wanted}
        dtype = np.dtype(vectors.value_type.to_pandas_dtype())
        try:
            first = next(table.iter_batches(1, columns=["features"]), None)
            width = len(first.column(0)[0]) if first is not None and first.column(0).null_count == 0 else 0
            shape = _checked(place, (table.metadata.num_rows, width), dtype, columns)
            yield Table(columns=columns, shape=shape, dtype=dtype, chunks=_batches(table, place, shape, dtype))
        except ArrowException as error:
            raise DataError(f"{place}: cannot be read: {str(error).splitlines()[0]}") from error


def _plain(column: Any, place: str, name: str) -> npt.NDArray[Any]:
    """A column of a table as an array of numbers or of text."""
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(f"{place}: row {row}: has no {'label' if name == 'labels' else name}")
    values = column.to_numpy()
    return np.asarray(values.astype(str) if values.dtype.hasobject else values)


def _batches(table: Any, place: str, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Samples]:
    """Some rows of the lists at a time, each as long as the first."""
    at_once = max(1, CHUNK_BYTES // (shape[1] * dtype.itemsize))
    start = 0
    for batch in table.iter_batches(at_once, columns=["features"]):
        lists = batch.column(0)
        lengths = np.array([shape[1] if each is None else each for each in lists.value_lengths().to_pylist()])
        short = (lengths != shape[1]) | np.asarray(lists.is_null().to_numpy(zero_copy_only=False))
        if short.any():
            row = int(np.argmax(short))
            raise DataError(f"{place}: row {start + row}: features have not {shape[1]} values as those of row 0")
        values = lists.flatten()
        if values.null_count:
            row = values.is_null().to_pylist().index(True) // shape[1]
            raise DataError(f"{place}: row {start + row}: features are not finite (a value is missing)")
        yield values.to_numpy(zero_copy_only=False).reshape(-1, shape[1])
        start += len(lists)
