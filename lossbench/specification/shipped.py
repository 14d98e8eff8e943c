"""The experiments that ship with lossbench, by their bare names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def experiments() -> dict[str, Path]:
    """Name to file: inside an installed package, and beside the package in a checkout, which counts where both are."""
    package = Path(__file__).parents[1]
    folders = [package / "experiments", package.parent / "experiments"]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def recipes() -> dict[str, tuple[str, ...]]:
    """Rule to the names of the experiments that have it, sorted by rule."""
    found: dict[str, list[str]] = {}
    for name, path in experiments().items():
        for entry in _document(path)["recipes"]:
            where = found.setdefault(entry if isinstance(entry, str) else entry["use"], [])
            where += [name] if name not in where else []
    return {rule: tuple(found[rule]) for rule in sorted(found)}


def question(path: Path) -> str:
    """What an experiment asks."""
    return str(_document(path).get("question", ""))


def _document(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
