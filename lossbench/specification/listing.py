"""What can be named in an experiment or on the command line, as `lossbench list` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lossbench.plugins import FOLDERS, KINDS, registry
from lossbench.specification import shipped

PLUGINS = {FOLDERS[kind]: kind for kind in KINDS}


def listing(kinds: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Every name with a sentence and what else is known of it.

    Args:
        kinds: of `experiments`, `recipes`, `losses`, `datasets`, `backbones`, `metrics`.
    """
    return {kind: _entries(kind) for kind in kinds}


def lines(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The same to read: a heading a kind, a line a name."""
    return [
        line
        for kind, entries in found.items()
        for line in (f"{kind}:", *(f"  {entry['name']:<22} {entry['summary']}" for entry in entries))
    ]


def _entries(kind: str) -> list[dict[str, Any]]:
    if kind == "experiments":
        found = shipped.experiments().items()
        return [{"name": name, "summary": shipped.question(path), "file": str(path)} for name, path in found]
    if kind == "recipes":
        rules = shipped.recipes().items()
        return [{"name": rule, "summary": f"in {', '.join(where)}", "experiments": where} for rule, where in rules]
    plugin_kind = PLUGINS[kind]
    plugins = [registry.find(plugin_kind, name) for name in registry.names(plugin_kind)]
    return [
        {"name": plugin.name, "summary": plugin.summary, "source": plugin.source, "file": str(plugin.file)}
        for plugin in plugins
    ]
