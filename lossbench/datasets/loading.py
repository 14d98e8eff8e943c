"""From a name to a data set: `digits`, `folder:PATH`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lossbench.datasets.cache import data_folder
from lossbench.datasets.dataset import DataError, Dataset, Fit, Request, with_checksum
from lossbench.datasets.pictures import line
from lossbench.plugins import Plugin, PluginError, registry

WITH_PATH = ("csv", "features", "folder", "huggingface")
BY_SUFFIX = {".csv": "csv", ".npz": "features", ".parquet": "features"}


class UnreadableFiles(UserWarning):
    """What a data set left out or altered when it was read, one line a reason."""


def load(name: str, size: int | None = None, fit: Fit = "crop") -> Dataset:
    """The data set of that name, decoded once and then memory-mapped.

    Args:
        name: a registered data set, or `folder:PATH`; what follows the colon is handed to the plugin.
        size: edge of the images in pixels; None: as the data set has them.
        fit: how pictures that are not square become so: `images.squared`.

    Raises:
        DataError: missing or unusable data; one line that says what to do.
        PluginError: no data set of that name.
    """
    if size is not None and size < 1:
        raise DataError(f"{name}: size {size} is not a number of pixels")
    if size is None and fit != "crop":
        raise DataError(f"{name}: fit = {fit!r} needs a size to fit into; set `input_size`")
    plugin, path = _found(name)
    data = plugin.build(Request(folder=data_folder(), size=size, path=path, fit=fit))
    if not isinstance(data, Dataset):
        raise DataError(f"{name}: the plugin returned {type(data).__name__}, not a Dataset")
    if data.num_classes < 2:
        raise DataError(f"{name}: holds one class, {data.class_names[0]!r}; a comparison needs two or more")
    if not data.checksum:
        data = with_checksum(data)
    for said in (*_left_out(data.unreadable), *data.notes):
        warnings.warn(f"{name}: {said}", UnreadableFiles, stacklevel=2)
    return replace(data, name=name, protocols=plugin.protocols)


def outline(name: str) -> Dataset | None:
    """Labels and splits of a data set before its pictures are decoded; None where `load` is as quick.

    Raises:
        DataError: as `load`, as far as it can be seen without opening a picture.
    """
    plugin, path = _found(name)
    if not plugin.builtin or plugin.name not in ("csv", "folder"):
        return None
    from lossbench.datasets import folder, table

    found = folder.outline(path) if plugin.name == "folder" else table.outline(path)
    return replace(found, name=name, protocols=plugin.protocols)


def _found(name: str) -> tuple[Plugin, str]:
    """The plugin of a name, and the path behind its colon."""
    plugin_name, _, path = name.partition(":")
    try:
        plugin = registry.find("dataset", plugin_name)
    except PluginError:
        kind = "folder" if Path(name).expanduser().is_dir() else BY_SUFFIX.get(Path(name).suffix.lower())
        if kind and Path(name).expanduser().exists():
            raise DataError(f"{name!r} is a {'folder' if kind == 'folder' else 'file'}: write {kind}:{name}") from None
        raise
    if path and plugin.builtin and plugin_name not in WITH_PATH:
        raise DataError(f"{name}: {plugin_name!r} takes no path; only {', '.join(WITH_PATH)} do")
    return plugin, path


def _left_out(files: tuple[str, ...]) -> Iterator[str]:
    """One line a reason of what could not be read."""
    reasons: dict[str, list[str]] = {}
    for file in files:
        name, bracket, reason = file.removesuffix(")").rpartition(" (")
        reasons.setdefault(reason if bracket else "unreadable", []).append(name if bracket else file)
    for reason, names in reasons.items():
        yield line(names, "file", f"left out ({reason})")
