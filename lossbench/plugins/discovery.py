"""Where plugins come from: built-in tables, entry points and files. Importing one runs its decorators."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path

from lossbench.plugins.plugin import FOLDERS, Kind, PluginError


def load_builtin(kind: Kind) -> None:
    """Import the built-in table of a kind."""
    importlib.import_module(f"lossbench.{FOLDERS[kind]}.builtin")


@lru_cache  # looking through everything that is installed takes milliseconds
def entry_points(kind: Kind) -> dict[str, EntryPoint]:
    """Plugins of a kind that installed packages offer, by name; none is imported."""
    found: dict[str, EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=f"lossbench.{FOLDERS[kind]}"):
        found.setdefault(point.name, point)
    return found


def load_entry_point(kind: Kind, point: EntryPoint) -> None:
    """Import what an installed package offers.

    Raises:
        PluginError: it does not import; names the entry point and the reason.
    """
    try:
        point.load()
    except Exception as error:
        raise PluginError(f"{kind} {point.name!r} from {point.value}: {_reason(error)}") from error


def digest_of(path: Path) -> str:
    """SHA-256 of a plugin file.

    Raises:
        PluginError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PluginError(f"plugin {path}: {error.strerror or error}") from error


def import_file(path: Path, digest: str) -> None:
    """Import a plugin file as a module named after what is in it.

    Raises:
        PluginError: it is no Python file, does not import, or declares what no plugin may.
    """
    module_name = f"lossbench_plugin_{path.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError("is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # whatever a stranger's file raises is the stranger's mistake
        raise PluginError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    return f"does not import: {type(error).__name__}: {error}"
