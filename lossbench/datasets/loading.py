"""From a name to a data set: `digits`, `folder:PATH`."""

from __future__ import annotations

import warnings
from dataclasses import replace

from lossbench.datasets.cache import data_folder
from lossbench.datasets.dataset import DataError, Dataset, Request, with_checksum
from lossbench.plugins import registry

WITH_PATH = ("folder", "huggingface")


class UnreadableFiles(UserWarning):
    """Files that a data set left out because they could not be read, by name and number."""


def load(name: str, size: int | None = None) -> Dataset:
    """The data set of that name, decoded once and then memory-mapped.

    Args:
        name: a registered data set, or `folder:PATH`; what follows the colon is handed to the plugin.
        size: edge of the images in pixels; None: as the data set has them.

    Raises:
        DataError: missing or unusable data; one line that says what to do.
        PluginError: no data set of that name.
    """
    if size is not None and size < 1:
        raise DataError(f"{name}: size {size} is not a number of pixels")
    plugin_name, _, path = name.partition(":")
    plugin = registry.find("dataset", plugin_name)
    if path and plugin.builtin and plugin_name not in WITH_PATH:
        raise DataError(f"{name}: {plugin_name!r} takes no path; only {' and '.join(WITH_PATH)} do")
    data = plugin.build(Request(folder=data_folder(), size=size, path=path))
    if not isinstance(data, Dataset):
        raise DataError(f"{name}: the plugin returned {type(data).__name__}, not a Dataset")
    if not data.checksum:
        data = with_checksum(data)
    if data.unreadable:
        warnings.warn(f"{name}: {_left_out(data.unreadable)}", UnreadableFiles, stacklevel=2)
    return replace(data, name=name, protocols=plugin.protocols)


def _left_out(files: tuple[str, ...]) -> str:
    shown = ", ".join(files[:20]) + (f" and {len(files) - 20} more" if len(files) > 20 else "")
    return f"{len(files)} file{'s' if len(files) > 1 else ''} left out as unreadable: {shown}"
